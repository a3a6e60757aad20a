"""The table of T5 families."""

from tools import t5_families


def test_the_table_tells_what_is_not_exact():
    result = {"taken": "9 tensors of 9", "exact": False, "loads": True, "same": (1999, 2000),
              **dict.fromkeys(("encoder", "logits", "loss", "bf16 logits", "bf16 loss"), 1.5e-6)}
    row = t5_families.table({"T5 1.0": result}).splitlines()[-1]
    assert row == ("| T5 1.0 | 9 tensors of 9 | NO | yes | 1.5e-06 | 1.5e-06 | 1.5e-06 | 1.5e-06 | "
                   "1.5e-06 | 1,999 of 2,000 |")


def test_vocabularies_can_have_their_extra_ids_inside():
    import sentencepiece
    lines = [f"phone {i} camera {i * 7}" for i in range(200)]
    pieces = sentencepiece.SentencePieceProcessor(
        model_proto=t5_families.vocabulary(lines, 60, True))
    assert pieces.id_to_piece(pieces.get_piece_size() - 1) == "\u2581<extra_id_0>"
    assert (pieces.pad_id(), pieces.eos_id(), pieces.unk_id()) == (0, 1, 2)

"""The late vocabulary: special tokens by number, and what is refused."""

import copy

import pytest
import seqio

from gsid_jax.errors import UserError
from tasks import location, vocabulary
from tests.tasks import small_catalogue


def test_special_tokens_count_from_the_end(placed):
    late = vocabulary.VOCABULARY
    plain = seqio.SentencePieceVocabulary(str(placed / "spm.model"), extra_ids=16)
    assert late.vocab_size == plain.vocab_size
    for k in range(vocabulary.SPECIAL_TOKENS):
        assert vocabulary.extra_id(late, k) == late.vocab_size - 1 - k
        assert late.encode(f"a <extra_id_{k}>b")[-2] == vocabulary.extra_id(late, k)
    assert late == plain and late == vocabulary.LocatedVocabulary()
    assert (late.pad_id, late.eos_id, late.unk_id) == (0, 1, 2)
    assert late.decode(late.encode("used sony phone")) == "used sony phone"


def test_follows_the_location(placed, tmp_path):
    before = vocabulary.VOCABULARY.vocab_size
    location.set_location(extra_ids=100)
    assert vocabulary.VOCABULARY.vocab_size == before + 84
    assert copy.deepcopy(vocabulary.VOCABULARY).vocab_size == before + 84


def test_unset_vocabulary_names_the_binding():
    with pytest.raises(UserError, match="no vocabulary given: tasks.location.data_location."
                                        "vocabulary is not set"):
        vocabulary.VOCABULARY.encode("x")


def test_refusals(tmp_path):
    with pytest.raises(UserError, match="extra_ids is 3; the tasks use 7 special tokens"):
        vocabulary.load("x", 3)
    with pytest.raises(UserError, match="vocabulary file .*none.model does not exist"):
        vocabulary.load(str(tmp_path / "none.model"), 16)
    (tmp_path / "bad.model").write_bytes(b"no model")
    with pytest.raises(UserError, match="bad.model is not a SentencePiece model"):
        vocabulary.load(str(tmp_path / "bad.model"), 16)
    small_catalogue.write_vocabulary(tmp_path / "other.model", ["some text here"] * 3,
                                     pad_id=3, eos_id=2, unk_id=0)
    with pytest.raises(UserError, match=r"\(pad, eos, unk\) ids \(3, 2, 0\); expected \(0, 1, 2\)"):
        vocabulary.load(str(tmp_path / "other.model"), 16)

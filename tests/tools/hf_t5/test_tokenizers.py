"""SentencePiece models of T5's, mT5's and Mengzi's kind: the ids of `transformers`, through SeqIO."""

import json

import numpy as np
import pytest

from gsid_jax.errors import UserError
from tasks import vocabulary as vocabularies
from tasks.tokens import encode_batch
from tests.tools.hf_t5 import folders

# name: (lines, size, options, ids added behind the pieces, which transformers calls extra_ids)
KINDS = {
    "t5": (folders.EN, 300, {"normalization_rule_name": "nmt_nfkc"}, 100),
    "mt5": (folders.EN + folders.ZH, 500, {"own_extra_ids": 100, "character_coverage": 1.0}, 0),
    "mengzi": (folders.ZH, 300, {"character_coverage": 1.0}, 100),
}
CORPUS = [*folders.EN, *folders.ZH, "  two  spaces ", "词 and words 混合 text", "sony 相机 ½"]


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    """Folder, extra ids and corpus of a kind."""
    lines, size, options, extra_ids = KINDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "spiece.model").write_bytes(folders.vocabulary(lines, size, **options))
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": 1000}))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "T5Tokenizer", "extra_ids": extra_ids}))
    texts = [*CORPUS, *folders.corpus(folders.EN)[::9], *folders.corpus(folders.ZH)[::9]]
    return folder, extra_ids, texts


def test_the_ids_are_those_of_transformers(kind):
    transformers = pytest.importorskip("transformers")
    folder, extra_ids, texts = kind
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = vocabularies.load(str(folder / "spiece.model"), extra_ids)
    assert len(theirs) == ours.vocab_size
    tokens_NxL = encode_batch(ours, texts, 128)
    for row, text in zip(tokens_NxL, texts, strict=True):
        ids = theirs(text).input_ids
        assert row[:len(ids)].tolist() == ids and not row[len(ids):].any(), text
    # SeqIO's TensorFlow side, which the tasks use.
    ragged = ours.encode_tf(np.array(texts)).to_list()
    assert [row + [1] for row in ragged] == [theirs(text).input_ids for text in texts]


def test_sentinels_and_task_tokens_are_those_of_transformers(kind):
    transformers = pytest.importorskip("transformers")
    folder, extra_ids, _ = kind
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    ours = vocabularies.load(str(folder / "spiece.model"), extra_ids)
    mark = "\u2581" if not extra_ids else ""  # mT5 has them as pieces
    for k in range(100):
        assert vocabularies.extra_id(ours, k) == theirs.convert_tokens_to_ids(
            f"{mark}<extra_id_{k}>")
    for k in range(vocabularies.SPECIAL_TOKENS):  # as the tasks write them: at a word's start
        text = f"sony <extra_id_{k}> 相机"
        assert [*ours.encode(text), 1] == theirs(text).input_ids


def test_extra_ids_reach_the_last_row(kind):
    folder, extra_ids, _ = kind
    path = str(folder / "spiece.model")
    pieces = vocabularies.load(path, extra_ids).vocab_size - extra_ids
    rows = -(-(pieces + 110) // 128) * 128
    assert vocabularies.extra_ids_for(path, rows) == (rows - pieces if extra_ids else 0)
    with pytest.raises(UserError, match=f"has {pieces} pieces, the embedding {pieces - 1} rows"):
        vocabularies.extra_ids_for(path, pieces - 1)


def test_without_extra_ids_of_its_own_a_model_needs_some(tmp_path):
    (tmp_path / "m.model").write_bytes(folders.vocabulary(folders.EN, 100))
    with pytest.raises(UserError, match="extra_ids is 0, but the last pieces .* are not "
                                        "<extra_id_6> to <extra_id_0>"):
        vocabularies.load(str(tmp_path / "m.model"), 0)

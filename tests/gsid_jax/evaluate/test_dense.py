"""Vectors from files and from a local encoder folder; what is wrong with them is said."""

import json

import numpy as np
import pytest

from gsid_jax.errors import UserError
from gsid_jax.evaluate import dense
from gsid_jax.evaluate.catalogue import load_catalogue


@pytest.fixture
def files(run):
    """(catalogue, folder) with items.npy, queries.npy and their ids in reverse order."""
    catalogue = load_catalogue(run.path / "data")
    folder = run.path / "vectors"
    folder.mkdir()
    for name, ids in (("items", catalogue.item_id), ("queries", catalogue.query)):
        vectors = np.load(run.path / "ids" / f"{name}.npy")
        np.save(folder / f"{name}.npy", vectors[::-1])
        (folder / f"{name}.txt").write_text("\n".join(ids.to_pylist()[::-1]) + "\n", "utf-8")
    return catalogue, folder


def load(catalogue, folder):
    return dense.from_files("BGE", catalogue, *(str(folder / name) for name in (
        "items.npy", "queries.npy", "items.txt", "queries.txt")))


def test_rows_are_put_in_the_order_of_the_dataset(files, run):
    method = load(*files)
    np.testing.assert_array_equal(method.item_vectors, np.load(run.path / "ids" / "items.npy"))
    np.testing.assert_array_equal(method.query_vectors, np.load(run.path / "ids" / "queries.npy"))


def _lines(name, change):
    def spoil(folder):
        lines = (folder / name).read_text("utf-8").splitlines()
        (folder / name).write_text("\n".join(change(lines)) + "\n", "utf-8")
    return spoil


def _array(name, change):
    return lambda folder: np.save(folder / name, change(np.load(folder / name)))


def _nan(vectors):
    vectors[5, 2] = np.nan
    return vectors


ERRORS = {
    "wrong count": (_array("items.npy", lambda v: v[1:]),
                    r"items.npy has 1199 rows; expected 1200, one per line of .*txt"),
    "wrong width": (_array("queries.npy", lambda v: v[:, 1:]),
                    "queries.npy has vectors of width 15; expected 16"),
    "NaN": (_array("items.npy", _nan), "items.npy: row 5 holds NaN or infinity"),
    "unknown id": (_lines("items.txt", lambda lines: ["x", *lines[1:]]),
                   "items.txt has 1 unknown lines, the first is 'x'"),
    "repeated id": (_lines("items.txt", lambda lines: [lines[1], *lines[1:]]),
                    "items.txt has the item id 'item001198' more than once"),
    "missing query": (_lines("queries.txt", lambda lines: lines[:-1]),
                      "queries.npy has 240 rows; expected 239"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_bad_vectors_are_named(files, name):
    spoil, message = ERRORS[name]
    spoil(files[1])
    with pytest.raises(UserError, match=message):
        load(*files)


def test_a_held_out_query_must_have_a_vector(files):
    catalogue, folder = files
    _lines("queries.txt", lambda lines: lines[:-1])(folder)
    _array("queries.npy", lambda v: v[:-1])(folder)
    with pytest.raises(UserError, match="no line for the query 'query 0 .*every held-out query"):
        load(catalogue, folder)


def test_an_encoder_folder(run):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    catalogue = load_catalogue(run.path / "data")
    folder = run.path / "encoder"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "thing", "query", "for", "ask"]
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    made = [dense.from_folder("tiny", catalogue, str(folder), run.path / "cache",
                              query_prompt=prompt) for prompt in ("", "ask ", "")]
    norms = np.linalg.norm(made[0].item_vectors, axis=1)
    np.testing.assert_allclose(norms, 1, rtol=1e-5)
    held_out = catalogue.q2i.index
    assert np.abs(made[0].query_vectors[held_out] - made[1].query_vectors[held_out]).max() > 1e-6
    np.testing.assert_array_equal(made[0].query_vectors, made[2].query_vectors)
    assert len(list((run.path / "cache").iterdir())) == 2
    with pytest.raises(UserError, match="got 'middle', expected one of"):
        dense.from_folder("tiny", catalogue, str(folder), run.path / "cache", pooling="middle")


def test_no_folder(run):
    with pytest.raises(UserError, match="no config.json in 'nowhere'.*nothing is downloaded"):
        dense.from_folder("x", load_catalogue(run.path / "data"), "nowhere", run.path / "cache")

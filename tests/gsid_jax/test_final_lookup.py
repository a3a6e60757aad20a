"""M10 on a run: IDs that ask the queries, a new tree, and what new texts are looked up with."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from gsid_jax import final_lookup, infer, item_ids, leaf_marginals, trained_model
from gsid_jax.errors import UserError
from tests.gsid_jax import tiny_run


@pytest.fixture(autouse=True)
def clean():
    yield
    tiny_run.forget()


@pytest.fixture
def run_dir(tiny_run_dir, tmp_path):
    """A copy of the tiny run that a test may add to."""
    return shutil.copytree(tiny_run_dir, tmp_path / "run")


def write_lookup(run_dir, assignment):
    model = final_lookup.load_model(run_dir, "step_2")
    return final_lookup.write_lookup(model, assignment=assignment, run_dir=run_dir,
                                     model_name="step_2", tau=0.1, query_share=0.5, batch_size=64)


def test_new_texts_get_the_ids_of_the_run(run_dir, tmp_path):
    count = write_lookup(run_dir, "query_aware")
    leaves = leaf_marginals.load(run_dir / "lookup" / "leaves.npz")
    assert count == len(leaves.codes) > 1 and leaves.prototypes.shape == (count, 2, 16)
    model = trained_model.load_run(run_dir)
    texts = tiny_run.titles(40)
    encoded = model.encoder(batch_size=64).encode(texts)
    valid = {tuple(row) for row in leaves.codes.tolist()}
    assert all(tuple(row) in valid for row in encoded["codes"].tolist())
    source = tiny_run.write_jsonl(tmp_path / "new.jsonl", [{"title": title} for title in texts])
    infer.infer(input=str(source), output=str(tmp_path / "ids.parquet"), run_dir=str(run_dir),
                batch_size=64)
    written = pq.read_table(tmp_path / "ids.parquet")["codes"].to_pylist()
    assert written == encoded["codes"].tolist()
    assert type(trained_model.load_run(run_dir, 2).model).__name__ == "GSIDModel"


def test_without_queries_the_items_keep_their_own_codes(run_dir):
    encoder = final_lookup.load_model(run_dir, "step_2").encoder(batch_size=64, soft_size=8)
    own = encoder.encode(item_ids.read_texts(run_dir / "data", "item"))["codes"]
    np.testing.assert_array_equal(
        item_ids.query_aware_codes(encoder, run_dir / "data", query_share=0.0), own)
    blended = item_ids.query_aware_codes(encoder, run_dir / "data", query_share=0.9)
    assert (blended != own).any() and blended.shape == own.shape


def test_a_path_is_decoded_again_where_the_prefix_is_another(run_dir):
    encoder = final_lookup.load_model(run_dir, "step_2").encoder(batch_size=64, soft_size=8)
    texts = tiny_run.titles(10)
    prefix = np.arange(10)[:, None] % 8
    paths = item_ids._Paths(encoder, texts, np.arange(10), "item")
    forced = encoder.encode(texts, codes=prefix)
    np.testing.assert_allclose(paths.probs(prefix), item_ids._dense(forced, 8)[:, 1], atol=2e-3)


def test_a_tree_is_written_with_its_training_records(run_dir):
    encoder = final_lookup.load_model(run_dir, "step_2").encoder(batch_size=64, outputs=True)
    counts = final_lookup.write_tree(encoder, data_dir=run_dir / "data",
                                     output_dir=run_dir / "tree", leaves=12, query_weight=1.0,
                                     group_size=4, seed=0)
    assert counts["leaves"] <= 12 and counts["items"] == tiny_run.ITEMS
    names = {path.name for path in (run_dir / "tree").iterdir()}
    assert names == {"item_codes.npy", "leaves.npz", "gsid_step", "stats.json"}
    codes = np.load(run_dir / "tree" / "item_codes.npy")
    assert len(np.unique(codes, axis=0)) == counts["leaves"] and codes.max() < 8
    assert json.loads((run_dir / "tree" / "stats.json").read_text())["group_size"] == 4


def test_branching_is_that_of_the_ids():
    codes = np.stack(np.meshgrid(range(4), range(3), range(2)), -1).reshape(-1, 3)
    assert item_ids.matched_sizes(codes, 8) == [4, 12, 24]
    assert item_ids.matched_sizes(np.zeros((5, 2), int), 8) == [1, 1]


def test_a_broken_description_is_named(run_dir):
    (run_dir / "lookup").mkdir()
    (run_dir / "lookup" / "lookup.json").write_text("{")
    with pytest.raises(UserError, match="lookup.json cannot be read as JSON .*; remove it and run"):
        trained_model.load_run(run_dir)

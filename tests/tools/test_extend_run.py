"""A step more, and the last step anew, for a tiny run with published IDs."""

import json
import pathlib
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from gsid_jax import final_lookup, gin_setup, launch, trained_model
from gsid_jax.assign import load
from gsid_jax.final_ids import write_ids
from gsid_jax.published_ids import read_ids
from tasks.vocabulary import VOCABULARY
from tests.gsid_jax import tiny_run
from tools import extend_run

FAST = [f"--gin={binding}" for binding in (
    "BATCH_SIZE=16", "TRAIN_STEPS=2", "CONTRASTIVE_ONLY_STEPS=1", "GUARD='off'",
    "train.tensorboard=False", "QUERIES_PER_ITEM=1")]


def extend(run_dir, output, *flags):
    try:
        return extend_run.main([f"--run_dir={run_dir}", f"--output_dir={output}", *flags])
    finally:
        tiny_run.forget()


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes()
            for path in pathlib.Path(directory).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def longer(published_run_dir, tmp_path_factory):
    """The run with a third level."""
    output = tmp_path_factory.mktemp("extended") / "longer"
    before = contents(published_run_dir)
    assert extend(published_run_dir, output, "--levels=3", *FAST) == 0
    assert contents(published_run_dir) == before
    return output


def test_published_items_keep_their_codes_and_get_one_more(longer, published_run_dir):
    old = read_ids(published_run_dir / "ids" / "items.parquet").codes
    new = read_ids(longer / "ids" / "items.parquet").codes
    assert new.shape == (len(old), 3)
    np.testing.assert_array_equal(new[:, :2], old)
    np.testing.assert_array_equal(new, load(longer / "step_3" / "assignment", "item").codes)


def test_the_report_says_what_changed(longer):
    report = json.loads((longer / "stability.json").read_text())
    assert report["published_items"] == 150 and report["ids_changed"] == 0
    assert report["prefix_kept"] == {"l1": 1.0, "l2": 1.0}
    assert set(report["own_choice"]) == {"l1", "l2"}
    assert (longer / "evaluation" / "metrics.json").exists()


def test_earlier_codebooks_are_frozen_and_the_new_model_loads(longer, published_run_dir):
    old, new = (trained_model.load_run(run) for run in (published_run_dir, longer))
    tiny_run.forget()
    assert (old.model.level, new.model.level) == (2, 3)
    for level in ("level_1", "level_2"):
        np.testing.assert_array_equal(old.variables["codebook"][level]["embedding"],
                                      new.variables["codebook"][level]["embedding"])


def test_started_again_it_has_nothing_to_do(longer, published_run_dir, capsys):
    before = pq.read_table(longer / "ids" / "items.parquet")
    assert extend(published_run_dir, longer, "--levels=3", *FAST) == 0
    output = capsys.readouterr().out
    assert output.count("done before") == 7 and "IDs changed in their published levels: 0" in output
    assert pq.read_table(longer / "ids" / "items.parquet").equals(before)


def test_other_settings_are_refused(longer, published_run_dir, capsys):
    assert extend(published_run_dir, longer, "--levels=3", *FAST, "--seed=1") == 1
    assert "seed: was 0, now 1" in capsys.readouterr().err


@pytest.fixture(scope="module")
def refreshed(published_run_dir, tmp_path_factory):
    """The run with its second codebook trained anew."""
    output = tmp_path_factory.mktemp("extended") / "refreshed"
    assert extend(published_run_dir, output, "--refresh", *FAST, "--gin=RANDOM_SEED=5") == 0
    return output


def test_a_refresh_keeps_the_levels_before_and_lists_the_changes(refreshed, published_run_dir):
    old = read_ids(published_run_dir / "ids" / "items.parquet")
    new = read_ids(refreshed / "ids" / "items.parquet")
    np.testing.assert_array_equal(new.codes[:, 0], old.codes[:, 0])
    changed = (new.codes != old.codes).any(axis=1)
    report = json.loads((refreshed / "stability.json").read_text())
    assert report["ids_changed"] == changed.sum() <= report["ids_changed_before_matching"]
    listed = pq.read_table(refreshed / "changed.parquet")["item_id"].to_pylist()
    assert listed == [key for key, c in zip(old.key.to_pylist(), changed) if c]


def test_a_refreshed_run_decodes_to_the_matched_numbers(refreshed):
    """What the relabelled model says itself is what was assigned and published."""
    ids = read_ids(refreshed / "ids" / "items.parquet")
    model = trained_model.load_run(refreshed)
    texts = pq.read_table(refreshed / "data" / "items.parquet")["text"].to_pylist()[:40]
    encoded = model.encoder(batch_size=64).encode(texts, "item", ids.codes[:40, :1])
    tiny_run.forget()
    np.testing.assert_array_equal(encoded["codes"], ids.codes[:40])
    assert ids.model == model.hash


@pytest.mark.parametrize("flags, message", [
    (["--levels=5"], "has IDs of 2 codes; expected 3, one step at a time"),
    ([], "expected either --levels=T\\+1 or --refresh"),
    (["--levels=3", "--refresh"], "expected either --levels=T\\+1 or --refresh")])
def test_levels_that_do_not_follow(published_run_dir, tmp_path, capsys, flags, message):
    import re
    assert extend(published_run_dir, tmp_path / "out", *flags) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_the_run_itself_is_no_place_for_the_result(published_run_dir, capsys):
    assert extend(published_run_dir, published_run_dir, "--levels=3") == 1
    assert "is the run itself; expected another directory" in capsys.readouterr().err


def test_a_dataset_of_other_items_is_refused(published_run_dir, tmp_path, capsys):
    shutil.copytree(published_run_dir / "data", tmp_path / "data")
    items = pq.read_table(tmp_path / "data" / "items.parquet").to_pydict()
    items["item_id"] = [f"other {name}" for name in items["item_id"]]
    import pyarrow as pa
    pq.write_table(pa.table(items), tmp_path / "data" / "items.parquet")
    assert extend(published_run_dir, tmp_path / "out", "--refresh",
                  f"--data_dir={tmp_path / 'data'}") == 1
    assert "has none of the 150 items published" in capsys.readouterr().err


@pytest.fixture(scope="module")
def tree_run_dir(published_run_dir, tmp_path_factory):
    """The run with a new tree, a fit of two steps and its IDs."""
    run_dir = tmp_path_factory.mktemp("tree") / "run"
    shutil.copytree(published_run_dir, run_dir)
    shutil.rmtree(run_dir / "ids")
    encoder = final_lookup.load_model(run_dir, "step_2").encoder(batch_size=64, outputs=True)
    final_lookup.write_tree(encoder, data_dir=run_dir / "data", output_dir=run_dir / "tree",
                            leaves=12, query_weight=1.0, group_size=4, seed=0)
    bindings = [b for b in tiny_run.bindings(2) if not b.startswith("LEVEL")]
    launch.parse_gin(
        ["gin_configs/models/tiny.gin", "gin_configs/runs/fit.gin"],
        [*bindings, f"RUN_DIR = {str(run_dir)!r}", "initial/run_path.name = 'step_2'",
         "GROUP_SIZE = 4", "WARMUP_STEPS = 0", "BATCH_SIZE = 16", "TRAIN_STEPS = 2",
         "train.tensorboard = False", "QUERIES_PER_ITEM = 1"])
    gin_setup.train(config_text_fn=launch.config_text,
                    model_info=trained_model.vocabulary_info(VOCABULARY))
    final_lookup.write_lookup(final_lookup.load_model(run_dir, "fit"), assignment="retree",
                              run_dir=run_dir, model_name="fit", tau=0.1, query_share=0.0,
                              batch_size=64)
    model = trained_model.load_run(run_dir)
    write_ids(model.encoder(batch_size=64), data_dir=run_dir / "data", output_dir=run_dir / "ids",
              model_hash=model.hash)
    tiny_run.forget()
    return run_dir


@pytest.mark.parametrize("flags", [["--levels=3"], ["--refresh"]])
def test_a_tree_gets_a_level_more_or_its_last_one_anew(tree_run_dir, tmp_path, capsys, flags):
    before = contents(tree_run_dir)
    assert extend(tree_run_dir, tmp_path / "new", *flags, "--gin=TRAIN_STEPS=2") == 0
    assert contents(tree_run_dir) == before
    assert "published codes kept: l1 100.00%" in capsys.readouterr().out
    old = read_ids(tree_run_dir / "ids" / "items.parquet").codes
    ids = read_ids(tmp_path / "new" / "ids" / "items.parquet")
    kept = 2 if flags == ["--levels=3"] else 1
    assert ids.codes.shape == (len(old), kept + 1)
    np.testing.assert_array_equal(ids.codes[:, :kept], old[:, :kept])
    tree = {tuple(row) for row in np.load(tmp_path / "new" / "tree" / "item_codes.npy").tolist()}
    assert {tuple(row) for row in ids.codes.tolist()} <= tree
    assert len(tree) >= len(np.unique(old[:, :kept], axis=0))
    model = trained_model.load_run(tmp_path / "new")  # infer and evaluate read the new run so
    tiny_run.forget()
    assert ids.model == model.hash and len(model.model.loaded_leaves.codes) == len(tree)

"""The drift monitor through its command line, on a tiny run."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.gsid_jax import tiny_run
from tools import drift


@pytest.fixture
def new_ids(published_run_dir, tmp_path):
    """write(rows, **columns) -> path of IDs of the run's own items under new names."""
    table = pq.read_table(published_run_dir / "ids" / "items.parquet")

    def write(rows, metadata=None, **columns):
        chosen = table.take(pa.array(rows))
        for name, values in {"item_id": [f"new{i}" for i in range(len(rows))], **columns}.items():
            place = chosen.column_names.index(name)
            chosen = chosen.set_column(place, name, pa.array(values, chosen.schema.field(name).type))
        path = tmp_path / "new.parquet"
        pq.write_table(chosen.replace_schema_metadata(metadata or table.schema.metadata), path)
        return path
    return write


def run(run_dir, path, tmp_path, *flags):
    status = drift.main([f"--run_dir={run_dir}", f"--items={path}",
                         f"--output={tmp_path / 'drift.json'}", *flags])
    return status, json.loads((tmp_path / "drift.json").read_text())


def test_the_runs_own_items_have_not_drifted(published_run_dir, new_ids, tmp_path, capsys):
    rows = np.arange(0, tiny_run.ITEMS, 2)
    pairs = tiny_run.write_jsonl(tmp_path / "pairs.jsonl", [
        {"query": f"{tiny_run.BRANDS[row % 7]} {tiny_run.THINGS[row % 6]}", "item_id": f"new{i}",
         "click": 1} for i, row in enumerate(rows)] + [
             {"query": "cheap", "item_id": "of another batch", "click": 1}])
    status, result = run(published_run_dir, new_ids(rows), tmp_path, f"--pairs={pairs}")
    assert (status, result["verdict"]) == (0, "no drift")
    assert result["counts"]["pairs"] == 75 and result["counts"]["pairs_of_other_items"] == 1
    assert {signal["name"] for signal in result["signals"]} == {
        "low probability", "conditional perplexity", "query-item agreement"}
    assert "NO DRIFT: the new items look like those of the training" in capsys.readouterr().out


def test_doubtful_codes_ask_for_training(published_run_dir, new_ids, tmp_path):
    rows = np.arange(60)
    path = new_ids(rows, level_probs=[[1e-4, 1e-4]] * 60)
    status, result = run(published_run_dir, path, tmp_path)
    assert (status, result["verdict"]) == (4, "retrain")


def test_items_of_one_code_are_to_be_watched(published_run_dir, new_ids, tmp_path):
    codes = pq.read_table(published_run_dir / "ids" / "items.parquet")["codes"].to_pylist()
    status, result = run(published_run_dir, new_ids(np.arange(60), codes=[codes[0]] * 60), tmp_path)
    assert (status, result["verdict"]) == (3, "watch")


def test_a_handful_is_too_few_to_judge(published_run_dir, new_ids, tmp_path):
    path = new_ids(np.arange(4), level_probs=[[1e-4, 1e-4]] * 4)
    status, result = run(published_run_dir, path, tmp_path)
    assert (status, result["verdict"]) == (0, "too few to judge")


def test_ids_of_another_model_are_refused(published_run_dir, new_ids, capsys):
    path = new_ids(np.arange(40), {"gsid.fingerprint": json.dumps({"model": "f" * 64})})
    assert drift.main([f"--run_dir={published_run_dir}", f"--items={path}"]) == 1
    assert "holds IDs of another model: got ffffffffffff..." in capsys.readouterr().err


def test_pairs_of_other_items_only_are_refused(published_run_dir, new_ids, tmp_path, capsys):
    pairs = tiny_run.write_jsonl(tmp_path / "pairs.jsonl",
                                 [{"query": "q", "item_id": "x", "click": 1}])
    assert drift.main([f"--run_dir={published_run_dir}", f"--items={new_ids(np.arange(40))}",
                       f"--pairs={pairs}"]) == 1
    assert "has 1 pairs, none with an item of --items" in capsys.readouterr().err

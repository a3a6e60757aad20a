"""Building a dataset: complete or not at all, once, and never over another one."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from gsid_jax.errors import UserError
from tests.tasks import raw_catalogue
from tools import build_dataset as tool

ROOT = pathlib.Path(__file__).parents[2]


def test_a_dataset_is_complete_and_built_once(tmp_path, capsys):
    sources = raw_catalogue.write(tmp_path / "raw")
    output = tmp_path / "data"
    output.mkdir()  # empty: may be used
    counts = tool.build_dataset(**sources, output_dir=output)
    assert counts["train_records"] == 56 and counts["truth"] == 60
    record = json.loads((output / "dataset.json").read_text())
    assert record["counts"] == counts and record["settings"]["seed"] == 0
    assert record["sources"]["items"]["file"] == "items.jsonl"
    assert len(record["fingerprint"]) == len(record["sources"]["items"]["sha256"]) == 64
    assert str(tmp_path) not in (output / "dataset.json").read_text()
    assert not (tmp_path / "data.partial").exists()
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert tool.build_dataset(**sources, output_dir=output) == counts
    assert times == {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert capsys.readouterr().out == ""


def test_another_input_or_setting_is_refused_with_the_difference(tmp_path):
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", "q2i_test")
    tool.build_dataset(**sources, output_dir=tmp_path / "data")
    with pytest.raises(UserError, match="built differently: seed was 0 and is now 3; expected the "
                       "same raw files and settings: choose another --output_dir"):
        tool.build_dataset(**sources, output_dir=tmp_path / "data", seed=3)
    rows = raw_catalogue.records()["items"]
    raw_catalogue.write(tmp_path / "raw", "items", items=rows[:-1])
    del sources["q2i_test"]
    with pytest.raises(UserError, match=r"items file was items.jsonl \(.* bytes, sha256 .*\) and is"
                       r" now items.jsonl \(.*\), q2i_test file was q2i_test.jsonl .* and is now "
                       "not given"):
        tool.build_dataset(**sources, output_dir=tmp_path / "data")


def test_a_directory_in_use_is_left_alone(tmp_path):
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions")
    with pytest.raises(UserError, match="raw is in use and holds no dataset.json; expected a new"):
        tool.build_dataset(**sources, output_dir=tmp_path / "raw")
    with pytest.raises(UserError, match="items file .* does not exist"):
        tool.build_dataset(tmp_path / "none.jsonl", sources["interactions"], tmp_path / "data")


def test_a_bad_record_leaves_nothing_or_is_set_aside(tmp_path, capsys):
    rows = raw_catalogue.records()
    rows["items"][5]["title"] = ""
    rows["interactions"].append({"query": "a", "item_id": "i1", "click": -2})
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions", **rows)
    with pytest.raises(UserError, match="items.jsonl, line 6: empty text"):
        tool.build_dataset(**sources, output_dir=tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    counts = tool.build_dataset(**sources, output_dir=tmp_path / "data", skip_invalid=True)
    assert counts["items"] == 59
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())
    assert record["rejected"] == {"bad count": 1, "empty text": 1, "unknown item": 3}
    assert "5 bad records set aside: 1 bad count, 1 empty text, 3 unknown item, see" in (
        capsys.readouterr().err)
    lines = (tmp_path / "data" / "rejects.jsonl").read_text().splitlines()
    assert len(lines) == 5 and json.loads(lines[0])["line"] == 6


def test_what_a_killed_build_left_is_replaced(tmp_path):
    (tmp_path / "data.partial" / "gsid_catalogue" / "train").mkdir(parents=True)
    (tmp_path / "data.partial" / "dataset.json").write_text("{}")
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions")
    tool.build_dataset(**sources, output_dir=tmp_path / "data")
    assert (tmp_path / "data" / "items.parquet").exists()
    assert not (tmp_path / "data.partial").exists()


def test_the_command_prints_counts_or_one_line_of_error(tmp_path):
    sources = raw_catalogue.write(tmp_path / "raw", "items", "interactions")

    def command(*more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "tools.build_dataset", f"--items={sources['items']}",
             f"--interactions={sources['interactions']}", f"--output_dir={tmp_path / 'data'}",
             *more], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)

    result = command("--seed=4", "--holdout_items=0.1")
    assert result.returncode == 0, result.stderr
    assert "items 60" in result.stdout and result.stderr == ""
    assert tool.main([f"--items={sources['items']}", f"--interactions={sources['interactions']}",
                      f"--output_dir={tmp_path / 'data'}", "--seed=4"]) == 1


def test_errors_of_the_command_are_one_line(tmp_path, capsys):
    assert tool.main([f"--items={tmp_path}/a.jsonl", f"--interactions={tmp_path}/b.jsonl",
                      f"--output_dir={tmp_path}/data"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: items file") and error.count("\n") == 1

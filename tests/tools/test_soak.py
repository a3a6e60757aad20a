"""The soak's own machinery, with a program of milliseconds in the pipeline's place."""

import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gsid_jax.errors import UserError
from tools import soak

# Two stages of a quarter second; each leaves a file, so that a killed run goes on. With `wrong`,
# a run that was killed ends with other IDs.
PROGRAM = """
import pathlib, sys, time
import pyarrow as pa, pyarrow.parquet as pq
run, wrong = pathlib.Path(sys.argv[1]), sys.argv[2] == "wrong"
run.mkdir(exist_ok=True)
again = (run / "started").exists()
(run / "started").touch()
for number, stage in enumerate(("data", "ids"), 1):
    if (run / f"{stage}.done").exists():
        print(f"[{number}/2] {stage}: done before, skipped", flush=True)
        continue
    print(f"[{number}/2] {stage}", flush=True)
    time.sleep(0.25)
    (run / f"{stage}.done").touch()
    print(f"[{number}/2] {stage}: 0 s (0 s in all)", flush=True)
(run / "ids").mkdir(exist_ok=True)
for name in ("items", "queries"):
    pq.write_table(pa.table({"id": [1, 2], "path": ["a", "b" if not (wrong and again) else "c"]}),
                   run / "ids" / f"{name}.parquet")
"""


@pytest.fixture(params=["right", "wrong"])
def outcome(request, monkeypatch):
    monkeypatch.setattr(soak, "command", lambda gin_file, run_dir, bindings: [
        sys.executable, "-c", PROGRAM, str(run_dir), request.param])
    return request.param


def test_kills_and_compares(outcome, tmp_path):
    said = []
    result = soak.soak(output_dir=str(tmp_path), kills=2, kills_per_run=2, seed=1, say=said.append)
    hits = result["runs"][0]["kills"]
    assert [hit["stage"] for hit in hits] == ["data", "ids"]
    assert all(hit["killed"] and 0 <= hit["after"] <= 0.6 for hit in hits)
    same = outcome == "right"
    assert result["runs"][0]["identical"] == same
    assert said[-1].endswith("identical" if same else "ids/items.parquet differs in path")
    page = soak.report(result, "python -m tools.soak")
    assert f"2 kills (SIGKILL) in 1 runs of the pipeline, seed 1: the item and query IDs of **" \
           f"{int(same)} of 1** runs equal" in page


def test_every_stage_is_drawn_before_any_comes_again():
    seconds = {"data": 3.0, "vocab": 1.0, "ids": 2.0}
    kills = soak.draw_kills(seconds, 6, 0)
    assert sorted(k.stage for k in kills[:3]) == sorted(k.stage for k in kills[3:]) == sorted(seconds)
    assert all(0 <= kill.after <= seconds[kill.stage] for kill in kills)
    assert kills == soak.draw_kills(seconds, 6, 0) != soak.draw_kills(seconds, 6, 1)


def test_a_run_that_fails_for_another_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(soak, "command", lambda *arguments: [sys.executable, "-c",
                                                             "print('no such gin'); exit(1)"])
    with pytest.raises(UserError, match="ended with status 1: no such gin; expected it to finish"):
        soak.soak(output_dir=str(tmp_path), kills=1)


def test_other_columns_or_rows_differ(tmp_path):
    for name, table in (("a", {"id": [1]}), ("b", {"id": [1, 2]})):
        (tmp_path / name / "ids").mkdir(parents=True)
        for file in ("items", "queries"):
            pq.write_table(pa.table(table), tmp_path / name / "ids" / f"{file}.parquet")
    assert soak.identical(tmp_path / "a", tmp_path / "b") == "ids/items.parquet has other columns or rows"
    assert soak.identical(tmp_path / "a", tmp_path / "a") is None

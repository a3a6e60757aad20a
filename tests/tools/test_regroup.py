"""Regrouping by hand: the same files however it ran, resumed after a kill, other group sizes."""

import numpy as np
import pytest

from gsid_jax import assign, step_order, step_records
from gsid_jax.errors import UserError
from gsid_jax.manifest import write_json
from tasks import record_files
from tests.tasks import raw_catalogue
from tools import regroup
from tools.build_dataset import build_dataset

LEVELS, CODES, SOFT = 2, 8, 3


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("regroup")
    sources = raw_catalogue.write(root / "raw", "items", "interactions", "q2i_test")
    build_dataset(**sources, output_dir=root / "data")
    return root / "data"


def assignment(directory):
    """An assignment directory with random codes."""
    directory.mkdir()
    random = np.random.default_rng(0)
    for side, rows in (("item", 60), ("query", 49)):
        shapes = {"codes": (rows, LEVELS), "soft": (rows, LEVELS, SOFT),
                  "soft_ids": (rows, LEVELS, SOFT)}
        for name, dtype in assign.ARRAYS.items():
            values = random.random(shapes[name]) if name == "soft" else random.integers(
                0, CODES, shapes[name])
            if name == "soft_ids":
                values = np.argsort(random.random((rows, LEVELS, CODES)), axis=-1)[..., :SOFT]
            np.save(directory / f"{side}_{name}.npy", values.astype(dtype))
    write_json(directory / "stats.json", {"codebook_size": CODES, "level": LEVELS})
    return directory


def files(directory):
    return {path.name: path.read_bytes() for path in directory.rglob("gsid_step/**/*")
            if path.is_file()}


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(step_records, "SHARD_RECORDS", 2 * step_order.WINDOW_GROUPS)


def test_beam_and_one_machine_write_the_same_files(data, tmp_path, small_shards, capsys):
    pytest.importorskip("apache_beam")
    alone, beam = assignment(tmp_path / "alone"), assignment(tmp_path / "beam")
    options = [f"--data_dir={data}", "--group_size=2", "--seed=3"]
    assert regroup.main([*options, f"--assignment_dir={alone}"]) == 0
    assert regroup.main([*options, f"--assignment_dir={beam}", "--beam_runner=DirectRunner"]) == 0
    assert '{"train": 56, "validation": 2}' in capsys.readouterr().out
    assert len(files(alone)) > 8 and files(alone) == files(beam)
    assert sorted(path.name for path in alone.iterdir()) == sorted(
        path.name for path in beam.iterdir())


@pytest.mark.parametrize("kill_at", ["reading", 0, 3, "end"])
def test_a_killed_pass_goes_on_to_the_same_files(data, tmp_path, small_shards, monkeypatch, kill_at):
    whole, cut = assignment(tmp_path / "whole"), assignment(tmp_path / "cut")
    regroup.regroup(data, whole, group_size=2)
    written = []
    real_write, real_read = record_files.write_shard, step_records.Plan.ranked
    real_remove = record_files.ShardSort.remove

    def write(path, records):
        if path.name.startswith("train") and len(written) == kill_at:
            raise KeyboardInterrupt
        written.append(path.name)
        return real_write(path, records)

    def ranked(plan, path):
        for place, row in enumerate(real_read(plan, path)):
            if kill_at == "reading" and place == 20:
                raise KeyboardInterrupt
            yield row

    def remove(sort, shard=None):
        real_remove(sort, shard)
        if kill_at == "end" and shard is None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(record_files, "write_shard", write)
        patch.setattr(step_records.Plan, "ranked", ranked)
        patch.setattr(record_files.ShardSort, "remove", remove)
        with pytest.raises(KeyboardInterrupt):
            regroup.regroup(data, cut, group_size=2)
    if kill_at == 3:  # what was written stays
        monkeypatch.setattr(record_files, "write_shard", lambda path, records: (
            written.append(path.name), real_write(path, records))[1])
    regroup.regroup(data, cut, group_size=2)
    assert files(cut) == files(whole)
    assert sorted(path.name for path in cut.iterdir()) == sorted(
        path.name for path in whole.iterdir())
    if kill_at == 3:
        assert len(written) == len(set(written))


def test_another_group_size_begins_anew(data, tmp_path, small_shards, monkeypatch):
    cut, whole = assignment(tmp_path / "cut"), assignment(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(record_files, "write_shard", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            regroup.regroup(data, cut, group_size=2)
    regroup.regroup(data, cut, group_size=1)
    regroup.regroup(data, whole, group_size=1)
    assert files(cut) == files(whole)


def test_what_cannot_be_regrouped_is_named(data, tmp_path, capsys):
    with pytest.raises(UserError, match="has no stats.json; expected the assignment"):
        regroup.regroup(data, tmp_path)
    assert regroup.main([f"--data_dir={data}", f"--assignment_dir={tmp_path}",
                         "--group_size=0"]) == 1
    assert "error: bad group_size: got 0" in capsys.readouterr().err

"""Sorting records through files: order, limits of memory, and going on after a kill."""

import numpy as np
import pytest

from tasks import record_files


def fill(sort, ranks, units=1, shard_size=30, stop=None):
    for unit, part in enumerate(np.array_split(ranks, units)):
        if unit < sort.units:
            continue
        for rank in part.tolist():
            sort.add(rank // shard_size, rank, f"record {rank}".encode())
        if unit == stop:
            return
        sort.commit()


@pytest.mark.parametrize("buffer_bytes", [1, 100, 1 << 20])
def test_records_leave_sorted_shard_by_shard(tmp_path, monkeypatch, buffer_bytes):
    monkeypatch.setattr(record_files, "BUFFER_BYTES", buffer_bytes)
    sort = record_files.ShardSort(tmp_path / "sort", 4)
    fill(sort, np.random.default_rng(0).permutation(100), units=3)
    found = [record for shard in range(4) for _, record in sort.read(shard)]
    assert found == [f"record {rank}".encode() for rank in range(100)]
    sort.remove()
    assert not (tmp_path / "sort").exists()


@pytest.mark.parametrize("stop", [0, 2, 4])
def test_a_sort_that_was_cut_off_goes_on(tmp_path, monkeypatch, stop):
    monkeypatch.setattr(record_files, "BUFFER_BYTES", 50)  # records of the lost unit are on disk
    ranks = np.random.default_rng(1).permutation(100)
    fill(record_files.ShardSort(tmp_path / "sort", 4), ranks, units=5, stop=stop)
    sort = record_files.ShardSort(tmp_path / "sort", 4)
    assert sort.units == stop
    fill(sort, ranks, units=5)
    found = [record for shard in range(4) for _, record in sort.read(shard)]
    assert found == [f"record {rank}".encode() for rank in range(100)]


def test_a_repeated_key_is_refused(tmp_path):
    sort = record_files.ShardSort(tmp_path / "sort", 1)
    for _ in range(2):
        sort.add(0, 7, b"twice")
    with pytest.raises(ValueError, match="two records have key 7"):
        list(sort.read(0))


def test_hashes_fill_shards_evenly_and_in_order():
    key = record_files.KeyHash("train")
    keys = sorted(key(number) for number in range(4000))
    shards = [record_files.hashed_shard(each, 4) for each in keys]
    assert shards == sorted(shards)
    assert min(np.bincount(shards)) > 900 and len(np.bincount(shards)) == 4

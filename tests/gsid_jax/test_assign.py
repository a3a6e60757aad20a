"""The assignment pass: codes, statistics, the next step's records, resumption."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds

from gsid_jax import assign, step_order
from gsid_jax.errors import UserError
from tasks import catalogue_builder, step_builder

GROUP = 4


class Kill(Exception):
    """Stands for a kill of the process."""


def texts(data_dir, side):
    table, column = assign.TABLES[side]
    return pq.read_table(data_dir / table)[column].to_pylist()


def files(directory):
    return {str(path.relative_to(directory)): path.read_bytes()
            for path in directory.rglob("*")
            if path.is_file() and path.suffix != ".json"}


def records(builder, split):
    return list(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)))


@pytest.fixture(scope="module")
def step_1(tiny_data, letters, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "step_1" / "assignment"
    stats = assign.assign(letters.encoder(level=1), data_dir=tiny_data, output_dir=directory,
                          group_size=GROUP, seed=5)
    return directory, stats


@pytest.fixture
def run(tiny_data, tmp_path):
    """assign() on the tiny data into tmp_path, with other settings as given."""
    def call(encoder, name="assignment", **options):
        settings = {"data_dir": tiny_data, "output_dir": tmp_path / name, "group_size": GROUP}
        return assign.assign(encoder, **(settings | options))
    return call


@pytest.mark.parametrize("side", ["item", "query"])
def test_every_row_gets_the_models_code_and_distribution(side, step_1, tiny_data, letters):
    stored = assign.load(step_1[0], side)
    encoded = letters.encoder(level=1).encode(texts(tiny_data, side), side)
    np.testing.assert_array_equal(stored.codes, encoded["codes"])
    assert stored.codes.dtype == np.uint16 and stored.soft.dtype == np.float16
    np.testing.assert_array_equal(stored.soft, encoded["soft"])
    np.testing.assert_array_equal(stored.soft_ids, encoded["soft_ids"])


def test_statistics(step_1):
    directory, stats = step_1
    assert json.loads((directory / "stats.json").read_text()) == stats
    codes = assign.load(directory, "item").codes[:, 0]
    shares = np.bincount(codes, minlength=8) / len(codes)
    assert stats["level"] == 1 and stats["codebook_size"] == 8 and stats["items"] == 150
    level = stats["codes"]["l1"]
    assert level["used"] == (shares > 0).sum()
    assert level["max_share"] == pytest.approx(shares.max())
    entropy = -sum(share * np.log(share) for share in shares if share)
    assert level["perplexity"] == pytest.approx(np.exp(entropy))
    assert stats["ids"]["distinct"] == level["used"]
    assert stats["keep"] is None and stats["agreement"] is None


def test_every_training_record_comes_once_with_its_codes(step_1, tiny_data):
    directory, stats = step_1
    items, queries = assign.load(directory, "item"), assign.load(directory, "query")
    catalogue = catalogue_builder.load_catalogue_dataset(tiny_data, "train")
    step = step_builder.load_step_dataset(directory)
    assert stats["records"] == {split: info.num_examples
                                for split, info in catalogue.info.splits.items()}
    for split in ("train", "validation"):
        before = {record["item_index"]: record for record in records(catalogue, split)}
        after = records(step, split)
        assert sorted(record["item_index"] for record in after) == sorted(before)
        for record in after:
            for name, value in before[record["item_index"]].items():
                np.testing.assert_array_equal(record[name], value)
            rows = record["query_ids"] - 1
            np.testing.assert_array_equal(record["item_codes"], items.codes[record["item_index"]])
            np.testing.assert_array_equal(record["query_codes"], queries.codes[rows].reshape(-1))
            soft = np.frombuffer(record["item_soft"], np.float16).reshape(1, 8)
            np.testing.assert_array_equal(
                soft[0, items.soft_ids[record["item_index"], 0]],
                items.soft[record["item_index"], 0])
            assert (soft > 0).sum() == 3 and soft.sum() == pytest.approx(1, abs=2e-3)
            assert len(record["query_soft"]) == len(rows)


def test_records_are_windows_of_same_prefix_neighbours(step_1):
    step = step_builder.load_step_dataset(step_1[0])
    codes = [tuple(record["item_codes"]) for record in records(step, "train")]
    size = step_order.WINDOW_GROUPS * GROUP
    windows = [codes[start:start + size] for start in range(0, len(codes), size)]
    assert all(window == sorted(window) for window in windows)
    assert codes != sorted(codes)


def test_the_next_step_keeps_the_prefix_and_records_drift(step_1, run, letters, tiny_data,
                                                          tmp_path):
    kept = run(letters.encoder(level=2), "same", previous_dir=step_1[0])
    assert kept["keep"] == 1.0 and kept["agreement"] == 1.0
    drifted = run(letters.encoder(level=2, drift=1), "drifted", previous_dir=step_1[0])
    assert drifted["keep"] == 0.0 and drifted["agreement_by_level"] == {"l1": 0.0}
    assert drifted["query_keep"] == 0.0
    for side in ("item", "query"):
        codes = assign.load(tmp_path / "drifted", side).codes
        np.testing.assert_array_equal(codes[:, :1], assign.load(step_1[0], side).codes)
        own = letters.encoder(level=2, drift=1).encode(texts(tiny_data, side), side)["codes"]
        np.testing.assert_array_equal(codes[:, 1], own[:, 1])


def test_soft_distributions_of_earlier_levels_can_stay(step_1, run, letters, tmp_path):
    encoder = letters.encoder(level=2, drift=1)
    run(encoder, "latest", previous_dir=step_1[0])
    run(encoder, "first", previous_dir=step_1[0], soft="first")
    before = assign.load(step_1[0], "item")
    first, latest = (assign.load(tmp_path / name, "item") for name in ("first", "latest"))
    np.testing.assert_array_equal(first.soft_ids[:, :1], before.soft_ids)
    assert not np.array_equal(latest.soft_ids[:, :1], before.soft_ids)
    np.testing.assert_array_equal(first.soft_ids[:, 1], latest.soft_ids[:, 1])


@pytest.mark.parametrize("calls", [0, 3, 10])
def test_a_killed_pass_continues_to_the_same_files(calls, step_1, run, letters, tmp_path,
                                                   monkeypatch):
    monkeypatch.setattr(assign, "CHUNK_ROWS", 16)
    options = {"previous_dir": step_1[0], "model_hash": "m"}
    run(letters.encoder(level=2), "whole", **options)
    encoder = letters.encoder(level=2)
    encode, done = encoder.encode, []

    def dies(*args):
        if len(done) == calls:
            raise Kill
        done.append(args)
        return encode(*args)

    encoder.encode = dies
    with pytest.raises(Kill):
        run(encoder, "killed", **options)
    assert not (tmp_path / "killed").exists()
    done.clear()
    encoder.encode = lambda *args: (done.append(args), encode(*args))[1]
    stats = run(encoder, "killed", **options)
    assert len(done) == 10 + 3 - calls  # chunks of 150 items and 48 queries
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert stats["keep"] == 1.0
    assert not list(tmp_path.glob("*.partial"))


def test_an_unfinished_pass_of_another_model_is_not_continued(step_1, run, letters, tmp_path):
    encoder = letters.encoder(level=1)
    monkey = encoder.encode
    encoder.encode = lambda *args, **kw: (_ for _ in ()).throw(Kill)
    with pytest.raises(Kill):
        run(encoder, model_hash="old")
    encoder.encode = monkey
    (tmp_path / "assignment.partial" / "stale").touch()
    run(encoder, model_hash="new", write_records=False)
    assert not (tmp_path / "assignment" / "stale").exists()
    assert not (tmp_path / "assignment" / "gsid_step").exists()


def test_refusals(step_1, run, letters, tmp_path):
    with pytest.raises(UserError, match="exists already; expected a new directory"):
        run(letters.encoder(level=1), output_dir=step_1[0])
    with pytest.raises(UserError, match=r"None, holds codes \[150, 0\]; expected \[150, 1\]"):
        run(letters.encoder(level=2))
    with pytest.raises(UserError, match="item_codes.npy is missing; expected what is written"):
        run(letters.encoder(level=2), previous_dir=tmp_path)
    with pytest.raises(UserError, match="soft is 'newest'; expected one of"):
        run(letters.encoder(level=1), soft="newest")


def test_codes_to_keep_stay_with_the_distributions_along_them(run, tiny_data, letters, tmp_path):
    counts = {side: len(texts(tiny_data, side)) for side in assign.TABLES}
    random = np.random.default_rng(0)
    fixed = {side: random.integers(0, 8, (count, 2)) for side, count in counts.items()}
    encoder = letters.encoder(level=2)
    stats = run(encoder, fixed=fixed)
    for side in assign.TABLES:
        stored = assign.load(tmp_path / "assignment", side)
        np.testing.assert_array_equal(stored.codes, fixed[side])
        encoded = encoder.encode(texts(tiny_data, side), side, fixed[side])
        np.testing.assert_array_equal(stored.soft_ids, encoded["soft_ids"])
    same = encoder.encode(texts(tiny_data, "item"))["codes"] == fixed["item"]
    assert stats["keep"] == pytest.approx(same.all(axis=1).mean())
    assert stats["agreement_by_level"]["l2"] == pytest.approx(same[:, 1].mean())
    assert stats["records"]["train"] > 0


def test_codes_to_keep_of_another_dataset_are_refused(run, letters):
    fixed = {side: np.zeros((3, 2), int) for side in assign.TABLES}
    with pytest.raises(UserError, match=r"the codes to keep are \[3, 2\]; expected 150 rows"):
        run(letters.encoder(level=2), fixed=fixed)

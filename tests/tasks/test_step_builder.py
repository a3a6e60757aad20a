"""A step's dataset: order kept, soft distributions whole, complete or not there at all."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from gsid_jax.errors import UserError
from tasks import step_builder

LEVELS, CODES = 2, 8


def records(count, first=0):
    random = np.random.default_rng(first)
    for number in range(first, first + count):
        queries = 1 + number % 3
        yield {
            "item_id": f"i{number}", "item_index": number, "text": f"item {number}",
            "queries": [f"query {query}" for query in range(queries)],
            "query_ids": np.arange(1, queries + 1), "query_weights": np.ones(queries),
            "item_codes": random.integers(0, CODES, LEVELS).astype(np.uint16),
            "query_codes": random.integers(0, CODES, (queries, LEVELS)),
            "item_soft": np.zeros((LEVELS, CODES), np.float32),  # nothing but zero bytes
            "query_soft": random.random((queries, LEVELS, CODES)).astype(np.float16)}


def read(directory, split="train"):
    return list(tfds.as_numpy(step_builder.load_step_dataset(directory).as_dataset(split=split)))


def test_records_come_back_in_order_from_many_files(tmp_path):
    written = list(records(50))[::-1]
    counts = step_builder.write_step_dataset(tmp_path, iter(written), LEVELS, CODES,
                                             shard_records=8)
    assert counts == {"train": 50}
    directory = step_builder.step_dataset_dir(tmp_path)
    assert len(list(directory.glob("*.tfrecord*"))) == 7
    assert step_builder.load_step_dataset(tmp_path).info.disable_shuffling
    found = read(tmp_path)
    assert [record["item_index"] for record in found] == list(range(49, -1, -1))
    for record, original in zip(found, written):
        np.testing.assert_array_equal(record["item_codes"], original["item_codes"])
        assert record["item_codes"].dtype == record["query_codes"].dtype == np.int32
        np.testing.assert_array_equal(record["query_codes"], original["query_codes"].reshape(-1))
        assert record["item_soft"] == bytes(2 * LEVELS * CODES)
        soft = [np.frombuffer(each, np.float16).reshape(LEVELS, CODES)
                for each in record["query_soft"]]
        np.testing.assert_array_equal(soft, original["query_soft"])


def test_records_read_from_a_dataset_can_be_written_again(tmp_path):
    step_builder.write_step_dataset(tmp_path / "a", records(5), LEVELS, CODES)
    found = read(tmp_path / "a")
    step_builder.write_step_dataset(tmp_path / "b", found, LEVELS, CODES)
    for first, second in zip(found, read(tmp_path / "b")):
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def test_several_splits_and_replacement(tmp_path):
    step_builder.write_step_dataset(tmp_path, records(9), LEVELS, CODES, shard_records=2)
    counts = step_builder.write_step_dataset(
        tmp_path, {"train": records(4), "validation": records(3, first=4)}, LEVELS, CODES)
    assert counts == {"train": 4, "validation": 3}
    assert [record["item_index"] for record in read(tmp_path, "validation")] == [4, 5, 6]
    assert len(list(step_builder.step_dataset_dir(tmp_path).glob("*.tfrecord*"))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["gsid_step"]


def test_a_cut_off_write_leaves_no_dataset(tmp_path):
    def broken():
        yield from records(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        step_builder.write_step_dataset(tmp_path, broken(), LEVELS, CODES)
    with pytest.raises(UserError, match="gsid_step/1.0.0 is missing; expected the records"):
        step_builder.load_step_dataset(tmp_path)
    assert step_builder.write_step_dataset(tmp_path, records(3), LEVELS, CODES) == {"train": 3}


@pytest.mark.parametrize("changed, message", [
    ({"item_codes": [1]}, r"item_codes has shape \(1,\), expected \(2,\)"),
    ({"query_codes": [1, 2, 3]}, r"query_codes has shape \(3,\), expected \(2,\)"),
    ({"query_soft": []}, r"query_soft has shape \(0,\), expected \(1,\)"),
    ({"item_soft": np.zeros((2, 4))}, r"soft distribution has shape \(2, 4\), expected \(2, 8\)"),
    ({"item_soft": b"1234"}, "soft distribution has 4 bytes, expected 32"),
])
def test_a_record_of_another_shape_is_refused(tmp_path, changed, message):
    with pytest.raises(ValueError, match=f"record of item 'i0': {message}"):
        step_builder.write_step_dataset(tmp_path, [next(records(1)) | changed], LEVELS, CODES)


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="split 'train' of .* has no records"):
        step_builder.write_step_dataset(tmp_path, [], LEVELS, CODES)

"""The TFDS datasets of a catalogue: records, order, splits, and the same bytes every time."""

import pathlib

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core import example_serializer, hashing

from gsid_jax.errors import UserError
from tasks import catalogue_builder, sidecars
from tasks.dataset_settings import Settings
from tasks.raw_files import Rejects
from tests.tasks import raw_catalogue


def build(directory: pathlib.Path, max_queries: int = 64) -> dict[str, int]:
    sources = raw_catalogue.write(directory / "raw")
    sidecars.write_sidecars(sources, directory, Settings(), Rejects())
    return catalogue_builder.build_catalogue(directory, max_queries)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[pathlib.Path, dict[str, int]]:
    directory = tmp_path_factory.mktemp("built")
    return directory, build(directory)


def read(directory: pathlib.Path, config: str, split: str = "train") -> list[dict]:
    builder = catalogue_builder.load_catalogue_dataset(directory, config)
    return list(tfds.as_numpy(builder.as_dataset(split=split)))


def test_every_config_has_its_records(built):
    _, counts = built
    assert counts == {"train/train": 56, "train/validation": 2, "pool/train": 60, "q2i/train": 2,
                      "i2i/train": 2}


def test_a_training_record_holds_the_queries_heaviest_first(built):
    directory, _ = built
    queries = pq.read_table(directory / "queries.parquet")["query"].to_pylist()
    records = read(directory, "train") + read(directory, "train", "validation")
    assert sorted(record["item_index"] for record in records) == list(range(58))
    record = next(record for record in records if record["item_id"] == b"i7")
    assert record["text"] == b"sony camera no 7 as new"
    assert record["queries"].tolist() == [b"sony camera", b"camera", b"sony"]
    np.testing.assert_array_equal(record["query_weights"], np.float32([10, 2, 1]))
    assert record["query_ids"].dtype == np.int64
    assert [queries[number - 1] for number in record["query_ids"]] == ["sony camera", "camera",
                                                                       "sony"]


def test_training_is_shuffled_and_the_pool_is_in_order(built):
    directory, _ = built
    order = [record["item_index"] for record in read(directory, "train")]
    assert order != sorted(order)
    pool = read(directory, "pool")
    assert [record["item_index"] for record in pool] == list(range(60))
    assert [record["seen"] for record in pool] == [True] * 58 + [False] * 2
    assert catalogue_builder.load_catalogue_dataset(directory, "pool").info.disable_shuffling


def test_triggers_are_held_out_and_merged(built):
    directory, _ = built
    first, second = read(directory, "q2i")
    assert (first["query"], first["unseen_query"], first["head"]) == (b"apple", False, b"tail")
    assert first["item_indices"].tolist() == [58]
    assert (second["query"], second["unseen_query"]) == (b"nikon camera", True)
    assert second["item_indices"].tolist() == [8, 14, 20]
    trigger = read(directory, "i2i")[0]
    assert (trigger["item_id"], trigger["unseen_item"]) == (b"i59", True)
    assert trigger["item_indices"].tolist() == [5]


def test_the_same_input_gives_the_same_bytes_and_queries_are_capped(built, tmp_path):
    directory, _ = built
    build(tmp_path)
    files = [path.relative_to(directory) for path in directory.rglob("*") if path.is_file()]
    assert len(files) > 20
    for file in files:
        assert (directory / file).read_bytes() == (tmp_path / file).read_bytes(), file
    builder = catalogue_builder.GsidCatalogue(config="train", data_dir=tmp_path / "capped",
                                              source_dir=tmp_path, max_queries=2)
    builder.download_and_prepare()
    assert max(len(record["queries"]) for record in tfds.as_numpy(
        builder.as_dataset(split="train"))) == 2


def test_nothing_is_printed_to_stdout(tmp_path, capfd):
    build(tmp_path)
    assert capfd.readouterr().out == ""


def test_records_and_their_order_are_those_that_tfds_writes(built, tmp_path):
    directory, _ = built
    builder = catalogue_builder.GsidCatalogue(config="train", data_dir=tmp_path,
                                              source_dir=directory)
    serializer = example_serializer.ExampleSerializer(builder.info.features.get_serialized_info())
    hasher, expected = hashing.Hasher("train"), []
    for key, record in builder.records("train"):
        example = serializer.serialize_example(builder.info.features.encode_example(record))
        expected.append((hasher.hash_key(key), tf.train.Example.FromString(example)))
    path, = catalogue_builder.dataset_dir(directory, "train").glob("*-train.tfrecord*")
    found = [tf.train.Example.FromString(record.numpy())
             for record in tf.data.TFRecordDataset(str(path))]
    assert found == [example for _, example in sorted(expected, key=lambda pair: pair[0])]


def test_a_missing_dataset_is_named(tmp_path):
    with pytest.raises(UserError, match="pool/1.0.0 is missing; expected what the dataset builder"):
        catalogue_builder.load_catalogue_dataset(tmp_path, "pool")

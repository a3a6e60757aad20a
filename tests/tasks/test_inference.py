"""Every item and every query once, in order."""

import numpy as np
import pytest
import seqio

from gsid_jax import feature_converters
from gsid_jax.errors import UserError
from tasks import tokens, vocabulary
from tests.tasks import small_catalogue


def rows(task, **kwargs):
    dataset = seqio.get_mixture_or_task(task).get_dataset({"inputs": 16}, shuffle=False, **kwargs)
    return list(dataset.as_numpy_iterator())


def test_items_come_in_the_order_of_their_index(placed):
    found = rows("gsid_items")
    assert [int(row["index"]) for row in found] == list(range(small_catalogue.ITEMS))
    assert [row["id"].decode() for row in found] == [f"item{index:03d}" for index in range(60)]
    texts = [row["text"].decode() for row in found]
    padded = [np.pad(row["inputs"], (0, 16 - len(row["inputs"]))) for row in found]
    np.testing.assert_array_equal(
        padded, tokens.encode_batch(vocabulary.VOCABULARY, texts, 16))


def test_queries_come_in_the_order_of_their_index(placed):
    found = rows("gsid_queries")
    assert [int(row["index"]) for row in found] == list(range(180))
    assert all(row["id"] == row["text"] for row in found)


def test_shards_are_ranges(placed):
    shards = [rows("gsid_items", shard_info=seqio.ShardInfo(index, 3)) for index in range(3)]
    assert [int(row["index"]) for shard in shards for row in shard] == list(range(60))


def test_batches(placed):
    dataset = seqio.get_dataset("gsid_items", {"inputs": 16},
                                feature_converters.InferenceFeatureConverter(), batch_size=20)
    batches = list(dataset.as_numpy_iterator())
    assert [batch["encoder_input_tokens"].shape for batch in batches] == [(20, 16)] * 3


def test_shuffling_is_refused(placed):
    with pytest.raises(UserError, match="table items.parquet is read in order: load its task with"):
        seqio.get_mixture_or_task("gsid_items").get_dataset({"inputs": 16}, shuffle=True)


def test_queries_and_items_take_turns_for_code_accuracy(placed):
    found = rows("gsid_code_accuracy", split="train")
    texts = [row["text"].decode() for row in found]
    items = {row["text"].decode() for row in rows("gsid_items")}
    queries = {row["text"].decode() for row in rows("gsid_queries")}
    assert len(texts) and set(texts[0::2]) <= queries and set(texts[1::2]) <= items
    converter = feature_converters.EvaluationFeatureConverter()
    task = seqio.get_mixture_or_task("gsid_code_accuracy").get_dataset(
        {"inputs": 16}, split="train", shuffle=False)
    example = next(iter(converter(task, {"inputs": 16, "targets": 1}).as_numpy_iterator()))
    assert example.keys() == {"encoder_input_tokens"}  # the model sees no targets

"""Batches for the launcher: the same every time, and resumed exactly."""

import gin
import numpy as np
import pytest
import seqio

from gsid_jax import feature_converters, quiet
from gsid_jax.errors import UserError
from tasks import loading
from tests.tasks import small_catalogue

tf = quiet.tensorflow()
PRETRAIN = {"inputs": 24, "targets": 24}
QUERY_ITEM = {"inputs": 24, "queries": 12}
CASES = {
    "pretrain": ("placed", "gsid_pretrain", PRETRAIN),
    "step_one": ("placed", "gsid_query_item", QUERY_ITEM),
    "grouped": ("step_two", "gsid_query_item", QUERY_ITEM),
}


def open_dataset(name, lengths, batch_size=8, **kwargs):
    converter = (feature_converters.PretrainFeatureConverter if "targets" in lengths
                 else feature_converters.GSIDFeatureConverter)
    return loading.get_dataset(name, lengths, feature_converter_cls=converter,
                               batch_size=batch_size, **kwargs)


def take(iterator, number):
    return [next(iterator) for _ in range(number)]


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("case", CASES)
def test_resume_goes_on_exactly_also_over_epochs(case, request, tmp_path):
    fixture, name, lengths = CASES[case]
    request.getfixturevalue(fixture)
    gin.bind_parameter("tasks.grouping.prefix_groups.block_windows", 2)  # several blocks an epoch
    gin.bind_parameter("tasks.grouping.shuffling.block_records", 20)
    uninterrupted = loading.BatchIterator(open_dataset(name, lengths))
    expected = []
    places = (0, 1, 7, 16)  # an epoch has 60 items: 7.5 batches
    for done in range(28):
        if done in places:
            uninterrupted.save(tmp_path / f"position_{done}")
        expected.append(next(uninterrupted))
    again = open_dataset(name, lengths)  # another process would build it anew
    for done in places:
        resumed = loading.BatchIterator(again)
        resumed.restore(tmp_path / f"position_{done}")
        assert_same(take(resumed, 12), expected[done:done + 12])


def test_seed_decides_the_batches(placed):
    batches = [next(loading.BatchIterator(open_dataset("gsid_query_item", QUERY_ITEM, seed=seed)))
               for seed in (0, 0, 1)]
    assert_same(batches[:1], batches[1:2])
    assert not np.array_equal(batches[0]["item_ids"], batches[2]["item_ids"])


def test_batches_have_static_shapes(step_two):
    batch = next(loading.BatchIterator(open_dataset("gsid_query_item", QUERY_ITEM)))
    C, K = small_catalogue.LEVELS, small_catalogue.CODES
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == {
        "item_tokens": ((8, 24), "int32"),
        "item_ids": ((8,), "int32"),
        "query_tokens": ((8, 2, 12), "int32"),
        "query_ids": ((8, 2), "int32"),
        "query_weights": ((8, 2), "float32"),
        "item_query_ids": ((8, 32), "int32"),
        "item_codes": ((8, C), "int32"),
        "query_codes": ((8, 2, C), "int32"),
        "item_soft": ((8, C, K), "float32"),
        "query_soft": ((8, 2, C, K), "float32"),
    }


def test_one_epoch_ends(placed):
    batches = list(loading.BatchIterator(open_dataset("gsid_query_item", QUERY_ITEM, num_epochs=1)))
    assert len(batches) == 7
    batches = list(loading.BatchIterator(open_dataset(
        "gsid_query_item", QUERY_ITEM, num_epochs=1, drop_remainder=False)))
    assert sum(len(batch["item_ids"]) for batch in batches) == 60


def test_hosts_share_the_batch(placed):
    hosts = [next(loading.BatchIterator(open_dataset(
        "gsid_query_item", QUERY_ITEM, shard_info=seqio.ShardInfo(index, 2))))
        for index in range(2)]
    assert [len(batch["item_ids"]) for batch in hosts] == [4, 4]
    assert not set(hosts[0]["item_ids"]) & set(hosts[1]["item_ids"])


@pytest.mark.parametrize("case", CASES)
def test_plain_seqio_gives_batches_too(case, request):
    """The call T5X makes."""
    fixture, name, lengths = CASES[case]
    request.getfixturevalue(fixture)
    converter = (feature_converters.PretrainFeatureConverter if "targets" in lengths
                 else feature_converters.GSIDFeatureConverter)
    dataset = seqio.get_dataset(
        seqio.get_mixture_or_task(name), lengths, dataset_split="train", shuffle=True,
        num_epochs=None, feature_converter=converter(pack=False, use_custom_packing_ops=False),
        shard_info=seqio.ShardInfo(0, 1), use_cached=False, seed=0, trim_output_features=True,
        batch_size=8)
    ours = open_dataset(name, lengths)
    assert_same(list(dataset.take(3).as_numpy_iterator()), list(ours.take(3).as_numpy_iterator()))


def test_unknown_name():
    with pytest.raises(UserError, match="unknown task or mixture 'gsid_nothing'; known tasks: .*"
                                        "gsid_query_item.*; known mixtures: gsid_pretrain"):
        open_dataset("gsid_nothing", PRETRAIN)


def test_batch_that_hosts_do_not_divide(placed):
    with pytest.raises(UserError, match="BATCH_SIZE is 9; expected a positive multiple of the 2"):
        open_dataset("gsid_pretrain", PRETRAIN, 9, shard_info=seqio.ShardInfo(0, 2))


def test_batch_that_groups_do_not_divide(step_two):
    with pytest.raises(UserError, match="batch of 6 items is not a multiple of the group size 4"):
        open_dataset("gsid_query_item", QUERY_ITEM, 6)
    gin.bind_parameter("tasks.grouping.prefix_groups.enabled", False)
    open_dataset("gsid_query_item", QUERY_ITEM, 6)


def test_position_that_cannot_be_restored(placed, tmp_path):
    iterator = loading.BatchIterator(open_dataset("gsid_pretrain", PRETRAIN))
    with pytest.raises(UserError, match="data position .*nothing cannot be restored"):
        iterator.restore(tmp_path / "nothing")


def test_reading_needs_threads():
    with pytest.raises(UserError, match="tasks.loading.reading.threads is 0; expected at least 1"):
        loading.reading(threads=0)

"""Multi-query sampling, codes of earlier steps, and groups of one prefix."""

import gin
import numpy as np
import pytest
import seqio
from scipy import stats

from gsid_jax import quiet
from gsid_jax.errors import UserError
from tasks import location, preprocessors, query_item, vocabulary
from tasks.sources import RecordSource
from tests.tasks import small_catalogue

tf = quiet.tensorflow()
LENGTHS = {"inputs": 40, "queries": 12}


def examples(shuffle=True, seed=0, epochs=1, shard=None):
    dataset = seqio.get_mixture_or_task("gsid_query_item").get_dataset(
        LENGTHS, shuffle=shuffle, seed=seed, num_epochs=epochs, shard_info=shard)
    return list(dataset.as_numpy_iterator())


def items(**kwargs):
    return [int(example["item_ids"]) for example in examples(**kwargs)]


@pytest.fixture(scope="module")
def records():
    return {row["item_index"] + 1: row for row in small_catalogue.records()}


def test_sampled_queries_belong_to_the_item_and_do_not_repeat(placed, records):
    gin.bind_parameter("tasks.query_item.sampling.queries_per_item", 3)
    for example in examples():
        record = records[int(example["item_ids"])]
        number = min(3, len(record["queries"]))
        drawn = example["query_ids"][:number].tolist()
        assert set(drawn) <= set(record["query_ids"]) and len(set(drawn)) == number
        np.testing.assert_array_equal(example["query_ids"][number:], 0)
        np.testing.assert_array_equal(example["query_weights"], np.arange(3) < number)
        np.testing.assert_array_equal(example["queries"][number:], 0)
        for row, query_id in zip(example["queries"], drawn):
            text = record["queries"][record["query_ids"].index(query_id)]
            ids = vocabulary.VOCABULARY.encode(text)[:LENGTHS["queries"] - 1] + [1]
            np.testing.assert_array_equal(row[:len(ids)], ids)
            np.testing.assert_array_equal(row[len(ids):], 0)


def test_known_queries_come_heaviest_first(placed, records):
    gin.bind_parameter("tasks.query_item.sampling.known_queries", 4)
    for example in examples():
        known = records[int(example["item_ids"])]["query_ids"][:4]
        np.testing.assert_array_equal(example["item_query_ids"], known + [0] * (4 - len(known)))


def test_weighted_choice_follows_the_weights():
    weights = tf.constant([8.0, 4.0, 2.0, 2.0])
    for alpha, expected in ((1.0, [0.5, 0.25, 0.125, 0.125]), (0.0, [0.25] * 4)):
        draws = [int(preprocessors.weighted_choice(weights, 1, alpha, tf.constant([n, 3]))[0])
                 for n in range(600)]
        counts = np.bincount(draws, minlength=4)
        assert stats.chisquare(counts, 600 * np.array(expected)).pvalue > 0.001


def test_weighted_choice_without_replacement():
    for number in range(20):
        drawn = preprocessors.weighted_choice(tf.ones([5]), 5, 1.0, tf.constant([number, 1]))
        assert sorted(drawn.numpy()) == list(range(5))
    assert len(preprocessors.weighted_choice(tf.ones([2]), 5, 1.0, tf.constant([0, 1]))) == 2


def test_draws_and_order_differ_between_epochs_and_follow_the_seed(placed):
    def draws(seed):
        return [(int(example["item_ids"]), tuple(example["query_ids"]))
                for example in examples(seed=seed, epochs=2)]
    first = draws(0)
    assert first == draws(0) and first != draws(1)
    epochs = first[:60], first[60:]
    assert [item for item, _ in epochs[0]] != [item for item, _ in epochs[1]]
    assert sorted(item for item, _ in epochs[0]) == sorted(item for item, _ in epochs[1])
    assert dict(epochs[0]) != dict(epochs[1])


def test_step_one_has_no_codes(placed):
    assert not any("codes" in key or "soft" in key for key in examples()[0])


def test_codes_are_decoded(step_two, records):
    C, K = small_catalogue.LEVELS, small_catalogue.CODES
    for example in examples():
        record = records[int(example["item_ids"])]
        np.testing.assert_array_equal(example["item_codes"], record["item_codes"])
        np.testing.assert_array_equal(example["item_soft"].argmax(-1), record["item_codes"])
        assert example["item_soft"].dtype == example["query_soft"].dtype == np.float32
        assert example["item_soft"].shape == (C, K) and example["query_soft"].shape == (2, C, K)
        np.testing.assert_allclose(example["item_soft"].max(-1), 0.75)
        known = record["query_codes"].reshape(-1, C)
        for position, query_id in enumerate(example["query_ids"]):
            codes = known[record["query_ids"].index(query_id)] if query_id else [0] * C
            np.testing.assert_array_equal(example["query_codes"][position], codes)
            if query_id:
                np.testing.assert_array_equal(example["query_soft"][position].argmax(-1), codes)
            else:
                np.testing.assert_array_equal(example["query_soft"][position], 0)


@pytest.mark.parametrize("shuffle", [True, False])
def test_items_of_one_prefix_stand_together(step_two, records, shuffle):
    found = items(shuffle=shuffle)
    assert sorted(found) == sorted(records)  # each once: short groups are not topped up
    prefixes = [tuple(records[item]["item_codes"]) for item in found]
    neighbours = np.mean([left == right for left, right in zip(prefixes, prefixes[1:])])
    gin.bind_parameter("tasks.grouping.prefix_groups.enabled", False)
    prefixes = [tuple(records[item]["item_codes"]) for item in items()]
    random = np.mean([left == right for left, right in zip(prefixes, prefixes[1:])])
    assert neighbours > 0.4 > random


def test_groups_may_share_fewer_codes_than_the_records_have(step_two, records):
    gin.bind_parameter("tasks.grouping.prefix_groups.prefix_levels", 1)
    found = items()
    assert sorted(found) == sorted(records)

    def together(levels):
        codes = [tuple(records[item]["item_codes"][:levels]) for item in found]
        return np.mean([left == right for left, right in zip(codes, codes[1:])])

    assert together(1) > 0.4 > together(None)
    gin.bind_parameter("tasks.grouping.prefix_groups.prefix_levels", 5)
    with pytest.raises(UserError, match=r"prefix_levels is 5, but the records have \d code\(s\)"):
        items()


def test_groups_are_shuffled_anew_in_every_epoch(step_two):
    found = items(epochs=3)
    epochs = [found[start:start + 60] for start in (0, 60, 120)]
    assert epochs[0] != epochs[1] != epochs[2]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(epochs[2])
    found = items(shuffle=False, epochs=2)
    assert found[:60] == found[60:]  # SeqIO's shuffle switch still means what it says


@pytest.mark.parametrize("step", [1, 3])
def test_shards_share_the_items(step, request, records):
    request.getfixturevalue("placed" if step == 1 else "step_two")
    shards = [items(shard=seqio.ShardInfo(index, 3)) for index in range(3)]
    assert sorted(sum(shards, [])) == sorted(records)
    assert max(map(len, shards)) - min(map(len, shards)) <= (1 if step == 1 else 16)


def test_too_many_shards(step_two):
    with pytest.raises(UserError, match="has 60 records; shard 0 of 9 gets none: use fewer hosts"):
        examples(shard=seqio.ShardInfo(0, 9))


def test_windows_written_for_other_groups(step_two, tmp_path):
    (tmp_path / "gsid_step").symlink_to(step_two / "step" / "gsid_step")
    (tmp_path / "stats.json").write_text('{"group_size": 2}')
    with location.use(step_dir=tmp_path):
        with pytest.raises(UserError, match="group_size is 4, but .* was written for groups of 2; "
                                            "set it to 2 or less"):
            examples()
        gin.bind_parameter("tasks.grouping.prefix_groups.group_size", 2)
        assert len(examples()) == 60


def test_groups_smaller_than_those_written_keep_the_windows(step_two, tmp_path):
    (tmp_path / "gsid_step").symlink_to(step_two / "step" / "gsid_step")
    (tmp_path / "stats.json").write_text('{"group_size": 8}')
    with location.use(step_dir=tmp_path):
        groups = RecordSource("step").groups("train")
        assert (groups.group_size, groups.window) == (4, 32)
        assert len(examples()) == 60


@pytest.mark.parametrize("name", ["queries_per_item", "known_queries"])
def test_sizes_below_one(name):
    with pytest.raises(UserError, match=f"sampling.{name} is 0; expected at least 1"):
        query_item.sampling(**{name: 0})


def test_negative_alpha():
    with pytest.raises(UserError, match="sampling.alpha is -0.5; expected 0"):
        query_item.sampling(alpha=-0.5)

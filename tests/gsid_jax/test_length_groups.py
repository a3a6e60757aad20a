"""Rows in groups of their own length: the same loss, gradient and IDs with less padding."""

import jax
import numpy as np
import pytest

from gsid_jax.errors import UserError
from gsid_jax.length_groups import LengthGroups, lengths
from gsid_jax.partitioning import Partitioner
from tests.gsid_jax import batches, sharded_step
from tests.gsid_jax.test_sharding import assert_same


def uneven_batch():
    """Items of 1 to 12 tokens, queries of 1 to 9."""
    batch = {name: np.asarray(value) for name, value in batches.gsid_batch(2).items()}
    rng = np.random.default_rng(1)

    def tokens(rows, longest):
        used = rng.integers(1, longest + 1, rows)
        drawn = rng.integers(2, batches.VOCAB, (rows, longest))
        return np.where(np.arange(longest) < used[:, None], drawn, 0).astype(np.int32)

    return batch | {"item_tokens": tokens(16, 12), "query_tokens": tokens(32, 9).reshape(16, 2, 9)}


def test_groups_give_the_step_of_the_whole_batch():
    part = Partitioner(devices=jax.devices()[:1])
    expected = sharded_step.step(part, batch=uneven_batch())
    assert_same(sharded_step.step(part, batch=uneven_batch(), length_groups=2), expected)


def test_every_row_is_in_one_group_with_all_its_tokens():
    batch = uneven_batch()
    arranged = LengthGroups(4, 2).arrange(batch)
    assert [part.shape[0] for part in arranged["item_tokens"]] == [4, 4, 4, 4]
    widths = [part.shape[1] for part in arranged["query_tokens"]]
    assert widths == sorted(widths) and widths[-1] == 9 and widths[0] < 9
    queries = batch["query_tokens"].reshape(32, 9)
    rows = np.concatenate([np.pad(part, ((0, 0), (0, 9 - part.shape[1])))
                           for part in arranged["query_tokens"]])
    np.testing.assert_array_equal(rows, queries[arranged["query_order"]])
    assert sorted(arranged["query_order"]) == list(range(32))


@pytest.mark.parametrize("longest", [1, 8, 12, 32, 64, 100, 128])
def test_lengths_waste_a_third_at_most(longest):
    found = lengths(longest)
    assert found[-1] == longest and list(found) == sorted(set(found))
    assert all(b <= 2 * a for a, b in zip(found, found[1:]))
    assert len(found) <= 10


def test_rows_that_the_groups_do_not_divide():
    with pytest.raises(UserError, match="16 rows cannot be cut into trainer.Trainer.length_groups="
                       "3 groups over 2 data shards; expected a multiple"):
        LengthGroups(3, 2).arrange(uneven_batch())

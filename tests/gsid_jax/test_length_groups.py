"""Rows in groups of their own length: the same loss, gradient and IDs with less padding."""

import jax
import numpy as np
import optax
import pytest

from gsid_jax import models
from gsid_jax.errors import UserError
from gsid_jax.length_groups import LengthGroups, lengths
from gsid_jax.partitioning import Partitioner
from gsid_jax.trainer import Trainer
from tests.gsid_jax import batches, sharded_step


def uneven_batch():
    """Items of 1 to 12 tokens, queries of 1 to 9."""
    batch = {name: np.asarray(value) for name, value in batches.gsid_batch(2).items()}
    rng = np.random.default_rng(1)

    def tokens(rows, longest):
        used = rng.integers(1, longest + 1, rows)
        drawn = rng.integers(2, batches.VOCAB, (rows, longest))
        return np.where(np.arange(longest) < used[:, None], drawn, 0).astype(np.int32)

    return batch | {"item_tokens": tokens(16, 12), "query_tokens": tokens(32, 9).reshape(16, 2, 9)}


def test_groups_give_what_the_whole_batch_gives():
    """Codes and own lengths of every row, through encoder and decoder, back in their order."""
    model, batch = sharded_step.model(), uneven_batch()
    params = model.get_initial_variables(jax.random.key(0))["params"]
    represent = jax.jit(model.represent)
    whole = represent(params, batch)
    groups = represent(params, LengthGroups(2, 1).arrange(batch))
    for name in ("items", "queries"):
        np.testing.assert_allclose(groups[name], whole[name], rtol=1e-4, atol=1e-5)


def test_a_step_in_groups_is_a_step_of_the_batch():
    states = []
    for groups in (1, 2):
        model = models.DualEncoderModel(batches.network(), optax.sgd(1.0))
        trainer = Trainer(model, Partitioner(devices=jax.devices()[:1]),
                          sharded_step.shapes(uneven_batch()), length_groups=groups)
        states.append(trainer.train_step(trainer.new_state(0), uneven_batch())[0].params)
    for a, b in zip(*(jax.tree.leaves(jax.device_get(state)) for state in states), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


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

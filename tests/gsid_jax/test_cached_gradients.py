"""A batch in chunks has the gradient, losses and codebook of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gsid_jax import cached_gradients, models, optimizers
from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner
from gsid_jax.trainer import Trainer
from tests.gsid_jax import batches, sharded_step
from tests.gsid_jax.test_sharding import assert_same, one_device
from tests.gsid_jax.toy_model import ToyData, ToyModel


def test_chunks_give_the_step_of_the_whole_batch():
    # Contrastive, KL, commitment, distillation and codebook EMA of all 16 items and 32 queries.
    found = sharded_step.step(Partitioner(devices=jax.devices()[:1]), num_chunks=4)
    assert_same(found, one_device())
    assert found["metric/commitment"] > 0 and found["metric/alignment"] > 0


def dense_model(dropout_rate):
    return models.DualEncoderModel(batches.network(dropout_rate=dropout_rate), optax.sgd(1.0))


def test_dropout_is_drawn_the_same_in_both_passes():
    """Against plain differentiation through the same chunks."""
    batch, model, rng = batches.gsid_batch(1), dense_model(0.3), jax.random.key(1)
    params = model.get_initial_variables(jax.random.key(0))["params"]

    def chunked_loss(params):
        outputs = []
        for n in range(4):
            part = jax.tree.map(lambda x: x[4 * n:4 * n + 4], batch)
            outputs.append(model.represent(params, part, jax.random.fold_in(rng, n)))
        return model.loss_of(jax.tree.map(lambda *x: jnp.concatenate(x), *outputs), batch)[0]

    loss, expected = jax.jit(jax.value_and_grad(chunked_loss))(params)
    part = Partitioner(devices=jax.devices()[:1])
    with part.context():
        found, metrics, _ = jax.jit(lambda params: cached_gradients.gradients(
            model, 4, part.microbatch_sharding, params, batch, rng, {}))(params)
    np.testing.assert_allclose(metrics["loss"].compute(), loss, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert abs(loss - model.loss_fn(params, batch)[0]) > 1e-3


def test_similarities_in_blocks_are_the_same():
    batch, rng = batches.gsid_batch(1), np.random.default_rng(0)
    q = models.flatten_queries(batch)
    queries, items = (jnp.asarray(rng.normal(size=(n, 8)), jnp.float32) for n in (32, 16))

    def loss(queries, items, block):
        loss_N, first_N = models.batch_contrastive(queries, items, q, batch, 0.05, block)
        return jnp.mean(loss_N), first_N

    (whole, first), gradient = jax.value_and_grad(loss, (0, 1), has_aux=True)(queries, items, None)
    for block in (8, 7):  # 7 does not divide 32: the next blocks that do are of 4
        (value, own_first), own = jax.value_and_grad(loss, (0, 1), has_aux=True)(
            queries, items, block)
        np.testing.assert_allclose(value, whole, rtol=1e-6)
        np.testing.assert_array_equal(own_first, first)
        for a, b in zip(own, gradient):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("options,message", [
    ({"num_chunks": 2}, "num_chunks is set for ToyModel, which has no outputs .* expected "
                        "GSIDModel or DualEncoderModel: use trainer.Trainer.num_microbatches"),
    ({"length_groups": 2}, "length_groups is set for ToyModel; expected GSIDModel"),
])
def test_models_without_outputs_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        Trainer(ToyModel(), Partitioner(), ToyData().open(None).element_spec, **options)


def test_one_way_to_split_a_batch():
    model = batches.gsid_model()
    model.optimizer_def = optimizers.adamw()
    with pytest.raises(UserError, match="num_microbatches is 2 and trainer.Trainer.num_chunks is 4"
                       "; expected at most one of them above 1"):
        Trainer(model, Partitioner(), {}, num_microbatches=2, num_chunks=4)

"""One step: microbatches, devices, FSDP, non-finite stop."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gsid_jax import optimizers, trainer
from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner
from tests.gsid_jax.toy_model import OUT, WIDTH, ToyData, ToyModel


@functools.cache
def run(steps=3, devices=8, fsdp=False, num_partitions=1, num_microbatches=1, **model):
    """State on the host and last metrics after some steps of the toy model."""
    part = Partitioner(num_partitions, fsdp, devices=jax.devices()[:devices])
    batches = ToyData().open(None)
    trains = trainer.Trainer(ToyModel(**model), part, batches.element_spec, num_microbatches)
    state = trains.new_state(0)
    for _ in range(steps):
        state, metrics = trains.train_step(state, next(batches))
    return jax.device_get(state), {k: float(m.compute()) for k, m in metrics.items()}, state


def assert_close(a, b, rtol=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("count", [2, 4])
def test_microbatches_give_the_whole_batch(count):
    # The weights differ between rows, so the parts weigh differently in the mean.
    whole, metrics, _ = run(devices=4)
    parts, part_metrics, _ = run(devices=4, num_microbatches=count)
    assert_close(whole.params, parts.params)
    assert metrics["loss"] == pytest.approx(part_metrics["loss"], rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx(part_metrics["grad_norm"], rel=1e-5)


def test_microbatches_carry_mutables_on():
    state, metrics, _ = run(steps=3, devices=1, mutables=True, num_microbatches=2)
    assert state.flax_mutables["codebook"]["level_1"]["steps"] == 6
    assert np.any(state.flax_mutables["codebook"]["level_1"]["mean"] != 0)
    assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize("mesh,mutables", [
    ({}, True), ({"fsdp": True}, True), ({"num_partitions": 2}, True),
    ({"num_partitions": 4, "fsdp": True}, False)])
def test_eight_devices_equal_one(mesh, mutables):
    options = dict(mutables=mutables, dropout_rate=0.3)
    one, one_metrics, _ = run(devices=1, **options)
    many, many_metrics, placed = run(devices=8, **mesh, **options)
    assert_close(one, many)
    assert one_metrics["loss"] == pytest.approx(many_metrics["loss"], rel=1e-5)
    kernel = placed.params["kernel"].sharding.shard_shape((WIDTH, OUT))
    model = mesh.get("num_partitions", 1)
    assert kernel == (WIDTH // (8 // model) if mesh.get("fsdp") else WIDTH, OUT // model)
    moments = [leaf for leaf in jax.tree.leaves(placed.opt_state) if leaf.shape == (WIDTH, OUT)]
    assert moments and all(leaf.sharding.shard_shape(leaf.shape) == kernel for leaf in moments)


def test_dropout_depends_on_seed_and_step_only():
    once, _, _ = run(steps=2, devices=1, dropout_rate=0.5)
    again, _, _ = run.__wrapped__(steps=2, devices=1, dropout_rate=0.5)
    without, _, _ = run(steps=2, devices=1)
    np.testing.assert_array_equal(once.params["kernel"], again.params["kernel"])
    assert np.any(once.params["kernel"] != without.params["kernel"])


def test_eval_changes_nothing_and_uses_no_dropout():
    batches = ToyData().open(None)
    trains = trainer.Trainer(ToyModel(mutables=True, dropout_rate=0.5), Partitioner(),
                             batches.element_spec)
    state = trains.new_state(0)
    batch = next(batches)
    first = trains.eval_step(state, batch)["loss"].compute()
    assert first == trains.eval_step(state, batch)["loss"].compute()
    params = jax.device_get(state.params)
    y = batch["x"] @ params["kernel"] + params["scale"]
    error = ((y - batch["y"]) ** 2).mean(-1)
    assert float(first) == pytest.approx(np.average(error, weights=batch["weights"]), rel=1e-5)


def test_state_of_a_step_is_reused():
    batches = ToyData().open(None)
    trains = trainer.Trainer(ToyModel(), Partitioner(), batches.element_spec)
    state = trains.new_state(0)
    trains.train_step(state, next(batches))
    assert state.params["kernel"].is_deleted()


def test_reports_the_learning_rate():
    rate = optimizers.schedule(0.1, "linear", 0, 10)
    _, metrics, _ = run(steps=3, optimizer_def=optimizers.adamw(rate))
    assert metrics["learning_rate"] == pytest.approx(0.08)


def test_describes_parameters_and_memory():
    batches = ToyData().open(None)
    trains = trainer.Trainer(ToyModel(), Partitioner(), batches.element_spec)
    count, memory = trains.describe()
    assert count == f"parameters: {WIDTH * OUT + OUT:,}"
    assert "MiB a device (parameters 0.0, gradients 0.0, optimizer 0.0, codebooks 0.0)" in memory


def test_a_model_without_optimizer_is_refused():
    model = ToyModel()
    model.optimizer_def = None
    with pytest.raises(UserError, match="bind OPTIMIZER"):
        trainer.Trainer(model, Partitioner(), ToyData().open(None).element_spec)


@pytest.mark.parametrize("name,value", [("loss", float("nan")), ("grad_norm", float("inf"))])
def test_non_finite_numbers_stop_with_a_reason(name, value):
    metrics = {"loss": (1.0, 1.0), "grad_norm": (1.0, 1.0), "learning_rate": (0.5, 1.0)}
    trainer.check_finite(3, metrics, None)
    metrics[name] = (value, 1.0)
    with pytest.raises(trainer.NonFiniteError, match=rf"{name} is {value} at step 7 \(learning "
                       r"rate 0.5\); expected a finite number. The checkpoint of step 4 is kept. "
                       "Lower LEARNING_RATE"):
        trainer.check_finite(7, metrics, 4)


def test_an_empty_microbatch_weighs_nothing():
    part = Partitioner(devices=jax.devices()[:1])
    batches = ToyData(batch_size=4).open(None)
    batch = next(batches)
    batch["weights"][2:] = 0
    states = []
    for count in (1, 2):
        trains = trainer.Trainer(ToyModel(), part, batches.element_spec, count)
        states.append(jax.device_get(trains.train_step(trains.new_state(0), batch)[0].params))
    assert_close(*states)
    assert jnp.all(jnp.isfinite(states[0]["kernel"]))

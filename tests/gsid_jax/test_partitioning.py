"""Mesh, rules, batch arithmetic."""

from flax.linen import partitioning as nn_partitioning
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from gsid_jax import partitioning
from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner


def specs(part, shapes, axes):
    axes = {f"{name}_axes": nn_partitioning.AxisMetadata(names) for name, names in axes.items()}
    placed = part.shardings({name: jnp.zeros(shape) for name, shape in shapes.items()}, axes)
    return {name: sharding.spec for name, sharding in placed.items()}


def test_rules_place_parameters():
    shapes = {"wi": (16, 32), "norm": (16,), "codes": (8, 16)}
    axes = {"wi": ("embed", "mlp"), "norm": ("embed",),
            "codes": ("codebook_code", "codebook_embed")}
    assert specs(Partitioner(2), shapes, axes) == {
        "wi": P(None, "model"), "norm": P(None), "codes": P(None, None)}
    assert specs(Partitioner(2, fsdp=True), shapes, axes) == {
        "wi": P("data", "model"), "norm": P("data"), "codes": P(None, None)}


def test_what_a_mesh_axis_does_not_divide_is_replicated():
    shapes = {"wi": (10, 32), "bare": (16, 16)}
    assert specs(Partitioner(fsdp=True), shapes, {"wi": ("embed", "mlp")}) == {
        "wi": P(None, "model"), "bare": P()}


def test_activations_keep_the_batch_on_the_data_axis():
    with Partitioner(2, fsdp=True).context():
        placed = jax.jit(lambda x: nn_partitioning.with_sharding_constraint(
            x, ("batch", "length", "embed")))(jnp.zeros((8, 3, 16)))
    assert placed.sharding.spec in (P("data"), P("data", None, None))


def test_additional_rules_come_last():
    rules = partitioning.standard_logical_axis_rules(additional_rules=[("expert", "model")])
    assert rules[-1] == ("expert", "model") and ("embed", None) in rules
    assert specs(Partitioner(4, logical_axis_rules=rules), {"w": (8, 4)},
                 {"w": ("expert", "embed")}) == {"w": P("model", None)}


def test_unknown_mesh_axis_in_a_rule():
    with pytest.raises(UserError, match=r"rule \('mlp', 'modle'\) names no axis of the mesh; "
                       r"expected one of \('data', 'model'\) or None: change "
                       r"partitioning.Partitioner.logical_axis_rules"):
        Partitioner(logical_axis_rules=[("mlp", "modle")])


def test_num_partitions_must_divide_the_devices():
    with pytest.raises(UserError, match=r"num_partitions is 3, but this host has 8 devices; "
                       r"expected a divisor of them: set it to one of \[1, 2, 4, 8\]"):
        Partitioner(3)


def test_data_layout():
    layout = Partitioner(2).data_layout(32, num_microbatches=4)
    assert (layout.batch_size, layout.host_batch_size, layout.device_batch_size) == (32, 32, 8)
    assert (layout.shard_index, layout.num_shards, layout.num_microbatches) == (0, 1, 4)


@pytest.mark.parametrize("batch,micro,message", [
    (12, 1, r"BATCH_SIZE is 12, .* 8 devices / partitioning.Partitioner.num_partitions=1 give 8 "
            r"data shards, times trainer.Trainer.num_microbatches=1 parts; expected a multiple of "
            r"8: set BATCH_SIZE to 8 or 16, or change the other two"),
    (24, 2, r"expected a multiple of 16: set BATCH_SIZE to 16 or 32"),
    (4, None, r"set BATCH_SIZE to 8, or"),
])
def test_a_batch_that_the_mesh_does_not_divide(batch, micro, message):
    with pytest.raises(UserError, match=message):
        Partitioner().data_layout(batch, micro)


def test_the_binding_is_named():
    with pytest.raises(UserError, match="^train_eval/DatasetConfig.batch_size is 3, "):
        Partitioner().data_layout(3, binding="train_eval/DatasetConfig.batch_size")


def test_batches_are_split_over_the_data_axis():
    part = Partitioner(2)
    batch = part.shard_batch({"x": np.arange(16).reshape(8, 2)})
    assert batch["x"].sharding.shard_shape((8, 2)) == (2, 2)
    np.testing.assert_array_equal(batch["x"], np.arange(16).reshape(8, 2))


def test_bytes_per_device():
    part = Partitioner(fsdp=True)
    shapes = {"a": jax.ShapeDtypeStruct((16, 4), jnp.float32),
              "b": jax.ShapeDtypeStruct((3,), jnp.bfloat16)}
    axes = {"a_axes": nn_partitioning.AxisMetadata(("embed", "kv"))}
    assert partitioning.bytes_per_device(shapes, part.shardings(shapes, axes)) == 2 * 4 * 4 + 6


def test_describe():
    assert Partitioner(2, fsdp=True).describe() == (
        "8 x cpu on 1 host, mesh data 4 x model 2, FSDP")


def test_start_distributed_says_what_it_was_given(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("no such host")

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with pytest.raises(UserError, match="--coordinator_address=nowhere:1 --num_processes=2 "
                       "--process_id=0: no such host. .* drop --multihost"):
        partitioning.start_distributed("nowhere:1", 2, 0)

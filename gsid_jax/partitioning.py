"""Where arrays live: device mesh, logical axis rules -> NamedSharding, multi-host start-up.

The mesh has two axes. `data` splits the batch (and, with FSDP, the parameters); `model` splits
single layers. Parameters and codebooks carry logical axis names (`params_axes`, `codebook_axes`
of flax.linen.partitioning); rules map those names to mesh axes.
"""

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from flax.linen import partitioning as nn_partitioning
import jax
from jax.experimental import mesh_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from gsid_jax.errors import UserError

PyTree = Any
LogicalAxisRules = Sequence[tuple[str, str | None]]


def standard_logical_axis_rules(
    fsdp: bool = False, additional_rules: LogicalAxisRules = ()
) -> LogicalAxisRules:
    """Rules in order of precedence; a logical name without a rule is replicated.

    `batch` comes first, so that with FSDP activations keep their batch on the data axis while
    parameters, which have no batch, give it their `embed` dimension.
    """
    rules = [
        ("batch", "data"),
        ("vocab", "model"),
        ("mlp", "model"),
        ("heads", "model"),
        ("joined_kv", "model"),
        ("kv", None),
        ("embed", "data" if fsdp else None),
        ("relpos_buckets", None),
        ("length", None),
        ("layers", None),
        ("code", None),
    ]
    return tuple(rules) + tuple(tuple(rule) for rule in additional_rules)


@dataclasses.dataclass(frozen=True)
class DataLayout:
    """How one global batch is shared out; all sizes in examples."""

    batch_size: int
    host_batch_size: int
    device_batch_size: int
    num_microbatches: int
    shard_index: int  # this host's part of the data
    num_shards: int


class Partitioner:
    """Places states and batches on a data x model mesh.

    Args:
      num_partitions: devices that split one layer, the size of the `model` axis.
      fsdp: also splits parameters, optimizer state and gradients over the `data` axis.
      logical_axis_rules: (logical name, mesh axis or None) pairs; None for the standard rules.
      devices: the devices to use; None for all.

    Raises:
      UserError: `num_partitions` does not divide the devices of each host.
    """

    def __init__(self, num_partitions: int = 1, fsdp: bool = False,
                 logical_axis_rules: LogicalAxisRules | None = None,
                 devices: Sequence[jax.Device] | None = None):
        devices = list(jax.devices() if devices is None else devices)
        per_host = sum(device.process_index == jax.process_index() for device in devices)
        if num_partitions < 1 or per_host % num_partitions:
            divisors = [n for n in range(1, per_host + 1) if per_host % n == 0]
            raise UserError(
                f"partitioning.Partitioner.num_partitions is {num_partitions}, but this host has "
                f"{per_host} devices; expected a divisor of them: set it to one of {divisors}")
        shape = (len(devices) // num_partitions, num_partitions)
        self.mesh = Mesh(mesh_utils.create_device_mesh(shape, devices=devices), ("data", "model"))
        self.fsdp = fsdp
        if logical_axis_rules is None:
            logical_axis_rules = standard_logical_axis_rules(fsdp)
        self.rules = tuple((name, axis) for name, axis in logical_axis_rules)
        for name, axis in self.rules:
            if axis is not None and axis not in self.mesh.axis_names:
                raise UserError(
                    f"the logical axis rule ({name!r}, {axis!r}) names no axis of the mesh; "
                    f"expected one of {self.mesh.axis_names} or None: change "
                    "partitioning.Partitioner.logical_axis_rules")

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch_sharding(self) -> NamedSharding:
        """Dimension 0 over the data axis."""
        return NamedSharding(self.mesh, PartitionSpec("data"))

    @property
    def microbatch_sharding(self) -> NamedSharding:
        """Dimension 1 over the data axis, dimension 0 being the microbatch."""
        return NamedSharding(self.mesh, PartitionSpec(None, "data"))

    @contextlib.contextmanager
    def context(self):
        """Under it, flax's `with_sharding_constraint` knows the mesh and the rules."""
        with jax.set_mesh(self.mesh), nn_partitioning.axis_rules(self.rules):
            yield

    def data_layout(self, batch_size: int, num_microbatches: int | None = 1,
                    binding: str = "BATCH_SIZE", parts: str = "num_microbatches") -> DataLayout:
        """Shares a global batch out over hosts, devices and microbatches (or other `parts`).

        Raises UserError, naming `binding`, if the mesh or the microbatches do not divide it.
        """
        micro = num_microbatches or 1
        data, model = self.mesh.shape["data"], self.mesh.shape["model"]
        if micro < 1:
            raise UserError(f"trainer.Trainer.{parts} is {micro}; expected at least 1")
        unit = data * micro
        if batch_size < 1 or batch_size % unit:
            below = batch_size // unit * unit
            choices = " or ".join(str(n) for n in (below, below + unit) if n > 0)
            raise UserError(
                f"{binding} is {batch_size}, which cannot be split over the mesh: "
                f"{data * model} devices / partitioning.Partitioner.num_partitions={model} give "
                f"{data} data shards, times trainer.Trainer.{parts}={micro} parts; "
                f"expected a multiple of {unit}: set {binding} to {choices}, or change the other "
                "two")
        hosts = len({device.process_index for device in self.mesh.devices.flat})
        return DataLayout(batch_size, batch_size // hosts, batch_size // data, micro,
                          jax.process_index() if hosts > 1 else 0, hosts)

    def shard_batch(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """This host's part of a batch, numpy [B / hosts, ...] -> global arrays [B, ...]."""
        sharding = self.batch_sharding
        return jax.tree.map(lambda value: jax.make_array_from_process_local_data(
            sharding, np.asarray(value)), dict(batch))

    def shardings(self, variables: PyTree, axes: PyTree | None) -> PyTree:
        """NamedSharding of every leaf of `variables` (arrays or their shapes).

        `axes` is the matching `*_axes` collection. A leaf without names is replicated, and so is
        a dimension that its mesh axis does not divide.
        """
        names = _axis_names(axes)
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: NamedSharding(
                self.mesh, self._spec(names.get(leaf_name(path)), leaf.shape)), variables)

    def _spec(self, names: tuple | None, shape: tuple[int, ...]) -> PartitionSpec:
        if not names:
            return PartitionSpec()
        axes = nn_partitioning.logical_to_mesh_axes(names, self.rules)
        return PartitionSpec(*(
            axis if axis is not None and size % self.mesh.shape[axis] == 0 else None
            for axis, size in zip(axes, shape, strict=True)))

    def opt_state_shardings(self, opt_state: PyTree, params: PyTree,
                            params_shardings: PyTree) -> PyTree:
        """Shardings of an optax state: a leaf as large as its parameter lies where that lies.

        Other leaves (counts, Adafactor's row and column statistics) are small and replicated.
        """
        shapes = {leaf_name(path): leaf.shape
                  for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
        places = {leaf_name(path): sharding
                  for path, sharding in jax.tree_util.tree_leaves_with_path(params_shardings)}

        def place(path, leaf):
            for start in range(len(path)):  # the parameter's path is the end of the leaf's path
                name = leaf_name(path[start:])
                if name in shapes and shapes[name] == leaf.shape:
                    return places[name]
            return self.replicated

        return jax.tree_util.tree_map_with_path(place, opt_state)

    def describe(self) -> str:
        """One line on devices and mesh."""
        devices = self.mesh.devices.size
        hosts = len({device.process_index for device in self.mesh.devices.flat})
        kind = self.mesh.devices.flat[0].device_kind
        return (f"{devices} x {kind} on {hosts} host{'s' if hosts > 1 else ''}, mesh "
                f"data {self.mesh.shape['data']} x model {self.mesh.shape['model']}"
                f"{', FSDP' if self.fsdp else ''}")


def leaf_name(path: tuple) -> str:
    """'encoder/layers_0/mlp/wi_0/kernel' from a key path of jax.tree_util."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _axis_names(axes: PyTree | None) -> dict[str, tuple]:
    if axes is None:
        return {}
    specs = nn_partitioning.get_axis_names(axes)
    is_spec = lambda node: isinstance(node, PartitionSpec)  # noqa: E731
    return {leaf_name(path): tuple(spec) for path, spec in
            jax.tree_util.tree_leaves_with_path(specs, is_leaf=is_spec)}


def bytes_per_device(shapes: PyTree, shardings: PyTree) -> int:
    """Bytes that one device holds of arrays of these shapes and shardings."""
    sizes = jax.tree.map(
        lambda leaf, sharding: int(np.prod(sharding.shard_shape(leaf.shape), dtype=np.int64)
                                   * np.dtype(leaf.dtype).itemsize), shapes, shardings)
    return sum(jax.tree.leaves(sizes))


def start_distributed(coordinator_address: str | None = None, num_processes: int | None = None,
                      process_id: int | None = None) -> None:
    """Joins this process to a multi-host run; call it before anything else of JAX.

    On a TPU pod or under a scheduler that JAX knows (Slurm, MPI, Kubernetes) all three can be
    left out; --coordinator_address and the other two go together. On CPU the hosts talk through
    Gloo. Raises UserError if only some are given, or the hosts do not find each other.
    """
    given = {"--coordinator_address": coordinator_address, "--num_processes": num_processes,
             "--process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < len(given):
        raise UserError(
            f"multi-host start-up is half configured: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing beside "
            f"{', '.join(f'{n}={v}' for n, v in given.items() if v is not None)}; expected all "
            "three, or none on a TPU pod, under Slurm, MPI or Kubernetes: add the missing, or "
            "drop --multihost")
    half = half_configured(os.environ)
    if len(missing) == len(given) and half:
        raise UserError(half)
    if num_processes is not None and not 0 <= process_id < num_processes:
        raise UserError(f"--process_id={process_id} of --num_processes={num_processes}; expected "
                        f"0..{num_processes - 1}: number the hosts from 0")
    if "cpu" in (jax.config.jax_platforms or ""):
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(coordinator_address, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"multi-host start-up failed with --coordinator_address={coordinator_address} "
            f"--num_processes={num_processes} --process_id={process_id}: {error}. Expected the "
            "same host:port and number on every host, and ids 0..num_processes-1; or drop "
            "--multihost to use this host alone") from error


# What each scheduler sets on every host, as JAX reads it.
SCHEDULERS = {
    "Slurm": ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID",
              "SLURM_LOCALID"),
    "Cloud TPU": ("TPU_WORKER_ID", "TPU_WORKER_HOSTNAMES"),
}


def half_configured(environment: Mapping[str, str]) -> str | None:
    """What is wrong if a scheduler's variables are only partly there, else None."""
    for scheduler, names in SCHEDULERS.items():
        if scheduler == "Cloud TPU" and environment.get("TPU_PROCESS_ADDRESSES"):
            continue  # takes the place of the host names
        missing = [name for name in names if not environment.get(name)]
        if missing and len(missing) < len(names):
            have = next(name for name in names if environment.get(name))
            fix = ("start the program with srun, one task a host" if scheduler == "Slurm"
                   else "start it on every worker of the slice, with the environment that the TPU "
                        "VM gives")
            return (f"multi-host start-up under {scheduler}: {have} is set but "
                    f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not; expected "
                    f"all of {', '.join(names)}: {fix}, or give --coordinator_address, "
                    "--num_processes and --process_id")
    return None

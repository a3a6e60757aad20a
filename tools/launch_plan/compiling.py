"""The train step of a gin configuration, compiled ahead of time for chips that are not there.

libtpu compiles for any TPU slice on a machine without one. Nothing is run and no data is read:
the shapes of the batch come from the configuration.
"""

import dataclasses
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin
import jax
import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.partitioning import Partitioner, bytes_per_device
from gsid_jax.quiet import silenced_stderr
from gsid_jax.trainer import Trainer
from tools.launch_plan import costs
from tools.launch_plan.chips import GIB, Topology

BINDINGS = ("launch_plan.configuration.model = %MODEL",
            "launch_plan.configuration.batch_size = %BATCH_SIZE",
            "launch_plan.configuration.task_feature_lengths = %TASK_FEATURE_LENGTHS",
            "launch_plan.configuration.num_partitions = %NUM_PARTITIONS",
            "launch_plan.configuration.fsdp = %FSDP",
            "launch_plan.configuration.trainer_cls = @trainer.Trainer")
DEFAULTS = {"TRAIN_STEPS": "1000000"}  # required, and without effect on the program
# Gathers and scatters stay on the main core: a program that hands them to the SparseCore cannot be
# printed (libtpu 0.0.52: "async-update instruction should have 1 operands"), so not be counted.
ON_THE_MAIN_CORE = {"xla_tpu_offload_gather_to_sparsecore": False,
                    "xla_tpu_enable_offloading_scatter_to_sparsecore": "DISABLED"}


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What of a gin configuration decides the program of a step."""

    model: Any
    batch_size: int
    task_feature_lengths: Mapping[str, int]
    num_partitions: int
    fsdp: bool
    trainer_cls: Callable[..., Trainer]


configuration = gin.external_configurable(Configuration, name="configuration",
                                          module="launch_plan")


@dataclasses.dataclass(frozen=True)
class Mesh:
    """A way to split the work: data x model, parameters split over `data` too or not."""

    data: int
    model: int
    fsdp: bool

    def __str__(self) -> str:
        return f"{self.data}x{self.model}{' FSDP' if self.fsdp else ''}"


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled step. Bytes and counts are those of one chip."""

    mesh: Mesh
    fits: bool
    reason: str  # why not
    memory: Mapping[str, int]  # bytes by kind; 'total' last
    flops: float
    bytes: float
    collectives: Sequence[costs.Collective]
    xla: Mapping[str, float]  # what XLA's analysis says, loops counted once
    seconds: float  # that compiling took


def set_environment() -> None:
    """Lets libtpu load beside others and without asking the cloud who it is; before JAX loads."""
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
    os.environ["JAX_PLATFORMS"] = "cpu"
    # Compiled programs for chips that are not there are not kept: they cannot be read back.
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"


def devices(topology: Topology) -> list[Any]:
    """Stand-ins for the topology's chips; UserError if libtpu is missing or knows no such slice."""
    from jax.experimental import topologies
    try:
        import libtpu  # noqa: F401
    except ImportError:
        raise UserError("the plan needs libtpu to compile for TPUs, which is not installed; "
                        "pip install 'gsid_jax[tpu]' (no TPU is needed)") from None
    name = topology.compiled_name
    options = {"chip_config_name": "megacore"} if topology.compiled_chip.megacore else {}
    try:
        with silenced_stderr():  # libtpu says that this is no TPU
            found = topologies.get_topology_desc(platform="tpu", topology_name=name,
                                                 **options).devices
    except Exception as error:  # libtpu's own errors have no common class
        raise UserError(f"libtpu knows no topology {name}: {str(error).splitlines()[0]}; expected "
                        "a slice that exists, such as v5e:4x4, v5e:16x16 or v4:2x2x4") from error
    return list(found)


def read_configuration(gin_files: Sequence[str], bindings: Sequence[str],
                       search_paths: Sequence[str] = ()) -> Configuration:
    """The configuration of gin files and bindings; UserError as `launch.parse_gin`."""
    from gsid_jax import launch
    given = {binding.partition("=")[0].strip() for binding in bindings}
    defaults = [f"{name} = {value}" for name, value in DEFAULTS.items() if name not in given]
    launch.parse_gin(gin_files, [*defaults, *bindings, *BINDINGS], search_paths)
    return configuration()


def batch_shapes(config: Configuration) -> dict[str, jax.ShapeDtypeStruct]:
    """The features of a global batch, as the model's feature converter makes them."""
    size, lengths = config.batch_size, config.task_feature_lengths

    def numbers(*shape, dtype=np.int32):
        return jax.ShapeDtypeStruct((size, *shape), dtype)

    if "targets" in lengths:
        targets = numbers(lengths["targets"])
        return {"encoder_input_tokens": numbers(lengths["inputs"]),
                "decoder_input_tokens": targets, "decoder_target_tokens": targets,
                "decoder_loss_weights": targets}
    from tasks import query_item
    sampling, model = query_item.sampling(), config.model
    levels, codes = model.level - 1, model.module.config.codebook_size
    shapes = {"item_tokens": numbers(lengths["inputs"]), "item_ids": numbers(),
              "query_tokens": numbers(sampling.Q, lengths["queries"]),
              "query_ids": numbers(sampling.Q),
              "query_weights": numbers(sampling.Q, dtype=np.float32),
              "item_query_ids": numbers(sampling.P)}
    if levels:
        shapes |= {"item_codes": numbers(levels), "query_codes": numbers(sampling.Q, levels),
                   "item_soft": numbers(levels, codes, dtype=np.float32),
                   "query_soft": numbers(sampling.Q, levels, codes, dtype=np.float32)}
    return shapes


def meshes(config: Configuration, topology: Topology, every: bool) -> list[Mesh]:
    """Meshes to try: that of the configuration, or every one that divides hosts and batch."""
    chips = topology.chips
    found = []
    for model in range(1, topology.chip.host_chips + 1):
        if topology.chip.host_chips % model == 0 and chips % model == 0 and (
                config.batch_size % (chips // model) == 0):
            found += [Mesh(chips // model, model, fsdp) for fsdp in (False, True)]
    if not every:
        found = [m for m in found if (m.model, m.fsdp) == (config.num_partitions, config.fsdp)]
    if not found:
        raise UserError(
            f"no mesh of {chips} chips divides BATCH_SIZE={config.batch_size}"
            f"{'' if every else f' with NUM_PARTITIONS={config.num_partitions}'}; expected a "
            f"multiple of the data shards: set BATCH_SIZE to a multiple of {chips}")
    return found


def compile_step(config: Configuration, topology: Topology, mesh: Mesh,
                 chips: Sequence[Any]) -> Program:
    """Compiles the train step for one mesh."""
    shapes = batch_shapes(config)
    trainer = config.trainer_cls(model=config.model, input_spec=shapes,
                                 partitioner=Partitioner(mesh.model, mesh.fsdp, devices=chips))
    begun = time.monotonic()
    state, placed = trainer.state_shapes, trainer.state_shardings
    parts = {name: bytes_per_device(getattr(state, field), getattr(placed, field))
             for name, field in (("parameters", "params"), ("optimizer", "opt_state"),
                                 ("codebooks", "flax_mutables"))}
    try:
        with silenced_stderr():
            compiled = trainer.lower_train_step(shapes).compile(
                ON_THE_MAIN_CORE if topology.compiled_chip.sparse_core else None)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _too_large(mesh, parts, str(error), time.monotonic() - begun)
    cost = costs.cost(compiled.as_text(), topology.chips)
    memory = compiled.memory_analysis()
    parts |= {
        "batch": memory.argument_size_in_bytes - sum(parts.values()),
        "gradients and activations": memory.temp_size_in_bytes,
        "results": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "program": memory.generated_code_size_in_bytes}
    parts["total"] = sum(parts.values())
    fits = parts["total"] <= topology.chip.memory
    reason = "" if fits else (f"needs {parts['total'] / GIB:.1f} GiB of "
                              f"{topology.chip.memory / GIB:.1f} GiB")
    analysis = compiled.cost_analysis()
    return Program(mesh, fits, reason, parts, cost.flops, cost.bytes, cost.listed(),
                   {"flops": analysis["flops"], "bytes": analysis["bytes accessed"]},
                   time.monotonic() - begun)


def _too_large(mesh: Mesh, parts: dict[str, int], message: str, seconds: float) -> Program:
    used = re.search(r"Used ([\d.]+[GM]) of ([\d.]+[GM]) hbm", message)
    reason = f"needs {used[1]} of {used[2]}" if used else message.splitlines()[0][:200]
    return Program(mesh, False, reason, parts, 0.0, 0.0, (), {}, seconds)

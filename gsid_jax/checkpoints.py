"""Checkpoints with Orbax: save, resume, and initialise a step from the one before it.

MODEL_DIR/checkpoints/<step>/ is written under a temporary name and renamed, so a checkpoint that
is visible is whole; one that was damaged later is recognised and the one before it is used.
"""

import contextlib
import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils
import numpy as np
import orbax.checkpoint as ocp

from gsid_jax import storage
from gsid_jax.checkpoint_files import (FOLDER, DamagedError, by_name, checksums, differences,
                                       find, first_line, listed, load_variables, read_item,
                                       read_loop, saved_shapes, warn, without_empty)
from gsid_jax.errors import UserError
from gsid_jax.trainer import TrainState

__all__ = ["CheckpointConfig", "Checkpoints", "RestoreCheckpointConfig", "SaveCheckpointConfig",
           "find", "initialise", "load_variables"]

PyTree = Any


@dataclasses.dataclass(frozen=True)
class SaveCheckpointConfig:
    """When to save and what to keep."""

    period: int = 1000  # steps; the last step is always saved
    keep: int | None = 2  # latest checkpoints kept; None for all

    def __post_init__(self):
        if self.period < 1 or (self.keep is not None and self.keep < 1):
            raise UserError(f"checkpoints.SaveCheckpointConfig: period is {self.period} and keep "
                            f"is {self.keep}; expected both at least 1 (keep=None for all)")


@dataclasses.dataclass(frozen=True)
class RestoreCheckpointConfig:
    """Where a run without a checkpoint of its own starts from."""

    path: str | None = None  # MODEL_DIR or one checkpoint of another run; None for from scratch
    fresh: Sequence[str] = ()  # regular expressions: leaves that may start fresh if missing there


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Saving and starting."""

    save: SaveCheckpointConfig | None = SaveCheckpointConfig()  # None: nothing is saved
    restore: RestoreCheckpointConfig | None = None


class _DataHandler(ocp.CheckpointHandler):
    """Lets the reader of the data write the files of the `data` item."""

    def save(self, directory, args):
        args.write(str(directory))

    def restore(self, directory, args=None):
        raise ValueError("the data position is restored by its reader, not by Orbax")


@ocp.args.register_with_handler(_DataHandler, for_save=True, for_restore=True)
@dataclasses.dataclass
class _DataSave(ocp.args.CheckpointArgs):
    write: Callable[[str], None]


class MismatchError(UserError):
    """A whole checkpoint that belongs to another model or configuration."""


class Checkpoints:
    """The checkpoints of one MODEL_DIR."""

    def __init__(self, model_dir: str, keep: int | None = 2):
        self.directory = os.path.abspath(os.path.join(model_dir, FOLDER))
        self._failed = False
        with self._writing():
            os.makedirs(self.directory, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                self.directory, options=ocp.CheckpointManagerOptions(
                    max_to_keep=keep, cleanup_tmp_directories=True))

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(self, state: TrainState, loop: dict[str, Any],
             save_data: Callable[[str], None] | None = None) -> None:
        """Saves `state` in the background; the state may be reused as soon as this returns.

        Args:
          state: the state after its step.
          loop: what else must survive, JSON values.
          save_data: writes the data position into the directory it is given; called at once.
        """
        step = int(state.step)
        items, empty, sums = {}, {}, {}
        for name, tree in _items(state).items():
            tree, empty[name] = without_empty(tree)
            if tree:
                items[name] = ocp.args.PyTreeSave(tree)
                sums[name] = checksums(tree)
        rng = np.asarray(jax.device_get(state.rng)).tolist()
        items["loop"] = ocp.args.JsonSave(
            {**loop, "step": step, "rng": rng, "empty": empty, "checksums": sums})
        if save_data is not None:
            items["data"] = _DataSave(save_data)
        with self._writing():
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)

    @contextlib.contextmanager
    def _writing(self):
        """Says of a full or read-only disk what can be done; other errors pass."""
        try:
            yield
        except Exception as error:  # Orbax reports the system's errors in several of its own
            self._failed = True
            problem = storage.problem(error)
            if problem is None:
                raise
            whole = sorted(int(name) for name in (
                os.listdir(self.directory) if os.path.isdir(self.directory) else ())
                if name.isdecimal())
            kept = (f"the checkpoint of step {whole[-1]} is kept" if whole
                    else "there is no checkpoint yet")
            raise UserError(
                f"a checkpoint cannot be written to {self.directory}: {problem}; {kept}. Expected "
                "a directory with room for one checkpoint more than CHECKPOINTS_KEPT: free space "
                "or correct MODEL_DIR (RUN_DIR); the same command goes on from there") from error

    def reached_preemption(self, step: int) -> bool:
        """Whether a multi-host run was told to stop, agreed between the hosts."""
        return self._manager.reached_preemption(step)

    def restore(self, shapes: TrainState, shardings: TrainState,
                restore_data: Callable[[str], None] | None = None,
                settings: Mapping[str, Any] | None = None,
                ) -> tuple[TrainState, dict[str, Any]] | None:
        """The latest whole checkpoint as (state, loop), or None if there is none at all.

        Args:
          shapes, shardings: of the state to fill.
          restore_data: reads the data position from the directory it is given.
          settings: values that a run must keep; compared with `loop['settings']`.

        Damaged checkpoints are passed over with a warning and moved aside once an older one has
        been read. Raises UserError if the checkpoint is of another model or other settings, or
        if all are damaged.
        """
        failures = []
        for step in sorted(self._manager.all_steps(), reverse=True):
            path = os.path.join(self.directory, str(step))
            try:
                loop = read_loop(path)
                _check_fit(path, loop, shapes, settings)
                state = _read_state(path, loop, shapes, shardings)
                if restore_data is not None:
                    restore_data(_data_folder(path))
                failure = None
            except MismatchError:
                raise
            except Exception as error:  # whatever a damaged file makes Orbax or the reader raise
                failure = error
            if _any_host(failure is not None):
                failures.append((path, failure or DamagedError("it is damaged on another host")))
                continue
            self._set_aside(failures, step)
            return state, loop
        if failures:
            path, error = failures[0]
            raise UserError(
                f"none of the {len(failures)} checkpoints in {self.directory} can be read; the "
                f"latest, {path}: {first_line(error)}. Expected a whole one: restore the files, "
                "or delete the directory to start again")
        return None

    def _set_aside(self, failures: list[tuple[str, Exception]], used: int) -> None:
        for path, error in failures:
            warn(f"checkpoint {path} is damaged ({first_line(error)}); going on from step {used}, "
                 f"its files are kept in {path}.damaged")
            if jax.process_index() == 0:
                shutil.rmtree(f"{path}.damaged", ignore_errors=True)
                os.rename(path, f"{path}.damaged")
        if failures:
            _any_host(True)  # waits for the first host
            self._manager.reload()

    def close(self) -> None:
        """Waits for saves under way."""
        if self._failed:  # said already; what Orbax would raise again is the same
            with contextlib.suppress(Exception):
                self._manager.close()
        else:
            with self._writing():
                self._manager.close()


def _any_host(value: bool) -> bool:
    """Whether it is true on any host; all hosts call it together."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.process_allgather(np.asarray(value)).any())


def _data_folder(path: str) -> str:
    folder = os.path.join(path, "data")
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{folder} is missing")
    return folder


def _items(state: TrainState) -> dict[str, PyTree]:
    """The arrays as they are saved; optax's nested state classes become names."""
    return {"params": state.params, "opt_state": by_name(state.opt_state),
            "flax_mutables": state.flax_mutables}


def _check_fit(path: str, loop: dict[str, Any], shapes: TrainState,
               settings: Mapping[str, Any] | None) -> None:
    for item, wanted in _items(shapes).items():
        problems = differences(saved_shapes(path, item, loop), wanted)
        if problems:
            raise MismatchError(
                f"checkpoint {path} does not fit this run: in {item}, {listed(problems)}; expected "
                "the same model and optimizer: set them back, or use another MODEL_DIR")
    for name, value in (settings or {}).items():
        saved = loop.get("settings", {}).get(name)
        if saved != value:
            raise MismatchError(
                f"checkpoint {path} is of a run with {name}={saved}, this one has {name}={value}; "
                "expected the same, so that it can go on where it stopped: set it back, or use "
                "another MODEL_DIR")


def _read_state(path: str, loop: dict[str, Any], shapes: TrainState,
                shardings: TrainState) -> TrainState:
    places = _items(shardings)
    values = {item: read_item(path, item, loop, wanted, places[item])
              for item, wanted in _items(shapes).items()}
    opt_state = [values["opt_state"][name] for name in by_name(shapes.opt_state)]
    return TrainState(
        step=jax.device_put(jnp.int32(loop["step"]), shardings.step),
        params=values["params"],
        opt_state=jax.tree.unflatten(jax.tree.structure(shapes.opt_state), opt_state),
        flax_mutables=values["flax_mutables"],
        rng=jax.device_put(jnp.asarray(loop["rng"], jnp.uint32), shardings.rng))


def initialise(state: TrainState, shardings: TrainState, config: RestoreCheckpointConfig,
               fresh_mutables: bool) -> tuple[TrainState, str]:
    """Puts params and codebooks of another run into a fresh state; nothing else is taken.

    Args:
      state: the fresh state; its step, optimizer state and RNG stay.
      shardings: those of the state.
      config: where from, and which leaves may be missing there.
      fresh_mutables: whether the other run may lack codebooks (it was a pre-training).

    Returns:
      The state, and a phrase that says what was taken.

    Raises UserError that names the first leaves that are missing or of another shape, and both
    shapes.
    """
    params, mutables, said = taken(state.params, state.flax_mutables, config, fresh_mutables)
    return state.replace(
        params=jax.device_put(params, shardings.params),
        flax_mutables=jax.device_put(mutables, shardings.flax_mutables)), said


def taken(params: PyTree, flax_mutables: PyTree, config: RestoreCheckpointConfig,
          fresh_mutables: bool) -> tuple[PyTree, PyTree, str]:
    """The values that `initialise` puts into these: params, codebooks and what to say of them."""
    mutables = load_variables(config.path)
    wrapped, kept_params = _taken({"params": mutables.pop("params")}, {"params": params}, config)
    params = wrapped["params"]
    said = f"{len(by_name(params)) - kept_params} parameters taken from {config.path}"
    if kept_params:
        said += f", {kept_params} fresh"
    if not flax_mutables:
        return params, flax_mutables, said
    if not mutables:
        if not fresh_mutables:
            raise UserError(
                f"the checkpoint at {config.path} holds no codebooks, which this step builds on; "
                "expected the MODEL_DIR of the step before: correct INITIAL_CHECKPOINT_PATH")
        return params, flax_mutables, f"{said}; codebooks fresh"
    mutables, kept = _taken(mutables, flax_mutables, config)
    return params, mutables, (f"{said}; {len(by_name(mutables)) - kept} codebook arrays taken, "
                              f"{kept} fresh")


def _taken(saved: PyTree, current: PyTree, config: RestoreCheckpointConfig) -> tuple[PyTree, int]:
    """`current` with the values of `saved`, and the number of leaves that stay as they are."""
    have, problems = by_name(saved), differences(saved, current)
    fresh = {name for name in problems if name not in have and any(
        re.fullmatch(pattern, name) for pattern in config.fresh)}
    problems = {name: text for name, text in problems.items() if name not in fresh}
    if problems:
        raise UserError(
            f"the checkpoint at {config.path} does not fit the model: {listed(problems)}; "
            "expected the same sizes (network.T5Config): correct INITIAL_CHECKPOINT_PATH or the "
            "sizes, or let leaves start fresh with checkpoints.RestoreCheckpointConfig.fresh")
    leaves = [leaf if name in fresh else have[name].astype(leaf.dtype)
              for name, leaf in by_name(current).items()]
    return jax.tree.unflatten(jax.tree.structure(current), leaves), len(fresh)

"""A trained model with its variables and vocabulary, found from a run or from gin and a path.

MODEL_DIR/model.json, written when training starts, says what the model was trained with: sizes,
level, vocabulary. What does not match is refused here, before anything is encoded.
"""

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import gin
import jax
import numpy as np

from gsid_jax import checkpoint_files, launch
from gsid_jax.encode import Encoder
from gsid_jax.errors import UserError
from gsid_jax.manifest import file_hash, read_json
from gsid_jax.partitioning import Partitioner
from tasks import location
from tasks import vocabulary as vocabularies

INFO_FILE = "model.json"
RESTORE = "expected what training wrote: restore the file"
CONFIG_FILE = "config.gin"
T5X_CONFIG_FILE = "gsid.gin"  # instead, where T5X trained: its config.gin needs T5X to be read


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Everything that turns a text into an ID."""
    model: Any
    variables: Mapping[str, Any]  # 'params' and 'codebook', numpy
    vocabulary: Any  # seqio.Vocabulary
    feature_lengths: Mapping[str, int]  # 'inputs' and, but for pre-training, 'queries'
    partitioner: Partitioner
    source: str  # where the checkpoint lies
    places: Mapping[str, Any]  # for ``tasks.location.use``, where a task is to be read

    def encoder(self, **options: Any) -> Encoder:
        """An encoder with the lengths of the training; options are ``Encoder``'s."""
        return Encoder(self.model, self.variables, self.vocabulary, **{
            "partitioner": self.partitioner, "max_length": self.feature_lengths["inputs"],
            "query_length": self.feature_lengths.get("queries"), **options})

    @property
    def hash(self) -> str:
        """SHA-256 of variables and vocabulary file: equal only for equal results."""
        digest = hashlib.sha256(vocabulary_info(self.vocabulary)["vocabulary_sha256"].encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(dict(self.variables)):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf).data)
        return digest.hexdigest()


@gin.configurable(module="gsid_jax.trained_model")
def configuration(model: Any, task_feature_lengths: Mapping[str, int], partitioner: Partitioner
                  ) -> tuple[Any, Mapping[str, int], Partitioner]:
    """What inference needs of a training's gin configuration."""
    return model, task_feature_lengths, partitioner


BINDINGS = ("trained_model.configuration.model = %MODEL",
            "trained_model.configuration.task_feature_lengths = %TASK_FEATURE_LENGTHS",
            "trained_model.configuration.partitioner = @partitioning.Partitioner()")


def vocabulary_info(vocabulary: Any) -> dict[str, Any]:
    """What model.json says about a vocabulary; pass it to ``train`` in ``model_info``."""
    loaded = vocabulary.loaded() if hasattr(vocabulary, "loaded") else vocabulary
    return {"vocabulary_sha256": file_hash(loaded.sentencepiece_model_file),
            "vocabulary_size": int(loaded.vocab_size), "extra_ids": int(loaded.extra_ids)}


def load_run(run_dir: str | os.PathLike, step: int | None = None, bindings: Sequence[str] = ()
             ) -> TrainedModel:
    """Loads a step of a pipeline run: ``step``, or what gives the run its final IDs.

    That is the last step whose codes were assigned or, where the run chose M10, its model and
    lookup (``gsid_jax.final_lookup``). ``bindings`` of gin are added to those the step was trained
    with. Raises UserError if the run has no such step, or its files do not match.
    """
    run_dir = pathlib.Path(run_dir)
    if not run_dir.is_dir():
        raise UserError(f"run directory {run_dir} does not exist; expected what the pipeline "
                        "writes: correct --run_dir, or run python -m gsid_jax.pipeline")
    if step is None:
        from gsid_jax import final_lookup
        final = final_lookup.load_final(run_dir, bindings)
        if final is not None:
            return final
        step = last_step(run_dir)
    model_dir = run_dir / f"step_{step}"
    return load((), model_dir, bindings,
                vocabulary=run_dir / "vocab" / "sentencepiece.model", data_dir=run_dir / "data")


def last_step(run_dir: pathlib.Path) -> int:
    """The last step whose items have codes; UserError if there is none."""
    finished = sorted(int(match[1]) for path in run_dir.glob("step_*/assignment")
                      if (match := re.fullmatch(r"step_(\d+)", path.parent.name)))
    if not finished:
        raise UserError(f"run {run_dir} has no finished step; expected step_1/assignment or later: "
                        "let the pipeline finish, or give --gin_file and --checkpoint")
    return finished[-1]


def load(gin_files: Sequence[str | os.PathLike], checkpoint: str | os.PathLike,
         bindings: Sequence[str] = (), search_paths: Sequence[str] = (),
         vocabulary: pathlib.Path | None = None, data_dir: pathlib.Path | None = None
         ) -> TrainedModel:
    """Builds MODEL of a gin configuration and loads its variables.

    Args:
      gin_files, bindings, search_paths: the configuration the model was trained with; without
        files, the config.gin beside the checkpoint.
      checkpoint: a MODEL_DIR, or one checkpoint in it, of our launcher or of T5X.
      vocabulary, data_dir: override those of the configuration where they exist.

    Raises UserError for a missing checkpoint, a configuration that cannot be read, and a model or
    vocabulary that is not the checkpoint's.
    """
    found = checkpoint_files.find(os.fspath(checkpoint))[0]
    model_dir = pathlib.Path(checkpoint_files.model_dir_of(found))
    info = read_json(model_dir / INFO_FILE, RESTORE)
    own = model_dir / T5X_CONFIG_FILE
    gin_files = gin_files or [own if own.exists() else model_dir / CONFIG_FILE]
    launch.parse_gin([os.fspath(path) for path in gin_files], [*BINDINGS, *bindings], search_paths)
    model, lengths, partitioner = configuration()
    given = {"vocabulary": vocabulary, "data_dir": data_dir}
    places = {name: str(path) for name, path in given.items() if path and path.exists()}
    if "extra_ids" in info:
        places["extra_ids"] = info["extra_ids"]
    with location.use(**places):
        loaded = vocabularies.VOCABULARY.loaded()
    _check(model, loaded, info, found)
    variables = checkpoint_files.load_variables(os.fspath(checkpoint))
    _check_shapes(model, variables, found)
    return TrainedModel(model, variables, loaded, dict(lengths), partitioner, found, places)


def _check(model: Any, vocabulary: Any, info: Mapping[str, Any], checkpoint: str) -> None:
    name = type(model).__name__
    if info.get("model", name) != name:
        raise UserError(f"checkpoint {checkpoint} is of a {info['model']}, but MODEL is a {name}; "
                        "expected the same: give the gin files it was trained with")
    level = getattr(model, "level", None)
    if info.get("level", level) != level:
        raise UserError(f"checkpoint {checkpoint} is of level {info['level']}, but MODEL has level "
                        f"{level}; expected the same: set gsid_model.GSIDModel.level = "
                        f"{info['level']}")
    given, file = vocabulary_info(vocabulary), vocabulary.sentencepiece_model_file
    if info.get("vocabulary_sha256", given["vocabulary_sha256"]) != given["vocabulary_sha256"]:
        raise UserError(
            f"vocabulary {file} (SHA-256 {given['vocabulary_sha256'][:12]}...) is not the one "
            f"checkpoint {checkpoint} was trained with ({info['vocabulary_sha256'][:12]}...); "
            "expected the same file: correct tasks.location.data_location.vocabulary, or restore "
            "it")
    size = model.module.config.vocab_size
    if given["vocabulary_size"] > size:
        raise UserError(
            f"vocabulary {file} has {given['vocabulary_size']} ids, but the model's embedding only "
            f"{size} (network.T5Config.vocab_size); expected the vocabulary the checkpoint "
            f"{checkpoint} was trained with: correct tasks.location.data_location.vocabulary")


def _check_shapes(model: Any, variables: Mapping[str, Any], checkpoint: str) -> None:
    shapes = jax.eval_shape(model.get_initial_variables, jax.random.key(0))
    checkpoint_files.check_fit(checkpoint, variables, {
        name: value for name, value in shapes.items() if not name.endswith("_axes")})

"""What T5X's launchers take from us: the start of a training, and checkpoints for eval and infer.

Imported by gin_configs/t5x/*.gin inside `python -m t5x.train`, `t5x.eval` and `t5x.infer`; needs
T5X (docs/t5.md). T5X's own hooks are used throughout: `train_state_initializer_cls`,
`checkpoint_manager_cls` and `write_fn`.
"""

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import clu.metrics
import flax
import gin
import jax
from t5x import utils

from gsid_jax import checkpoint_files, checkpoints, model_text, trained_model
from gsid_jax import train as _train
from gsid_jax.checkpoints import RestoreCheckpointConfig
from gsid_jax.gsid_model import GSIDModel
from gsid_jax.metrics import Mean
from gsid_jax.models import BaseModel
from tasks.vocabulary import VOCABULARY

PyTree = Any


def for_t5x(model: BaseModel) -> BaseModel:
    """The same model with metrics of CLU's class, which T5X tells from other arrays by that."""

    class Reported(type(model)):
        """Its losses, with T5X's metrics."""

        def loss_fn(self, *args, **kwargs):
            loss, aux = super().loss_fn(*args, **kwargs)
            return loss, jax.tree.map(
                lambda leaf: clu.metrics.Average(leaf.total, leaf.count)
                if isinstance(leaf, Mean) else leaf, aux, is_leaf=lambda x: isinstance(x, Mean))

    Reported.__name__ = type(model).__name__
    model = copy.copy(model)
    model.__class__ = Reported
    return model


class Initializer(utils.TrainStateInitializer):
    """Starts a training from any checkpoint of the chain, at step 0 and with a fresh optimizer.

    T5X calls `from_scratch` where its MODEL_DIR holds no checkpoint; a run that was stopped goes on
    as T5X does it. What is taken from `path` follows the rules of our launcher
    (`checkpoints.initialise`). MODEL_DIR gets model.json and gsid.gin, from which our `infer` and
    `pipeline` read what T5X trained.
    """

    def __init__(self, optimizer_def, init_fn, input_shapes, partitioner, input_types=None, *,
                 model_dir: str, path: str | None = None, fresh: Sequence[str] = (),
                 task_feature_lengths: Mapping[str, int] = flax.core.FrozenDict()):
        super().__init__(optimizer_def, init_fn, input_shapes, partitioner, input_types)
        self._model = init_fn.__self__
        self._path, self._fresh = path, fresh
        info = trained_model.vocabulary_info(VOCABULARY)
        if path:
            _train.check_vocabulary(path, info)
        if jax.process_index() == 0:
            _train.write_file(model_dir, trained_model.INFO_FILE, json.dumps(
                _train.describe(self._model, info), indent=1))
            _train.write_file(model_dir, trained_model.T5X_CONFIG_FILE, model_text.model_and_run(
                self._model, task_feature_lengths, info["extra_ids"],
                VOCABULARY.loaded().sentencepiece_model_file))

    def from_scratch(self, init_rng):
        """A fresh state, then parameters and codebooks of `path`."""
        state = super().from_scratch(init_rng)
        if not self._path:
            return state
        mutables = flax.core.unfreeze(state.flax_mutables)
        fresh = getattr(self._model, "level", 1) == 1
        params, mutables, said = checkpoints.taken(
            flax.core.unfreeze(state.params), mutables,
            RestoreCheckpointConfig(self._path, self._fresh), fresh)
        print(f"starting anew: {said}", flush=True)
        return _placed(state, params, mutables)


def _placed(state, params: PyTree, mutables: PyTree):
    """The state with these values, each where the one before was."""

    def place(new, old):
        return jax.tree.unflatten(jax.tree.structure(old), [
            jax.device_put(value, where.sharding) for value, where in
            zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)])

    state = state.replace_params(place(params, state.params))
    if not state.flax_mutables:
        return state
    return state.replace_flax_mutables(place(mutables, state.flax_mutables))


class Reader:
    """T5X's checkpoint manager for eval and infer, for checkpoints of T5X and of ours.

    T5X's own manager reads what T5X wrote; this one reads both, through
    `checkpoint_files.load_variables`. It saves nothing.
    """

    def __init__(self, directory: str, train_state, partitioner, **_):
        self.directory = directory
        self._shapes = train_state
        self._shardings = jax.tree.map(
            lambda spec: jax.sharding.NamedSharding(partitioner.mesh, spec),
            partitioner.get_mesh_axes(train_state), is_leaf=lambda node: isinstance(
                node, jax.sharding.PartitionSpec))

    def restore(self, step: int | None = None, path: str | None = None,
                fallback_state=None, state_transformation_fns=(), lazy_parameters=False):
        """T5X's `restore`; UserError for a checkpoint that is missing or of other sizes."""
        del fallback_state, state_transformation_fns, lazy_parameters
        source = path or self.directory
        variables = checkpoint_files.load_variables(source, step)
        wanted = {"params": flax.core.unfreeze(self._shapes.params),
                  **flax.core.unfreeze(self._shapes.flax_mutables)}
        checkpoint_files.check_fit(source, variables, wanted)

        def place(new, shapes, shardings):
            values = [jax.device_put(value, sharding) for value, sharding in
                      zip(jax.tree.leaves(new), jax.tree.leaves(shardings), strict=True)]
            return jax.tree.unflatten(jax.tree.structure(shapes), values)

        params = variables.pop("params")
        return self._shapes.replace(
            step=jax.numpy.int32(checkpoint_files.step_of(source, step)),
            params=place(params, self._shapes.params, self._shardings.params),
            flax_mutables=place(variables, self._shapes.flax_mutables,
                                self._shardings.flax_mutables))


@dataclasses.dataclass
class IDModel(GSIDModel):
    """A GSIDModel as t5x.infer and t5x.eval use it: texts in, codes out."""

    with_targets: bool = False  # the task has targets, as t5x.eval wants

    @property
    def _converter(self) -> str:
        return "EvaluationFeatureConverter" if self.with_targets else "InferenceFeatureConverter"


def newest(path: str) -> str:
    """The newest checkpoint of a MODEL_DIR, or the checkpoint itself: T5X wants its step's path."""
    return checkpoint_files.find(path)[0]


def write_ids(path: str, inferences, task_ds, mode: str, vocabulary=None, **_) -> None:
    """T5X's `write_fn` for IDs: a JSON line for each row, with id, codes and path.

    T5X's own writer reads predictions as tokens and drops what follows a 0, which is a code here.
    `mode` is 'predict' or 'predict_with_aux'; the latter adds log_prob.
    """
    del vocabulary
    predictions, aux = inferences
    with open(path, "w", encoding="utf-8") as file:
        for row, (codes, example) in enumerate(zip(predictions, task_ds.as_numpy_iterator(),
                                                   strict=True)):
            codes = [int(code) for code in codes]
            record = {"id": example["id"].decode(), "codes": codes,
                      "path": "-".join(map(str, codes))}
            if mode == "predict_with_aux":
                record["log_prob"] = float(sum(aux["log_prob"][row]))
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


for _part in (for_t5x, Initializer, Reader, IDModel, newest, write_ids):
    gin.external_configurable(_part, module="gsid_jax.t5x_launch")

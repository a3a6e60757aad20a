"""The steps of this library at the shapes of a Case."""

import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gsid_jax import optimizers
from gsid_jax.codebook import CodebookConfig
from gsid_jax.encode import Encoder
from gsid_jax.gsid_model import GSIDModel
from gsid_jax.models import PretrainModel
from gsid_jax.network import GSIDNetwork, T5Config
from gsid_jax.partitioning import Partitioner
from gsid_jax.trainer import Trainer
from tools.bench.shapes import Case


def model(case: Case, dropout: float = 0.0, **network: Any) -> Any:
    """PretrainModel or GSIDModel with AdamW."""
    config = T5Config(**{**case.network, "num_levels": case.T, "codebook_size": case.K,
                         "dropout_rate": dropout, "dtype": case.dtype, **network})
    optimizer = optimizers.adamw(1e-3)
    if case.t == 0:
        return PretrainModel(GSIDNetwork(config), optimizer)
    return GSIDModel(GSIDNetwork(config), optimizer, level=case.t, contrastive_only_steps=0,
                     codebook=CodebookConfig(start_samples=max(case.K, 256)))


def trainer(case: Case, batch: dict[str, np.ndarray], partitioner: Partitioner | None = None,
            network: dict[str, Any] | None = None, **options: Any) -> Trainer:
    shapes = {name: jax.ShapeDtypeStruct(value.shape, value.dtype)
              for name, value in batch.items()}
    return Trainer(model(case, **(network or {})), partitioner or Partitioner(), shapes, **options)


def train_step(case: Case, batch: dict[str, np.ndarray], **options: Any):
    """A function that runs one step and returns the loss."""
    made = trainer(case, batch, **options)
    holder = [made.new_state(0)]

    def step() -> float:
        holder[0], metrics = made.train_step(holder[0], batch)
        return float(metrics["loss"].compute())

    return step


def infer_step(case: Case, tokens: np.ndarray):
    """A function that gives the IDs of one batch greedily."""
    made = model(case)
    variables = jax.jit(made.get_initial_variables)(jax.random.key(0))

    @jax.jit
    def predict(params, codebook, tokens):
        return made.predict_batch(params, {"encoder_input_tokens": tokens},
                                  flax_mutables={"codebook": codebook})

    return lambda: np.asarray(predict(variables["params"], variables["codebook"], tokens))


def infer_titles(case: Case, lists: list[list[int]]):
    """A function that encodes all texts as `gsid_jax.infer` does."""
    made = model(case)
    variables = jax.jit(made.get_initial_variables)(jax.random.key(0))
    encoder = Encoder(made, {name: variables[name] for name in ("params", "codebook")},
                      types.SimpleNamespace(eos_id=1), batch_size=case.B, max_length=case.L)
    return lambda: encoder.encode_tokens(lists)["codes"]


def matmul_peak(dtype: str = "float32", size: int = 2048):
    """A function that multiplies two square matrices, and its FLOPs."""
    a, b = (jnp.ones((size, size), dtype) * 0.5 for _ in range(2))
    product = jax.jit(jnp.matmul)
    return lambda: product(a, b).block_until_ready(), 2 * size**3


def step_flops(case: Case, batch: dict[str, np.ndarray]) -> int:
    """FLOPs of the matrix products of one train step, read from its program before compiling."""
    made = trainer(case, batch, Partitioner(devices=jax.devices()[:1]))
    jaxpr = jax.make_jaxpr(made._train)(made.state_shapes, batch)  # pylint: disable=protected-access
    return count_flops(jaxpr.jaxpr)


def count_flops(jaxpr: Any) -> int:
    """2 x multiply-adds of a jaxpr's matrix products, loops as often as they run.

    Of a condition's branches the smallest counts: starting and reviving codes is rare.
    """
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            size = int(np.prod(equation.outvars[0].aval.shape, dtype=np.int64))
            total += 2 * size * int(np.prod([left[n] for n in contracted], dtype=np.int64))
            continue
        inner = [count_flops(getattr(value, "jaxpr", value)) for value in _jaxprs(equation.params)]
        if equation.primitive.name == "cond":
            total += min(inner, default=0)
        else:
            total += sum(inner) * equation.params.get("length", 1 if inner else 0)
    return total


def _jaxprs(params: dict[str, Any]) -> list[Any]:
    found = []
    for value in params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            if hasattr(getattr(part, "jaxpr", part), "eqns"):
                found.append(part)
    return found

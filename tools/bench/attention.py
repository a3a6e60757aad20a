"""Attention with T5's bias: the network's own products against `jax.nn.dot_product_attention`.

    python -m tools.bench.attention --batch=16 --length=64 --report=docs/results/attention.md

Forward and gradient (bias included), time and largest difference. On an NVIDIA GPU `cudnn` is
tried too (bf16: --dtype=bfloat16); where it refuses T5's learned bias, that is the row.
"""

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from tools.bench import running
from tools.bench.results_page import results_page, write_text

HEADER = ("implementation", "ms forward and gradient", "largest difference of output",
          "of the bias's gradient")


def products(q, k, v, bias):
    """What network.Attention computes: float32 logits and softmax, [B, L, H, d]."""
    logits = jnp.einsum("bqhd,bkhd->bhqk", q, k).astype(jnp.float32)
    weights = jax.nn.softmax(logits + jnp.broadcast_to(bias, logits.shape), axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(q.dtype), v)


def fused(implementation: str) -> Callable:
    """The library's attention, unscaled as T5's is."""
    def attend(q, k, v, bias):
        shape = (q.shape[0], q.shape[2], q.shape[1], k.shape[1])
        return jax.nn.dot_product_attention(
            q, k, v, bias=jnp.broadcast_to(bias, shape).astype(q.dtype), scale=1.0,
            implementation=implementation)
    return attend


def run(attend: Callable, inputs, calls: int):
    """(milliseconds, output, gradients)."""
    def loss(q, k, v, bias):
        out = attend(q, k, v, bias)
        return jnp.sum(out.astype(jnp.float32) ** 2), out

    step = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True))
    gradients, out = jax.block_until_ready(step(*inputs))
    seconds = []
    for _ in range(calls):
        begun = time.perf_counter()
        jax.block_until_ready(step(*inputs))
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds) * 1e3, out, gradients


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--report", default="")
    args = parser.parse_args(argv)
    keys = jax.random.split(jax.random.key(0), 4)
    shape = (args.batch, args.length, args.heads, 64)
    q, k, v = (jax.random.normal(key, shape, args.dtype) / 4 for key in keys[:3])
    bias = jax.random.normal(keys[3], (1, args.heads, args.length, args.length), jnp.float32)
    kinds = {"products": products, "dot_product_attention, xla": fused("xla")}
    if jax.default_backend() == "gpu":
        kinds["dot_product_attention, cudnn"] = fused("cudnn")
    rows, reference = [], None
    for name, attend in kinds.items():
        try:
            milliseconds, out, gradients = run(attend, (q, k, v, bias), args.calls)
        except (NotImplementedError, RuntimeError, ValueError) as error:
            rows.append([name, f"refused: {str(error).splitlines()[0][:80]}", "-", "-"])
            continue
        reference = reference or (out, gradients[3])
        difference = [float(jnp.max(jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32))))
                      for a, b in zip((out, gradients[3]), reference)]
        rows.append([name, f"{milliseconds:.2f}", *(f"{d:.1e}" for d in difference)])
        print(" | ".join(rows[-1]), flush=True)
    if args.report:
        write_text(args.report, results_page(
            "Attention with T5's bias",
            "python -m tools.bench.attention " + shlex.join(sys.argv[1:] if argv is None else argv),
            f"{jax.devices()[0].device_kind}, [{args.batch}, {args.length}, {args.heads}, 64] "
            f"{args.dtype}, a learned bias for each head and pair. {running.load()}", HEADER, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())

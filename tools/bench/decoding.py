"""Speed of constrained decoding: against Hugging Face's generate and against the encoder alone.

    python -m tools.bench.decoding --output=docs/results/decoding_speed.md

Random weights, queries and IDs: only shapes matter. Both sides run the same network on the same
queries with the same valid IDs, one after the other in one process, and find the same IDs. Rates
are the best of the batch sizes tried; times are medians of the repetitions. Beside the time by the
clock stands the processor time of all threads, which other programs on the machine disturb less.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gsid_jax import decoding
from gsid_jax.codebook import CodebookConfig
from gsid_jax.errors import UserError
from gsid_jax.gsid_model import GSIDModel
from gsid_jax.network import GSIDNetwork, T5Config
from gsid_jax.trie import Trie, build_trie
from tools.bench import results_page

LEVELS, SIZE = 4, 128
WORDS = 32_128  # T5's vocabulary
SHAPES = {
    "quickstart (D 128, 2 + 1 layers)": dict(
        emb_dim=128, num_heads=4, head_dim=32, mlp_dim=256, num_encoder_layers=2,
        num_decoder_layers=1),
    "T5 1.1 small, 2 decoder layers (D 512, 8 + 2)": dict(
        emb_dim=512, num_heads=6, head_dim=64, mlp_dim=1024, num_encoder_layers=8,
        num_decoder_layers=2),
    "T5 1.1 small (D 512, 8 + 8 layers)": dict(
        emb_dim=512, num_heads=6, head_dim=64, mlp_dim=1024, num_encoder_layers=8,
        num_decoder_layers=8),
}


@dataclasses.dataclass
class Setting:
    """A network with random weights and codebooks."""

    model: GSIDModel
    variables: Any
    heads: list[np.ndarray]  # for Hugging Face

    @property
    def mutables(self) -> dict[str, Any]:
        return {"codebook": self.variables["codebook"]}


def build(shape: dict[str, int]) -> Setting:
    """Dot-product lookup without centring, the case that a T5 head can express."""
    config = T5Config(vocab_size=WORDS, num_levels=LEVELS, codebook_size=SIZE,
                      code_embedding_scale=1.0, **shape)
    model = GSIDModel(GSIDNetwork(config), level=LEVELS,
                      codebook=CodebookConfig(lookup="dot", centring=0.0, temperature=8.0))
    variables = jax.jit(model.get_initial_variables)(jax.random.key(0))
    heads = [np.asarray(variables["codebook"][f"level_{t + 1}"]["embedding"]) / 8.0
             for t in range(LEVELS)]
    return Setting(model, {name: variables[name] for name in ("params", "codebook")}, heads)


def random_ids(items: int, seed: int = 0) -> np.ndarray:
    """The distinct IDs of so many items: int [N, T]; codes are skewed, as learned ones are."""
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, SIZE + 1) ** 0.5
    codes = rng.choice(SIZE, (items, LEVELS), p=weights / weights.sum())
    return np.unique(codes, axis=0)


def random_queries(count: int, length: int, seed: int = 1) -> np.ndarray:
    """Token ids int32 [count, length], none of them padding."""
    return np.random.default_rng(seed).integers(3, WORDS, (count, length)).astype(np.int32)


class Times(NamedTuple):
    """Seconds of a call: by the clock, and of the processor."""

    clock: float
    processor: float


def times(call: Callable[[], Any], repetitions: int) -> Times:
    """Median times of a call, after one to compile and warm up."""
    call()
    found = []
    for _ in range(repetitions):
        clock, processor = time.perf_counter(), time.process_time()
        call()
        found.append((time.perf_counter() - clock, time.process_time() - processor))
    return Times(*(statistics.median(column) for column in zip(*found)))


class Measured(NamedTuple):
    """A compiled program's times, floating point operations by XLA's count, and result."""

    times: Times
    flops: float
    result: Any


def measured(function: Callable[..., Any], repetitions: int, *args: Any) -> Measured:
    """Compiles a function of arrays and measures it. XLA counts no loop bodies: none may be in."""
    program = jax.jit(function).lower(*args).compile()
    taken = times(lambda: jax.block_until_ready(program(*args)), repetitions)
    return Measured(taken, program.cost_analysis()["flops"], program(*args))


def ours(setting: Setting, trie: Trie, beam: int, queries: np.ndarray, repetitions: int
         ) -> Measured:
    """Search for a batch; the result is its Beams."""
    return measured(lambda variables, tokens, trie: decoding.beam_search(
        setting.model, variables["params"], {"codebook": variables["codebook"]}, tokens, beam,
        trie), repetitions, setting.variables, jnp.asarray(queries), trie)


def encoder_alone(setting: Setting, queries: np.ndarray, repetitions: int) -> Measured:
    """The encoder states of a batch."""
    return measured(lambda params, tokens: setting.model.module.apply(
        {"params": params}, tokens, method=GSIDNetwork.encode), repetitions,
        setting.variables["params"], jnp.asarray(queries))


def against_encoder(setting: Setting, trie: Trie, beams: Sequence[int], lengths: Sequence[int],
                    batch: int, repetitions: int) -> list[dict[str, Any]]:
    """What decoding adds to the encoder, as a share of its time, by beam and query length."""
    rows = []
    for length in lengths:
        queries = random_queries(batch, length)
        encoder = encoder_alone(setting, queries, repetitions)
        for beam in beams:
            whole = ours(setting, trie, beam, queries, repetitions)
            rows.append({"length": length, "beam": beam, "batch": batch,
                         "encoder_ms": 1000 * encoder.times.clock / batch,
                         "whole_ms": 1000 * whole.times.clock / batch,
                         "added": whole.times.clock / encoder.times.clock - 1,
                         "added_processor": whole.times.processor / encoder.times.processor - 1,
                         "added_flops": whole.flops / encoder.flops - 1})
            print(f"  length {length}, beam {beam}: decoding adds {rows[-1]['added']:.0%} "
                  f"({rows[-1]['added_processor']:.0%} of processor time, "
                  f"{rows[-1]['added_flops']:.0%} of operations)", flush=True)
    return rows


def against_hf(setting: Setting, trie: Trie, ids: np.ndarray, beam: int, length: int,
               batches: dict[str, Sequence[int]], repetitions: int, unused_tokens: int
               ) -> dict[str, Any]:
    """Queries per second of both; the IDs found must agree."""
    from tools.bench import hf_beam_search as hf

    peer = hf.equivalent_t5(setting.model.module.config, setting.variables["params"],
                            setting.heads, unused_tokens)
    allowed = hf.allowed_tokens(ids, SIZE)
    rates: dict[str, dict[int, float]] = {"ours": {}, "hf": {}}
    work: dict[str, dict[int, float]] = {"ours": {}, "hf": {}}  # processor seconds a query
    for batch in batches["ours"]:
        queries = random_queries(batch, length)
        taken = ours(setting, trie, beam, queries, repetitions).times
        rates["ours"][batch], work["ours"][batch] = batch / taken.clock, taken.processor / batch
    for batch in batches["hf"]:
        queries = random_queries(batch, length)
        taken = times(lambda queries=queries: hf.generate(peer, queries, allowed, beam, LEVELS),
                      max(1, repetitions // 3))
        rates["hf"][batch], work["hf"][batch] = batch / taken.clock, taken.processor / batch
    size = min(min(batches["ours"]), min(batches["hf"]))
    queries = random_queries(size, length)
    beams = ours(setting, trie, beam, queries, 1).result
    _, scores = hf.generate(peer, queries, allowed, beam, LEVELS)
    difference = float(np.abs(scores - np.asarray(beams.log_prob)).max())
    if difference > 1e-2:
        raise UserError(f"the two searches disagree: log-probabilities differ by {difference:.3g} "
                        f"at beam {beam}; expected below 0.01")
    best = {name: max(values.values()) for name, values in rates.items()}
    least = {name: min(values.values()) for name, values in work.items()}
    result = {"beam": beam, "length": length, "unused_tokens": unused_tokens,
              "queries_per_second": rates, "ours": best["ours"], "hf": best["hf"],
              "times": best["ours"] / best["hf"], "processor_seconds": work,
              "times_processor": least["hf"] / least["ours"], "largest_difference": difference}
    print(f"  beam {beam}, {unused_tokens:,} words beside the codes: {best['ours']:.1f} against "
          f"{best['hf']:.2f} queries/s, {result['times']:.1f} times "
          f"({result['times_processor']:.1f} of processor time)", flush=True)
    return result


def page(result: dict[str, Any]) -> str:
    """The results as Markdown."""
    text = results_page.opening("Speed of constrained decoding", result["made"])
    text += (f"{result['items']:,} items, {result['ids']:,} distinct IDs of {LEVELS} levels of "
             f"{SIZE} codes, random weights, float32, log-probabilities of both sides equal "
             "within 0.01.\n\n## Against Hugging Face generate(prefix_allowed_tokens_fn=...)\n\n"
             "The same T5, weights and IDs on the same CPU; each side at its best batch size. *Words"
             " beside the codes*: rows of the decoder's vocabulary that no ID uses (codes added to "
             "a T5's vocabulary); 0 is the case most favourable to Hugging Face.\n\n")
    rows = [[r["shape"], str(r["length"]), str(r["beam"]), f"{r['unused_tokens']:,}",
             f"{r['ours']:.1f}", f"{r['hf']:.2f}", f"{r['times']:.1f}",
             f"{r['times_processor']:.1f}"] for r in result["hf"]]
    text += results_page.table(["shape", "query tokens", "beam", "words beside the codes",
                                "ours, queries/s", "Hugging Face, queries/s", "times",
                                "times, processor"], rows)
    text += ("\n## Against the encoder alone\n\n*Adds, operations*: the floating point operations "
             "of the search over those of the encoder, by XLA's count of the compiled programs. "
             "Every beam passes every decoder layer at each of the levels after the first, so a "
             "short text under a deep decoder cannot be cheap: that share is the floor, what lies "
             "above it is overhead.\n\n")
    rows = [[r["shape"], str(r["length"]), str(r["beam"]), str(r["batch"]),
             f"{r['encoder_ms']:.2f}", f"{r['whole_ms']:.2f}", f"{100 * r['added']:.0f}%",
             f"{100 * r['added_processor']:.0f}%", f"{100 * r['added_flops']:.0f}%"]
            for r in result["encoder"]]
    return text + results_page.table(
        ["shape", "query tokens", "beam", "queries a call", "encoder, ms a query",
         "encoder and search, ms a query", "decoding adds", "adds, processor",
         "adds, operations"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="docs/results/decoding_speed.md")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--beams", default="10,100")
    parser.add_argument("--lengths", default="16,32,64,128,256", help="query tokens, encoder part")
    parser.add_argument("--hf_length", type=int, default=32, help="query tokens, other part")
    parser.add_argument("--shapes", default="", help="numbers of the shapes from 0; default: all")
    parser.add_argument("--batch", type=int, default=32, help="queries a call")
    parser.add_argument("--hf_batches", default="1,8")
    parser.add_argument("--repetitions", type=int, default=5)
    args = parser.parse_args(argv)
    beams = [int(beam) for beam in args.beams.split(",")]
    lengths = [int(length) for length in args.lengths.split(",")]
    names = list(SHAPES)
    chosen = [names[int(n)] for n in args.shapes.split(",")] if args.shapes else names
    ids = random_ids(args.items)
    trie = build_trie(ids.astype(np.uint16))[0].on_device()
    result: dict[str, Any] = {"made": results_page.circumstances("tools.bench.decoding"),
                              "items": args.items, "ids": len(ids), "hf": [], "encoder": []}
    batches = {"ours": (1, args.batch), "hf": [int(b) for b in args.hf_batches.split(",")]}
    try:
        for name in chosen:
            print(name, flush=True)
            setting = build(SHAPES[name])
            for row in against_encoder(setting, trie, beams, lengths, args.batch,
                                       args.repetitions):
                result["encoder"].append({"shape": name, **row})
            for beam in beams:
                for unused in (0, WORDS):
                    result["hf"].append({"shape": name, **against_hf(
                        setting, trie, ids, beam, args.hf_length, batches, args.repetitions,
                        unused)})
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results_page.write(args.output, page(result), result)
    print(f"{args.output} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())

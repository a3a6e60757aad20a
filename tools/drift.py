"""Says whether new items have drifted from what a run was trained on, and whether to retrain.

    python -m gsid_jax.infer --run_dir=RUN --input=new.jsonl --kind=item --output=new_ids.parquet
    python -m tools.drift --run_dir=RUN --items=new_ids.parquet --pairs=fresh.jsonl

compares with the run's own items: the share of assignments of low probability, the conditional
perplexity of every level and, with --pairs (interactions of the new items, docs/data_format.md),
how often query and item agree on their codes, against the run's held-out pairs. An alarm needs a
change beyond a margin at a confidence that holds over all signals together (--alpha).

Exit status: 0 no drift, or too few items to judge; 3 watch (the items spread over the codes in another way, but codes are as
sure and queries find them as before); 4 retrain; 1 an error, 2 a wrong flag.
"""

import argparse
import dataclasses
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc

from gsid_jax import published_ids
from gsid_jax.code_index import check_same_model
from gsid_jax.errors import UserError
from gsid_jax.evaluate import columns, drift
from gsid_jax.evaluate.catalogue import BUILDER, load_catalogue
from gsid_jax.index_contents import read_fingerprint
from gsid_jax.manifest import write_json
from tasks import raw_files, raw_records

STATUS = {drift.TOO_FEW: 0, drift.NONE: 0, drift.WATCH: 3, drift.RETRAIN: 4}
ADVICE = {
    drift.TOO_FEW: f"fewer than {drift.MIN_SAMPLES} items: come back with more",
    drift.NONE: "the new items look like those of the training: no need to retrain",
    drift.WATCH: "the new items spread over the codes in another way, but their codes are as sure "
                 "as before: no need to retrain yet; look again with more items or with --pairs",
    drift.RETRAIN: "the model does not know these items well: retrain on data that holds them, or "
                   "refresh the last codebook (tools.extend_run)"}


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the run knows of its own items and held-out pairs."""

    training: np.ndarray  # bool [N]
    ids: published_ids.PublishedIds
    pairs: drift.Pairs
    pairs_of: str

    @property
    def held_out(self) -> np.ndarray:
        """bool [N]: items to compare new ones with; all, if training left out too few."""
        out = ~self.training
        return out if out.sum() >= drift.MIN_REFERENCE else np.ones_like(out)


def load_reference(run_dir: pathlib.Path) -> Reference:
    """Reads a run's IDs, its split and its held-out pairs."""
    ids_path = run_dir / "ids" / "items.parquet"
    catalogue = load_catalogue(run_dir / "data")
    flags = columns.read_table(run_dir / "data" / "items.parquet", ["seen", "validation"], BUILDER)
    seen, validation = (flags[name].to_numpy().astype(bool) for name in ("seen", "validation"))
    ids = published_ids.read_ids(ids_path)
    queries = published_ids.read_ids(run_dir / "ids" / "queries.parquet", "query")
    if len(ids.codes) != len(seen) or len(queries.codes) != len(catalogue.query):
        raise UserError(f"{ids_path} has {len(ids.codes)} rows for {len(seen)} items of the "
                        "dataset; expected one each: run the final assignment again")
    query, item = catalogue.q2i.pairs
    unseen = ~seen[item]
    pairs_of = "items not trained on"
    if unseen.sum() < drift.MIN_REFERENCE:
        unseen, pairs_of = np.ones(len(item), bool), "all items"
    query, item = query[unseen], item[unseen]
    pairs = drift.Pairs.of(queries.codes[query], ids.codes[item], item)
    return Reference(seen & ~validation, ids, pairs, pairs_of)


def read_pairs(path: str | pathlib.Path, known: Mapping[str, int]
               ) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """Fresh pairs of known items: distinct queries, query and item of each pair, pairs left out."""
    path = raw_files.check_path(path, "pairs")

    def parse(record):
        return raw_records.parse_query(record), known.get(record.get("item_id"), -1)

    queries: dict[str, int] = {}
    rows, others = {}, 0
    for query, item in raw_files.read_records(path, "pairs", raw_records.INTERACTION_FIELDS, parse,
                                              raw_files.Rejects()):
        if item < 0:
            others += 1
        else:
            rows[queries.setdefault(query, len(queries)), item] = True
    if not rows:
        raise UserError(f"pairs file {path} has {others} pairs, none with an item of --items; "
                        "expected interactions of the new items: give the file of the same items")
    query, item = (np.asarray(side) for side in zip(*rows))
    return list(queries), query, item, others


def signals_of(reference: Reference, new: published_ids.PublishedIds, fresh: drift.Pairs | None,
               limits: drift.Limits) -> list[drift.Signal]:
    """All comparisons, sharing the chance of a false alarm."""
    levels = reference.ids.codes.shape[1]
    alpha = limits.alpha / ((levels + 1) + levels + (levels if fresh is not None else 0))
    training = reference.training
    found = drift.low_probability(
        new.level_probs, reference.ids.level_probs[reference.held_out],
        reference.ids.level_probs[training], limits, alpha)
    found += drift.conditional_perplexity(new.codes, reference.ids.codes[training], limits, alpha)
    if fresh is not None:
        found += drift.pair_agreement(fresh, reference.pairs, limits, alpha)
    return found


def check(run_dir: str | pathlib.Path, items: str, pairs: str = "",
          limits: drift.Limits = drift.Limits()) -> dict[str, Any]:
    """Compares the IDs of new items, and fresh pairs, with a run. Returns what --output holds.

    Raises UserError for missing files and for IDs of another model.
    """
    run_dir = pathlib.Path(run_dir)
    reference = load_reference(run_dir)
    check_same_model(items, read_fingerprint(items), reference.ids.model)
    new = published_ids.read_ids(items)
    if new.codes.shape[1] != reference.ids.codes.shape[1]:
        raise UserError(f"{items} has IDs of {new.codes.shape[1]} codes; expected "
                        f"{reference.ids.codes.shape[1]}, those of run {run_dir}: run gsid_jax.infer "
                        "with it again")
    fresh, counts = None, {"items": len(new.codes), "training_items": int(reference.training.sum()),
                           "held_out_items": int(reference.held_out.sum())}
    if pairs:
        known = {key: row for row, key in enumerate(new.key.to_pylist())}
        queries, query, item, others = read_pairs(pairs, known)
        fresh = drift.Pairs.of(_query_codes(run_dir, reference, queries)[query], new.codes[item],
                               item)
        counts |= {"pairs": len(item), "pairs_of_other_items": others,
                   "held_out_pairs": len(reference.pairs.item)}
    known_already = int(pc.sum(pc.is_in(new.key, reference.ids.key.combine_chunks())).as_py() or 0)
    signals = signals_of(reference, new, fresh, limits)
    verdict = drift.verdict(signals)
    return {"verdict": verdict, "advice": ADVICE[verdict], "exit_status": STATUS[verdict],
            "model": reference.ids.model, "counts": counts | {"items_of_the_run": known_already},
            "held_out_pairs_of": reference.pairs_of, "limits": dataclasses.asdict(limits),
            "signals": [dataclasses.asdict(signal) | {"alarm": signal.alarm} for signal in signals]}


def _query_codes(run_dir: pathlib.Path, reference: Reference, queries: list[str]) -> np.ndarray:
    from gsid_jax import trained_model
    model = trained_model.load_run(run_dir)
    if model.hash != reference.ids.model:
        raise UserError(f"run {run_dir} has model {model.hash[:12]}..., its IDs were made by "
                        f"{reference.ids.model[:12]}...; expected the same: finish the pipeline")
    return model.encoder().encode(queries, "query")["codes"]


def table(result: Mapping[str, Any]) -> str:
    """The signals and the verdict for a reader."""
    lines = [f"{'signal':<24}{'level':>6}{'new':>10}{'normal':>10}{'interval':>20}"]
    for signal in result["signals"]:
        share = signal["name"] != drift.PERPLEXITY
        form = (lambda value: f"{100 * value:.1f}%") if share else (lambda value: f"{value:.2f}")
        interval = f"{form(signal['low'])} to {form(signal['high'])}"
        lines.append(f"{signal['name']:<24}{signal['level']:>6}{form(signal['new']):>10}"
                     f"{form(signal['reference']):>10}{interval:>20}"
                     + ("  ALARM" if signal["alarm"] else ""))
    counts = ", ".join(f"{name.replace('_', ' ')} {count:,}"
                       for name, count in result["counts"].items())
    return ("\n".join(lines) + "\n(interval: of the change new - normal; of a perplexity, where it "
            f"lies without drift)\n{counts}\n{result['verdict'].upper()}: {result['advice']}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", required=True, help="directory of a pipeline run")
    parser.add_argument("--items", required=True, help="IDs of the new items, by gsid_jax.infer")
    parser.add_argument("--pairs", default="", help="interactions of the new items")
    parser.add_argument("--output", default="", help="JSON file to write")
    parser.add_argument("--alpha", type=float, default=0.01, help="chance of any false alarm")
    parser.add_argument("--margin", type=float, default=0.02, help="change of a share that matters")
    args = parser.parse_args(argv)
    try:
        result = check(args.run_dir, args.items, args.pairs,
                       drift.Limits(alpha=args.alpha, margin=args.margin))
        if args.output:
            write_json(args.output, result)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(table(result))
    return result["exit_status"]


if __name__ == "__main__":
    sys.exit(main())

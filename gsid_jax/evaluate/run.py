"""Evaluates a run: reads its dataset and IDs, writes metrics.json and a tree to look at."""

import json
import os
import pathlib
import time
from typing import Any

import numpy as np

from gsid_jax.errors import UserError
from gsid_jax.evaluate import clustering, codes, retrieval, tree
from gsid_jax.evaluate.catalogue import Catalogue, Triggers, load_catalogue
from gsid_jax.evaluate.method import Method, load_run
from gsid_jax.manifest import write_json

DEPTH = 100  # length of the rankings
PAPER_CATEGORIES = (1, 4)  # cate1_AMI and cate4_AMI of Table 3


def evaluate_run(run_dir: str | pathlib.Path,
                 codebook_size: int | None = None) -> dict[str, Any]:
    """Computes all figures of a run and writes them under ``RUN/evaluation``.

    Reads ``data/``, ``ids/``, ``step_*/assignment/stats.json`` and ``manifest.json``; the last two
    may be missing. ``codebook_size`` is K, by default that of ``stats.json`` or, without it, what
    the largest code used asks for. Writes ``metrics.json`` and ``tree.txt``, each under a temporary
    name first.
    Returns what ``metrics.json`` holds: plain numbers in nested dictionaries, shares of 1.
    UserError for missing, broken or foreign files (file and numbers in the message).
    """
    start = time.monotonic()
    run_dir = pathlib.Path(run_dir)
    if not run_dir.is_dir():
        raise UserError(f"run directory {run_dir} is missing; expected the directory that the "
                        "pipeline wrote: check --run_dir")
    catalogue = load_catalogue(run_dir / "data")
    method = load_run(run_dir, catalogue, codebook_size=codebook_size)
    metrics = evaluate_method(catalogue, method)
    output = run_dir / "evaluation"
    output.mkdir(exist_ok=True)
    partial = output / "tree.txt.tmp"
    partial.write_text(tree.excerpt(catalogue, method), encoding="utf-8")
    os.replace(partial, output / "tree.txt")
    seconds = stage_seconds(run_dir / "manifest.json")
    metrics["time"] = {**seconds, "evaluate": round(time.monotonic() - start, 3)}
    write_json(output / "metrics.json", metrics)
    return metrics


def evaluate_method(catalogue: Catalogue, method: Method) -> dict[str, Any]:
    """The figures of one method on one catalogue, less ``time``; parts it lacks are left out."""
    metrics: dict[str, Any] = {}
    if method.item_vectors is not None and method.query_vectors is not None:
        metrics.update(_retrieval(catalogue, method))
    if method.item_codes is not None:
        metrics.update(_codes(catalogue, method))
    metrics["data"] = catalogue.counts()
    return metrics


def _retrieval(catalogue: Catalogue, method: Method) -> dict[str, Any]:
    """Recall and MRR of q2i and i2i, whole and by kind of trigger and relevant item."""
    metrics: dict[str, Any] = {}
    for name, triggers, vectors in (("q2i", catalogue.q2i, method.query_vectors),
                                    ("i2i", catalogue.i2i, method.item_vectors)):
        if triggers is None:
            continue
        ranked, _ = retrieval.top_k(vectors[triggers.index], method.item_vectors, DEPTH,
                                    catalogue.tie_rank, triggers.excluded)
        metrics[name] = retrieval.summary(ranked, triggers.relevant)
        kinds = {"seen": ~triggers.unseen, "unseen": triggers.unseen}
        if triggers.frequency is not None:
            kinds.update({kind: triggers.frequency == kind for kind in ("head", "torso", "tail")})
        rows, items = triggers.relevant.rows, triggers.relevant.values
        by_trigger = {kind: chosen[rows] for kind, chosen in kinds.items()}
        by_item = {"seen": catalogue.seen[items], "unseen": ~catalogue.seen[items]}
        key = "q2i_by_query" if name == "q2i" else "i2i_by_trigger"
        metrics[key] = _split(ranked, triggers, by_trigger)
        metrics[f"{name}_by_item"] = _split(ranked, triggers, by_item)
    return metrics


def _split(ranked: np.ndarray, triggers: Triggers,
           pairs: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """The summary over parts of the held-out pairs (bool [P] each); empty parts are left out."""
    parts = {}
    for kind, chosen in pairs.items():
        if chosen.any():
            relevant = triggers.relevant.where(chosen)
            parts[kind] = {"triggers": int(np.sum(relevant.counts > 0)),
                           **retrieval.summary(ranked, relevant)}
    return parts


def _codes(catalogue: Catalogue, method: Method) -> dict[str, Any]:
    """Code accuracy, AMI, clusters and health of a method's IDs."""
    item_codes = method.item_codes
    num_levels = item_codes.shape[1]
    metrics: dict[str, Any] = {}
    if method.query_codes is not None:
        queries, items = catalogue.q2i.pairs
        metrics["code_accuracy"] = codes.code_accuracy(
            method.query_codes[queries], item_codes[items], item_codes)
    if catalogue.i2i is not None:
        triggers, items = catalogue.i2i.pairs
        metrics["i2i_code_accuracy"] = codes.code_accuracy(
            item_codes[triggers], item_codes[items], item_codes)
    prefixes = codes.prefix_labels(item_codes)
    metrics["ami"] = clustering.ami_matrix(prefixes, catalogue.category)
    metrics["ami_headline"] = headline(metrics["ami"])
    if catalogue.spu is not None:
        large = clustering.large_clusters(prefixes[:, -1])
        metrics["clusters"] = {
            "id": clustering.cluster_report(large, catalogue.spu),
            "cpv": clustering.cluster_report(catalogue.cpv, catalogue.spu)}
        metrics["spu_purity"] = {
            f"prefix{t + 1}": clustering.purity(prefixes[:, t], catalogue.spu)
            for t in range(num_levels)}
    size = method.codebook_size or int(item_codes.max()) + 1
    metrics["codes"] = codes.code_health(item_codes)
    for level in range(1, num_levels + 1):
        health = metrics["codes"][f"l{level}"]
        health.update(method.level_stats.get(level, {}))
        found = codes.finding(level, health, size)
        health.update(collapsed=int(found == codes.COLLAPSED), leak=int(found == codes.LEAK))
    metrics["ids"] = {**codes.id_counts(item_codes), "levels": num_levels, "codebook_size": size}
    return metrics


def headline(ami: dict[str, dict[str, float]]) -> dict[str, float]:
    """cate1_AMI and cate4_AMI of Table 3 with the prefix length that each is taken at.

    Category level j is judged by the prefix of length j, or the whole ID where that is shorter;
    a catalogue of fewer levels gives its deepest instead of the fourth.
    """
    values = {}
    depth = max((len(row) for row in ami.values()), default=0)
    for level in {min(level, depth) for level in PAPER_CATEGORIES} - {0}:
        prefix = min(level, len(ami))
        values[f"cate{level}_AMI"] = ami[f"prefix{prefix}"][f"category{level}"]
        values[f"cate{level}_prefix"] = prefix
    return values


def stage_seconds(manifest: pathlib.Path) -> dict[str, float]:
    """Seconds per finished stage from a run's manifest; empty if it says nothing of them."""
    try:
        stages = json.loads(manifest.read_text(encoding="utf-8")).get("stages", {})
    except (OSError, ValueError, AttributeError):
        return {}
    return {name: float(each["seconds"]) for name, each in stages.items()
            if isinstance(each, dict) and isinstance(each.get("seconds"), (int, float))
            and each.get("status", "done") == "done"}

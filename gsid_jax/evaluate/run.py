"""Evaluates a run: reads its dataset and IDs, writes metrics.json and a tree to look at."""

import json
import os
import pathlib
import time
from typing import Any

from gsid_jax.errors import UserError
from gsid_jax.evaluate import tree
from gsid_jax.evaluate.catalogue import Catalogue, load_catalogue
from gsid_jax.evaluate.judge import judge
from gsid_jax.evaluate.method import Method, load_run
from gsid_jax.manifest import write_json


def evaluate_run(run_dir: str | pathlib.Path,
                 codebook_size: int | None = None) -> dict[str, Any]:
    """Computes all figures of a run's own IDs and writes them under ``RUN/evaluation``.

    Reads ``data/``, ``ids/``, ``step_*/assignment/stats.json`` and ``manifest.json``; the last two
    may be missing. ``codebook_size`` is K, by default that of ``stats.json`` or, without it, what
    the largest code used asks for. Writes ``metrics.json`` and ``tree.txt``, each under a temporary
    name first.
    Returns what ``metrics.json`` holds: plain numbers in nested dictionaries, shares of 1.
    UserError for missing, broken or foreign files (file and numbers in the message).
    """
    start = time.monotonic()
    run_dir = check_run_dir(run_dir)
    catalogue = load_catalogue(run_dir / "data")
    method = load_run(run_dir, catalogue, codebook_size=codebook_size)
    metrics = judge(catalogue, method).metrics
    return write_metrics(run_dir, catalogue, method, metrics, start)


def check_run_dir(run_dir: str | pathlib.Path) -> pathlib.Path:
    """The run's directory; UserError if there is none."""
    run_dir = pathlib.Path(run_dir)
    if not run_dir.is_dir():
        raise UserError(f"run directory {run_dir} is missing; expected the directory that the "
                        "pipeline wrote: check --run_dir")
    return run_dir


def write_metrics(run_dir: pathlib.Path, catalogue: Catalogue, method: Method,
                  metrics: dict[str, Any], start: float | None = None) -> dict[str, Any]:
    """Writes metrics.json, with the seconds of each stage, and tree.txt; returns the metrics."""
    output = run_dir / "evaluation"
    output.mkdir(exist_ok=True)
    partial = output / "tree.txt.tmp"
    partial.write_text(tree.excerpt(catalogue, method), encoding="utf-8")
    os.replace(partial, output / "tree.txt")
    metrics["time"] = stage_seconds(run_dir / "manifest.json")
    if start is not None:
        metrics["time"]["evaluate"] = round(time.monotonic() - start, 3)
    write_json(output / "metrics.json", metrics)
    return metrics


def stage_seconds(manifest: pathlib.Path) -> dict[str, float]:
    """Seconds per finished stage from a run's manifest; empty if it says nothing of them."""
    try:
        stages = json.loads(manifest.read_text(encoding="utf-8")).get("stages", {})
    except (OSError, ValueError, AttributeError):
        return {}
    return {name: float(each["seconds"]) for name, each in stages.items()
            if isinstance(each, dict) and isinstance(each.get("seconds"), (int, float))
            and each.get("status", "done") == "done"}

"""How far published IDs stayed what they were."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.id_files import path_string


def compare(old: np.ndarray, new: np.ndarray) -> dict[str, Any]:
    """Old int [n, T] against new IDs int [n, U] of the same items, over their common levels."""
    levels = min(old.shape[1], new.shape[1])
    same = np.logical_and.accumulate(old[:, :levels] == new[:, :levels], axis=1)
    return {
        "published_items": len(old), "levels_before": old.shape[1], "levels_now": new.shape[1],
        "distinct_ids_before": len(np.unique(old, axis=0)),
        "distinct_ids_now": len(np.unique(new, axis=0)),
        "prefix_kept": {f"l{j + 1}": float(column.mean()) for j, column in enumerate(same.T)},
        "ids_changed": int((~same[:, -1]).sum()) if levels else 0}


def write_changes(path: pathlib.Path, keys: pa.Array, old: np.ndarray, new: np.ndarray) -> None:
    """Writes the items whose ID is another one now: item_id, before, now (paths)."""
    rows = np.flatnonzero((old != new).any(axis=1))
    paths = {name: pa.array([path_string(row) for row in codes[rows].tolist()], pa.string())
             for name, codes in (("before", old), ("now", new))}
    partial = path.with_name(path.name + ".tmp")
    pq.write_table(pa.table({"item_id": keys.take(pa.array(rows)), **paths}), partial)
    partial.replace(path)


def text(report: Mapping[str, Any]) -> str:
    """The report as a few lines."""
    kept = ", ".join(f"{level} {share:.2%}" for level, share in report["prefix_kept"].items())
    own = ", ".join(f"{level} {1 - share:.2%}" for level, share in report["own_choice"].items())
    count = report["published_items"]
    lines = [f"published items: {count:,} ({report['new_items']:,} new beside them); IDs of "
             f"{report['levels_before']} -> {report['levels_now']} codes, "
             f"{report['distinct_ids_before']:,} -> {report['distinct_ids_now']:,} distinct",
             f"published codes kept: {kept or 'none asked for'}; IDs changed in their published "
             f"levels: {report['ids_changed']:,} ({report['ids_changed'] / count:.2%})"]
    if "ids_changed_before_matching" in report:
        before = report["ids_changed_before_matching"]
        lines.append(f"before codes were matched to the old ones: {before:,} ({before / count:.2%})")
    if own:
        lines.append(f"items whose code the model would now choose differently by itself: {own}")
    health = report["level"]
    lines.append(f"codes of level {report['levels_now']}: {health['used']} used, perplexity "
                 f"{health['perplexity']:.1f}, conditional {health['conditional_perplexity']:.2f}, "
                 f"largest {health['max_share']:.0%}")
    return "\n".join(lines)

"""Console tables, printed from what metrics.json holds. Shares are shown as percentages.

Every table takes ``{method name: metrics}`` and has a line for each method, so that several can be
compared; the name is shown where there is more than one.
"""

import json
import pathlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from gsid_jax.evaluate import codes

Methods = Mapping[str, Mapping[str, Any]]
RETRIEVAL = ("recall@1", "recall@10", "recall@100", "mrr@100")
SPLITS = {"q2i_by_query": "queries", "q2i_by_item": "items",
          "i2i_by_trigger": "triggers", "i2i_by_item": "items"}
NO_VALUE = "-"


def render(methods: Methods) -> str:
    """All tables, one below the other; those without any figure are left out."""
    parts = [table(methods) for table in
             (data_line, retrieval_table, code_table, health_table, ami_table, cluster_table,
              time_line)]
    return "\n\n".join(part for part in parts if part) + "\n"


def report(run_dir: str | pathlib.Path, tree: bool = True) -> str:
    """The tables of an evaluated run, and the excerpt of its tree, read from RUN/evaluation."""
    output = pathlib.Path(run_dir) / "evaluation"
    metrics = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    text = render({"GSID": metrics})
    if tree:
        text += "\n" + (output / "tree.txt").read_text(encoding="utf-8")
    return text


def grid(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligns cells: text to the left, numbers to the right. '' without rows; no empty notes."""
    if not rows:
        return ""
    if header[-1] == "note" and not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    widths = [max(_width(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [title]
    for row in (header, *rows):
        cells = [_pad(cell, width, left=i == 0 or header[i] == "note")
                 for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    """Columns that the text takes on a console; Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _pad(text: str, width: int, left: bool) -> str:
    space = " " * (width - _width(text))
    return text + space if left else space + text


def _percent(value: float | None) -> str:
    return NO_VALUE if value is None else f"{100 * value:.1f}"


def _label(methods: Methods, name: str, text: str) -> str:
    return text if len(methods) == 1 else f"{name}: {text}"


def _levels(part: Mapping[str, Any]) -> list[str]:
    return sorted(part, key=lambda level: int(level[1:]))


def data_line(methods: Methods) -> str:
    """What was judged: counts, and whose categories."""
    data = next(iter(methods.values()))["data"]
    source = "true categories" if data["category_is_truth"] else "the seller's categories"
    text = (f"{data['items']:,} items ({data['items'] - data['items_seen']:,} unseen in training), "
            f"{data['queries']:,} queries; held out: {data['q2i_triggers']:,} queries with "
            f"{data['q2i_pairs']:,} items")
    if "i2i_triggers" in data:
        text += f", {data['i2i_triggers']:,} trigger items with {data['i2i_pairs']:,} items"
    if data["items_with_category"]:
        text += f"; {source} of {data['items_with_category']:,} items"
    else:
        text += "; no categories"
    return text


def retrieval_table(methods: Methods) -> str:
    """Table 2: Recall@k and MRR@k, whole and split."""
    rows = []
    for task in ("q2i", "i2i"):
        for name, metrics in methods.items():
            if task not in metrics:
                continue
            triggers = f"{metrics['data'][f'{task}_triggers']:,}"
            rows.append([_label(methods, name, task), triggers,
                         *(_percent(metrics[task][key]) for key in RETRIEVAL)])
            for split, noun in SPLITS.items():
                if split.startswith(task):
                    rows.extend(
                        [_label(methods, name, f"  {kind} {noun}"), f"{part['triggers']:,}",
                         *(_percent(part[key]) for key in RETRIEVAL)]
                        for kind, part in metrics.get(split, {}).items())
    return grid("Retrieval of the whole pool (%)",
                ["", "triggers", "R@1", "R@10", "R@100", "MRR@100"], rows)


def code_table(methods: Methods) -> str:
    """Table 3, below: code accuracy of held-out pairs beside chance."""
    rows = []
    for key, noun in (("code_accuracy", "query-item"), ("i2i_code_accuracy", "item-item")):
        for name, metrics in methods.items():
            for level in _levels(metrics.get(key, {})):
                value = metrics[key][level]
                rows.append([_label(methods, name, f"{level} {noun}"), _percent(value["raw"]),
                             _percent(value["chance"]), _percent(value["corrected"]),
                             _note(metrics, level)])
    return grid("Code accuracy: first j codes agree (%)",
                ["", "raw", "chance", "corrected", "note"], rows)


def _note(metrics: Mapping[str, Any], level: str) -> str:
    """Flags a level if its codes, or those of a level before it, have collapsed or leak."""
    before = [metrics["codes"][f"l{j}"] for j in range(1, int(level[1:]) + 1)
              if f"l{j}" in metrics.get("codes", {})]
    if any(health["collapsed"] for health in before):
        return codes.COLLAPSED
    return codes.LEAK if any(health["leak"] for health in before) else ""


def health_table(methods: Methods) -> str:
    """Health of the codes of each level, and how many items share an ID."""
    rows, lines = [], []
    for name, metrics in methods.items():
        for level in _levels(metrics.get("codes", {})):
            health = metrics["codes"][level]
            size = metrics["ids"]["codebook_size"]
            rows.append([
                _label(methods, name, level), f"{health['used']} of {size}",
                f"{health['perplexity']:.1f}", _percent(health["perplexity"] / size),
                _percent(health["max_share"]), f"{health['conditional_perplexity']:.2f}",
                _percent(health.get("keep")), _percent(health.get("agreement")),
                _note(metrics, level)])
        if "ids" in metrics:
            ids = metrics["ids"]
            lines.append(_label(methods, name, (
                f"{ids['distinct']:,} distinct IDs, {ids['mean_items']:.2f} items per ID (at most "
                f"{ids['max_items']:,}); {ids['shared']:,} IDs shared by "
                f"{ids['items_in_shared']:,} items")))
    table = grid("Health of the codes",
                 ["", "used", "perplexity", "% of K", "max share %", "conditional", "keep %",
                  "agreement %", "note"], rows)
    return "\n".join([table, *(f"  {line}" for line in lines)]) if rows else ""


def ami_table(methods: Methods) -> str:
    """Table 3, above: AMI of ID prefixes with category levels."""
    rows, lines = [], []
    depth = max((len(row) for metrics in methods.values()
                 for row in metrics.get("ami", {}).values()), default=0)
    for name, metrics in methods.items():
        for prefix, row in metrics.get("ami", {}).items():
            if row:
                values = (row.get(f"category{level + 1}") for level in range(depth))
                rows.append([_label(methods, name, prefix), *map(_percent, values),
                             _note(metrics, f"l{prefix.removeprefix('prefix')}")])
        headline = metrics.get("ami_headline", {})
        named = [f"{key} {_percent(value)} (prefix {headline[key.replace('AMI', 'prefix')]})"
                 for key, value in headline.items() if key.endswith("_AMI")]
        if named:
            lines.append(_label(methods, name, ", ".join(named)))
    table = grid("AMI of ID prefix and category (%)",
                 ["", *(f"category{level + 1}" for level in range(depth)), "note"], rows)
    return "\n".join([table, *(f"  {line}" for line in lines)]) if rows else ""


def cluster_table(methods: Methods) -> str:
    """Table 1: coverage and accuracy of the seller's structure (CPV) and of the IDs."""
    rows, lines = [], []
    for i, (name, metrics) in enumerate(methods.items()):
        clusters = metrics.get("clusters", {})
        for kind in ("cpv", "id") if i == 0 else ("id",):
            if kind in clusters:
                value = clusters[kind]
                label = "CPV" if kind == "cpv" else _label(methods, name, "IDs of 5 items or more")
                rows.append([label, f"{value['clusters']:,}",
                             *(_percent(value.get(key))
                               for key in ("coverage", "accuracy", "purity")),
                             "" if kind == "cpv" else _note(metrics, f"l{len(metrics['codes'])}")])
        if metrics.get("spu_purity"):
            purities = ", ".join(f"{prefix} {_percent(value)}"
                                 for prefix, value in metrics["spu_purity"].items())
            lines.append(_label(methods, name, f"SPU purity of all items: {purities}"))
    table = grid("Clusters against true products (%)",
                 ["", "clusters", "coverage", "accuracy", "SPU purity", "note"], rows)
    return "\n".join([table, *(f"  {line}" for line in lines)]) if rows else ""


def time_line(methods: Methods) -> str:
    """Seconds per stage."""
    return "\n".join(
        _label(methods, name, "Time: " + ", ".join(
            f"{stage} {seconds:.1f} s" for stage, seconds in metrics["time"].items()))
        for name, metrics in methods.items() if metrics.get("time"))

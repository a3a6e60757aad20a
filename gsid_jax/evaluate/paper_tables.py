"""The paper's Tables 1, 2 and 3 for any methods, as structured cells, text and Markdown.

All figures are percentages, mean and (over several runs) standard deviation. The best of a column
is marked among methods that are healthy and comparable: a collapsed method is never best.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gsid_jax.evaluate import specs, tables

RETRIEVAL = (("recall@1", "R@1"), ("recall@10", "R@10"), ("recall@100", "R@100"),
             ("mrr@100", "MRR@100"))
OFF_BRANCHING = 0.15  # relative error of a joint perplexity above which codes are not comparable


@dataclasses.dataclass(frozen=True)
class Cell:
    """A figure: text, its place in the ranking of the column, and whether the difference from the
    reference is sure ('+' reference ahead, '-' behind, '' within the interval or not known)."""

    text: str
    best: bool = False
    sure: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """A method's line. note: a flag, or why the line is not comparable."""

    name: str
    cells: Sequence[Cell]
    note: str = ""
    flagged: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """sections: (heading, rows); a heading may be ''."""

    title: str
    header: Sequence[str]
    sections: Sequence[tuple[str, Sequence[Row]]]
    notes: Sequence[str] = ()


def look_up(values: Mapping[str, Any], path: str) -> float | None:
    """A number by its dotted path; None where there is none."""
    for key in path.split("."):
        if not isinstance(values, Mapping) or key not in values:
            return None
        values = values[key]
    return float(values)


def _figures(method: Mapping[str, Any], path: str) -> tuple[float | None, float | None]:
    return look_up(method["mean"], path), look_up(method["std"], path)


def _cell(value: float | None, deviation: float | None, best: bool = False,
          sure: str = "") -> Cell:
    if value is None:
        return Cell("-")
    text = f"{100 * value:.1f}".replace("-0.0", "0.0")
    return Cell(text + (f" ±{100 * deviation:.1f}" if deviation is not None else ""), best, sure)


def _rows(result: Mapping[str, Any], names: Sequence[str], paths: Sequence[str],
          sample_keys: Sequence[str], comparable: Mapping[str, str],
          leading: Mapping[str, Sequence[Cell]] | None = None) -> list[Row]:
    """Lines of methods; ``comparable`` gives a reason for each one that must not be best."""
    methods = result["methods"]
    healthy = not methods.get(result["reference"], {}).get("flag")
    allowed = [name for name in names if not methods[name]["flag"] and not comparable.get(name)]
    best = {}
    for path in paths:
        values = {name: look_up(methods[name]["mean"], path) for name in allowed}
        known = [value for value in values.values() if value is not None]
        if len(known) > 1:
            best[path] = {name for name, value in values.items()
                          if value is not None and f"{value:.3f}" == f"{max(known):.3f}"}
    rows = []
    for name in names:
        cells = list((leading or {}).get(name, ()))
        for path, key in zip(paths, sample_keys):
            interval = result["differences"].get(name, {}).get(key)
            sure = ""
            if interval and healthy and not methods[name]["flag"]:
                sure = "+" if interval["low"] > 0 else "-" if interval["high"] < 0 else ""
            cells.append(_cell(*_figures(methods[name], path), name in best.get(path, ()), sure))
        flag = methods[name]["flag"]
        rows.append(Row(name.removesuffix(" (matched)"), cells, flag or comparable.get(name, ""),
                        bool(flag)))
    return rows


def retrieval_table(result: Mapping[str, Any]) -> Table | None:
    """Table 2: Recall@k and MRR@k of q2i and i2i."""
    names = [name for name, each in result["methods"].items() if "q2i" in each["mean"]]
    if not names:
        return None
    tasks = [task for task in ("q2i", "i2i")
             if any(task in result["methods"][name]["mean"] for name in names)]
    paths = [f"{task}.{key}" for task in tasks for key, _ in RETRIEVAL]
    header = [f"{task} {label}" for task in tasks for _, label in RETRIEVAL]
    return Table("Table 2. Retrieval from the whole pool (%)", header,
                 [("", _rows(result, names, paths, paths, {}))], _sure_note(result))


def id_table(result: Mapping[str, Any]) -> Table | None:
    """Table 3: AMI of ID prefixes with categories, and code accuracy, at known branching."""
    methods, reference = result["methods"], result["reference"]
    names = [name for name, each in methods.items() if each["has_ids"]]
    if not names:
        return None
    mean = methods.get(reference, methods[names[0]])["mean"]
    levels = sorted(mean["codes"], key=lambda level: int(level[1:]))
    amis = [key for key in mean.get("ami_headline", {}) if key.endswith("_AMI")]
    accuracy = "code_accuracy" if "code_accuracy" in mean else "i2i_code_accuracy"
    paths = ([f"ami_headline.{key}" for key in amis]
             + [f"{accuracy}.{level}.{kind}" for kind in ("raw", "corrected") for level in levels])
    keys = [""] * (len(amis) + len(levels)) + [f"{accuracy}.{level}" for level in levels]
    header = ["clusters by level", *amis, *(f"{level} acc" for level in levels),
              *(f"{level} corr." for level in levels)]
    leading = {name: [Cell(_perplexities(methods[name]["mean"], levels))] for name in names}
    own_names = [name for name in names if not methods[name]["section"]]
    sections = []
    for heading in ("", specs.SAME_K, specs.MATCHED):
        chosen = [name for name in names if methods[name]["section"] == heading]
        if heading == specs.MATCHED:
            together = own_names + chosen
            reasons = {name: _off(methods[name]["mean"], mean, levels) for name in together}
            rows = _rows(result, together, paths, keys, reasons, leading)
            if own_names:
                sections[0] = ("", rows[:len(own_names)])
            rows = rows[len(own_names):]
        else:
            reasons = {name: "other branching" for name in chosen} if heading else {}
            rows = _rows(result, chosen, paths, keys, reasons, leading)
            rows = [dataclasses.replace(row, note=row.note if row.flagged else "") for row in rows]
        if rows:
            sections.append((heading, rows))
    notes = [
        "clusters by level: effective number of clusters of the first 1, 2, ... codes (joint "
        "perplexity). Agreement falls as it grows: compare only within matched branching, where "
        "the best is marked; IDs at the same T and K show what a recipe gives by itself.",
        "acc: held-out pairs of query and item, each side by itself, whose first codes agree; "
        "corr.: the same above chance (0: random IDs). Flat k-means is one clustering a level, no "
        "tree.", *_ami_note(mean), *_sure_note(result)]
    return Table("Table 3. Semantic IDs (%)", header, sections, notes)


def _perplexities(mean: Mapping[str, Any], levels: Sequence[str]) -> str:
    return " / ".join(f"{mean['codes'][level]['joint_perplexity']:.0f}" for level in levels
                      if level in mean["codes"])


def _off(mean: Mapping[str, Any], wanted: Mapping[str, Any], levels: Sequence[str]) -> str:
    for level in levels:
        ratio = (mean["codes"][level]["joint_perplexity"]
                 / wanted["codes"][level]["joint_perplexity"])
        if abs(ratio - 1) > OFF_BRANCHING:
            return f"branching of {level} {ratio - 1:+.0%}"
    return ""


def _ami_note(mean: Mapping[str, Any]) -> list[str]:
    headline = mean.get("ami_headline", {})
    named = [f"{key} at prefix {headline[key.replace('AMI', 'prefix')]:.0f}" for key in headline
             if key.endswith("_AMI")]
    truth = "true categories" if mean["data"]["category_is_truth"] else "the seller's categories"
    return [f"AMI against {truth}: {', '.join(named)}, the same for every method."] if named else []


def _sure_note(result: Mapping[str, Any]) -> list[str]:
    if not result["differences"]:
        return []
    return [f"+ / -: {result['reference']} is ahead of / behind that figure, and the 95% interval "
            "of the paired difference (bootstrap over triggers) leaves out 0."]


def cluster_table(result: Mapping[str, Any]) -> Table | None:
    """Table 1: coverage and accuracy of clusters, the seller's structure (CPV) and IDs."""
    methods = {name: each for name, each in result["methods"].items()
               if "clusters" in each["mean"] and each["section"] != specs.SAME_K}
    if not methods:
        return None
    first = next(iter(methods.values()))
    paths = ["coverage", "accuracy", "purity"]
    rows = [Row("CPV", [Cell(f"{first['mean']['clusters']['cpv']['clusters']:,.0f}"),
                        *(_cell(*_figures(first, f"clusters.cpv.{path}")) for path in paths)])]
    leading = {name: [Cell(f"{each['mean']['clusters']['id']['clusters']:,.0f}")]
               for name, each in methods.items()}
    mean = methods.get(result["reference"], first)["mean"]
    levels = sorted(mean["codes"], key=lambda level: int(level[1:]))
    reasons = {name: _off(each["mean"], mean, levels) for name, each in methods.items()}
    rows += _rows(result, list(methods), [f"clusters.id.{path}" for path in paths], [""] * 3,
                  reasons, leading)
    return Table(
        "Table 1. Clusters against true products (%)",
        ["clusters", "coverage", "accuracy", "SPU purity"], [("", rows)],
        ["coverage: items in a cluster; of whole IDs, those of 5 items or more; of CPV, the items "
         "whose seller filled in category and key attributes. accuracy: pairs of items of one "
         "cluster that are the same product. An ID groups what buyers take for the same, often "
         "more than one product: its accuracy depends on how many IDs there are."])


def all_tables(result: Mapping[str, Any]) -> list[Table]:
    """Tables 1, 2 and 3; those without any figure are left out."""
    made = (cluster_table(result), retrieval_table(result), id_table(result))
    return [table for table in made if table is not None]


def text(result: Mapping[str, Any]) -> str:
    """The tables for a console: * marks the best of a column."""
    parts = []
    for table in all_tables(result):
        rows = []
        for heading, lines in table.sections:
            if heading:
                rows.append([f"({heading})"] + [""] * (len(table.header) + 1))
            for row in lines:
                rows.append([row.name, *(cell.text + cell.sure + ("*" if cell.best else "")
                                         for cell in row.cells), row.note])
        part = tables.grid(table.title, ["", *table.header, "note"], rows)
        parts.append(part + "".join(f"\n  {note}" for note in table.notes))
    if result["left_out"]:
        parts.append("Left out: " + "; ".join(f"{name} ({reason})" for name, reason
                                              in result["left_out"].items()))
    return "\n\n".join(parts) + "\n"


def markdown(result: Mapping[str, Any]) -> str:
    """The tables as Markdown, the best in bold, with what they were made by."""
    parts = []
    for table in all_tables(result):
        lines = [f"**{table.title}**", "", "| | " + " | ".join(table.header) + " | |",
                 "|---|" + "---:|" * len(table.header) + "---|"]
        for heading, rows in table.sections:
            if heading:
                lines.append(f"| *{heading}* |" + " |" * (len(table.header) + 1))
            for row in rows:
                cells = [(f"**{cell.text}**" if cell.best else cell.text) + cell.sure
                         for cell in row.cells]
                note = f"**{row.note}**" if row.flagged else row.note
                lines.append(f"| {row.name} | " + " | ".join(cells) + f" | {note} |")
        parts.append("\n".join([*lines, "", *table.notes]))
    made = result["made"]
    software = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    runs = f"{len(result['run_dirs'])} run" + ("s" if len(result["run_dirs"]) > 1 else "")
    parts.append(f"{runs}. Made by `{without_folders(made['command'])}` on {made['date']}, "
                 f"{made['machine']}, {software}.")
    return "\n\n".join(parts) + "\n"


def without_folders(text: str) -> str:
    """The text with absolute paths cut to their last part: a page says nothing of a machine."""
    return re.sub(r"(?<![\w./])/(?:[\w.+-]+/)+([\w.+-]+)", r"\1", text)

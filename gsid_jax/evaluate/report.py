"""report.html: one file without network, for a comparison and the runs behind it."""

import html
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from gsid_jax.evaluate import (paper_tables, report_charts, report_examples, report_tree, specs,
                               tables)
from gsid_jax.evaluate.catalogue import Catalogue
from gsid_jax.evaluate.method import Method
from gsid_jax.evaluate.report_script import JS
from gsid_jax.evaluate.report_style import CSS

SURE = {"+": "▲", "-": "▼", "": ""}  # the reference ahead, behind
INTERVALS = (("q2i.recall@1", "q2i R@1"), ("q2i.recall@10", "q2i R@10"),
             ("q2i.recall@100", "q2i R@100"), ("q2i.mrr@100", "q2i MRR@100"),
             ("i2i.recall@10", "i2i R@10"))
KINDS = ("head", "torso", "tail", "seen", "unseen")


def page(result: Mapping[str, Any], catalogue: Catalogue, methods: Mapping[str, Method],
         run_dirs: Sequence[pathlib.Path]) -> str:
    """The page as text. The tree and the examples are those of the first run's reference."""
    reference = methods.get(result["reference"])
    has_ids = reference is not None and reference.item_codes is not None
    sections = [
        ("retrieval", "Retrieval", _table(result, paper_tables.retrieval_table(result))),
        ("ids", "Semantic IDs", _table(result, paper_tables.id_table(result))),
        ("clusters", "Clusters", _table(result, paper_tables.cluster_table(result))),
        ("differences", "How sure", _differences(result)),
        ("splits", "Splits", _splits(result)),
        ("health", "Health", _health(result)),
        ("training", "Training", _training(run_dirs)),
    ]
    if has_ids:
        sections += [("tree-section", "ID tree", _tree(catalogue, reference)),
                     ("cpv", "CPV and ID", _cpv(catalogue, reference)),
                     ("failures", "Failures", _failures(catalogue, reference))]
    sections = [each for each in sections if each[2]]
    links = "".join(f'<a href="#{key}">{_text(name)}</a>' for key, name, _ in sections)
    body = "".join(f'<section id="{key}"><h2>{_text(name)}</h2>{content}</section>'
                   for key, name, content in sections)
    title = f"{result['title']}: semantic IDs"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{_text(title)}</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><style>{CSS}</style></head><body><div class="layout">'
        f'<nav><b>Evaluation</b><a href="#top">Summary</a>{links}</nav><main id="top">'
        f"<h1>{_text(result['title'])}</h1>{_summary(result, catalogue)}{body}"
        f"{_foot(result)}</main></div><script>{JS}</script></body></html>\n")


def _text(value: object) -> str:
    return html.escape(str(value))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _summary(result: Mapping[str, Any], catalogue: Catalogue) -> str:
    method = result["methods"].get(result["reference"])
    if method is None:
        return ""
    mean, runs = method["mean"], len(result["run_dirs"])
    tiles = []
    for path, label in (("q2i.recall@10", "q2i R@10, %"), ("q2i.mrr@100", "q2i MRR@100, %"),
                        ("code_accuracy.l1.corrected", "l1 accuracy above chance, %"),
                        ("code_accuracy.l2.corrected", "l2 accuracy above chance, %"),
                        ("ami_headline.cate1_AMI", "cate1 AMI, %"),
                        ("ami_headline.cate4_AMI", "cate4 AMI, %")):
        value = paper_tables.look_up(mean, path)
        if value is not None:
            tiles.append(f'<div class="tile"><b>{_percent(value)}</b><span>{label}</span></div>')
    if "ids" in mean:
        tiles.append(f'<div class="tile"><b>{mean["ids"]["distinct"]:,.0f}</b>'
                     f'<span>distinct IDs, {mean["ids"]["mean_items"]:.1f} items each</span></div>')
    alert = ""
    if method["flag"]:
        alert = (f'<div class="alert">{_text(result["reference"])}: {_text(method["flag"])}. Few '
                 "codes carry all items, or codes repeat their prefix: agreement means nothing "
                 "here, and no figure of these IDs counts as best.</div>")
    many = f"{runs} runs, mean ± standard deviation" if runs > 1 else "one run"
    data = tables.data_line({result["reference"]: {"data": method["runs"][0]["data"]}})
    return (f'<p class="muted">{_text(result["reference"])} beside {len(result["methods"]) - 1} '
            f"other methods; {many}.</p><p class=\"muted\">{_text(data)}.</p>{alert}"
            f'<div class="tiles">{"".join(tiles)}</div>')


def _table(result: Mapping[str, Any], table: paper_tables.Table | None) -> str:
    if table is None:
        return ""
    head = "".join(f'<th class="num">{_text(cell)}</th>' for cell in table.header)
    rows = []
    for heading, lines in table.sections:
        if heading:
            rows.append(f'<tr class="section"><th colspan="{len(table.header) + 1}">'
                        f"{_text(heading[0].upper() + heading[1:])}</th></tr>")
        for row in lines:
            kind = ("flagged" if row.flagged else
                    "reference" if row.name == result["reference"] else "")
            cells = "".join(
                f'<td class="num{" best" if cell.best else ""}">{_figure(cell.text)}'
                + (f'<sup class="sure">{SURE[cell.sure]}</sup>' if cell.sure else "") + "</td>"
                for cell in row.cells)
            note = (f'<span class="{"badge" if row.flagged else "hint"}">{_text(row.note)}</span>'
                    if row.note else "")
            rows.append(f'<tr class="{kind}"><th>{_text(row.name)} {note}</th>{cells}</tr>')
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in table.notes).replace(
        "+ / -:", "▲ / ▼:")
    return (f'<h3>{_text(table.title)}</h3><div class="scroll"><table><thead><tr><th></th>{head}'
            f'</tr></thead><tbody>{"".join(rows)}</tbody></table></div>{notes}')


def _figure(text: str) -> str:
    """A cell's text, its deviation in small print."""
    mean, sign, deviation = text.partition(" ±")
    return _text(mean) + (f" <small>±{_text(deviation)}</small>" if sign else "")


def _differences(result: Mapping[str, Any]) -> str:
    """Intervals of the reference's lead over each comparable, healthy method."""
    levels = sorted(key for each in result["differences"].values() for key in each
                    if key.startswith("code_accuracy."))
    wanted = [*INTERVALS, *((key, f"{key.split('.')[1]} accuracy above chance, matched branching")
                            for key in dict.fromkeys(levels))]
    parts = []
    for key, title in wanted:
        rows = [(name.removesuffix(" (matched)"), each[key])
                for name, each in result["differences"].items()
                if key in each and not result["methods"][name]["flag"]
                and ("code" not in key or result["methods"][name]["section"] == specs.MATCHED)]
        parts.append(report_charts.intervals(f"{result['reference']} less others: {title}, points",
                                             rows))
    if not any(parts):
        return ""
    return ('<p class="muted">Paired differences with 95% intervals, bootstrap over triggers. '
            'To the right of the line the reference is ahead.</p>' + "".join(parts))


def _splits(result: Mapping[str, Any]) -> str:
    """Recall@10 and l1 accuracy by frequency of the query, and by seen and unseen sides."""
    rows = []
    for name, method in result["methods"].items():
        mean = method["mean"]
        if "q2i_by_query" in mean:
            cells = [paper_tables.look_up(mean, f"q2i_by_query.{kind}.recall@10") for kind in KINDS]
            cells += [paper_tables.look_up(mean, f"q2i_by_item.{kind}.recall@10")
                      for kind in ("seen", "unseen")]
            rows.append((f"{name}: q2i R@10", cells))
    for name, method in result["methods"].items():
        split = method["mean"].get("code_accuracy_by")
        if split and method["section"] != specs.SAME_K and not method["flag"]:
            kinds = ("head", "torso", "tail", "seen query", "unseen query", "seen item",
                     "unseen item")
            rows.append((f"{name}: l1 corr.",
                         [paper_tables.look_up(split, f"{kind}.l1") for kind in kinds]))
    if not rows:
        return ""
    header = ("head", "torso", "tail", "seen query", "unseen query", "seen item", "unseen item")
    return _plain("By query frequency and by what training saw (%)", header,
                  [(name, [_percent(value) for value in cells]) for name, cells in rows])


def _plain(title: str, header: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    head = "".join(f'<th class="num">{_text(cell)}</th>' for cell in header)
    lines = "".join(f"<tr><th>{_text(name)}</th>"
                    + "".join(f'<td class="num">{_text(cell)}</td>' for cell in cells) + "</tr>"
                    for name, cells in rows)
    return ((f"<h3>{_text(title)}</h3>" if title else "")
            + f'<div class="scroll"><table><thead><tr><th></th>{head}</tr>'
            f"</thead><tbody>{lines}</tbody></table></div>")


def _health(result: Mapping[str, Any]) -> str:
    """Use of the codes per level of the methods that have IDs, sharing of IDs, AMI matrix."""
    rows, shared, amis = [], [], []
    for name, method in result["methods"].items():
        mean = method["mean"]
        for level, health in sorted(mean.get("codes", {}).items(), key=lambda each: each[0]):
            flag = method["flag"]
            rows.append((f"{name} {level}" + (f" ({flag})" if flag else ""), [
                f"{health['used']:.0f}", f"{health['perplexity']:.1f}",
                _percent(health["max_share"]), f"{health['conditional_perplexity']:.2f}",
                f"{health['joint_perplexity']:.0f}", _percent(health.get("keep")),
                _percent(health.get("agreement"))]))
        if "ids" in mean:
            ids = mean["ids"]
            extra = ", ".join(f"{key.replace('_', ' ')} {value:.2f}"
                              for key, value in method["extra"].items())
            shared.append((name, [f"{ids['distinct']:,.0f}", f"{ids['mean_items']:.2f}",
                                  f"{ids['max_items']:,.0f}", f"{ids['shared']:,.0f}",
                                  f"{ids['items_in_shared']:,.0f}", extra]))
        if name == result["reference"]:
            amis = [(prefix, [_percent(value) for value in row.values()])
                    for prefix, row in mean.get("ami", {}).items() if row]
    if not rows:
        return ""
    own = [row for row in rows if row[0].startswith(f"{result['reference']} l")]
    header = ["used", "perplexity", "largest, %", "conditional", "joint", "keep, %", "agreement, %"]
    text = _plain("Use of the codes", header, own)
    others = [row for row in rows if row not in own]
    if others:
        text += (f"<details><summary>Other methods</summary>{_plain('', header, others)}"
                 "</details>")
    text += _plain("Sharing of IDs", ["distinct", "items per ID", "largest", "shared IDs",
                                      "items in them", ""], shared)
    text += ('<p class="note">Shared IDs: retrieval ranks items by their vectors, so items of one '
             "ID are told apart; code accuracy counts a pair as agreeing when the IDs are equal, "
             "whichever of the items was meant; AMI, purity and Table 1 take all items of one ID as "
             "one cluster.</p>")
    pairs = [(name, [_percent(value["corrected"]) for _, value in sorted(accuracy.items())])
             for name, method in result["methods"].items() if not method["flag"]
             and (accuracy := method["mean"].get("i2i_code_accuracy"))]
    if pairs:
        text += _plain("Items relevant to each other (i2i) whose first codes agree, above chance (%)",
                       [f"l{i + 1}" for i in range(len(pairs[0][1]))], pairs)
    if amis:
        text += _plain(f"{result['reference']}: AMI of ID prefix and category level (%)",
                       [f"category {i + 1}" for i in range(len(amis[0][1]))], amis)
    return text


def _training(run_dirs: Sequence[pathlib.Path]) -> str:
    charts = report_charts.training(run_dirs)
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _tree(catalogue: Catalogue, method: Method) -> str:
    data = report_tree.build(catalogue, method)
    # '<' would end the script element inside a title.
    text = json.dumps(data.plain(), ensure_ascii=False, separators=(",", ":")).replace(
        "<", "\\u003c")
    bound = ("" if len(data.nodes) < report_tree.MAX_NODES else
             f" The {len(data.nodes):,} largest nodes are on this page.")
    return (
        f'<p class="muted">{data.items:,} items and {data.queries:,} queries in {data.distinct:,} '
        f"IDs of {data.levels} levels. Open a node to see typical titles and queries, its category "
        f"mix and its children; large nodes are described by a sample of {report_tree.SAMPLE}."
        f'{bound}</p><div class="search"><input id="tree-search" type="search" '
        'placeholder="Search titles, queries or a path such as 3-17" aria-label="Search the ID '
        'tree" autocomplete="off"></div><div class="results" id="tree-results"></div>'
        f'<ul class="tree" id="tree"></ul><script type="application/json" id="tree-data">{text}'
        "</script>")


def _cpv(catalogue: Catalogue, method: Method) -> str:
    kinds = ((report_examples.one_id_many_cpv(catalogue, method), "Same goods, different CPV, one "
              "ID"), (report_examples.one_cpv_many_ids(catalogue, method),
                      "Same CPV, different IDs"))
    text = ""
    for examples, title in kinds:
        if examples:
            text += f"<h3>{_text(title)}</h3>"
        for example in examples:
            lines = "".join(f'<tr><td>{_text(name)}</td><td>{_text(cpv)}</td><td class="id">'
                            f"{_text(path)}</td></tr>" for name, cpv, path in example.rows)
            text += (f'<div class="example"><h4>{_text(example.heading)}</h4><div class="scroll">'
                     "<table><thead><tr><th>title</th><th>what the seller filled in</th><th>ID</th>"
                     f"</tr></thead><tbody>{lines}</tbody></table></div></div>")
    return text


def _failures(catalogue: Catalogue, method: Method) -> str:
    number, shown = report_examples.failures(catalogue, method)
    text = ""
    if shown:
        pairs = len(catalogue.q2i.relevant.values)
        lines = "".join(
            f"<tr><td>{_text(each.query)}{' <span class=hint>unseen</span>' if each.unseen else ''}"
            f'</td><td class="id">{_text(each.query_id)}</td><td>{_text(each.item)}</td>'
            f'<td class="id">{_text(each.item_id)}</td></tr>' for each in shown)
        text += (f"<h3>Query and item differ in the first code</h3><p class=\"muted\">{number:,} of "
                 f"{pairs:,} held-out pairs; {len(shown)} drawn at random.</p>"
                 '<div class="scroll">'
                 "<table><thead><tr><th>query</th><th>its ID</th><th>item</th><th>its ID</th></tr>"
                 f"</thead><tbody>{lines}</tbody></table></div>")
    boxes = "".join(
        f'<div class="example"><h4><span class="id">{_text(path)}</span> {size:,} items</h4><ul>'
        + "".join(f"<li>{_text(title)}</li>" for title in titles) + "</ul></div>"
        for path, size, titles in report_examples.biggest(catalogue, method))
    return text + f'<h3>The IDs that most items share</h3><div class="columns">{boxes}</div>'


def _foot(result: Mapping[str, Any]) -> str:
    made = result["made"]
    software = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    left_out = "".join(f"<p>Left out: {_text(name)} ({_text(reason)}).</p>"
                       for name, reason in result["left_out"].items())
    runs = ", ".join(result["run_dirs"])
    return (f"<footer>{left_out}<p>Runs: {_text(runs)}.</p><p><code>{_text(made['command'])}</code>"
            f"</p><p>{_text(made['date'])}, {_text(made['machine'])}, {_text(software)}.</p>"
            "</footer>")

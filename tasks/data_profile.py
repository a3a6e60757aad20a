"""What raw files look like: counts, lengths, duplicates, encodings, depth, head and tail.

Each file is read once, by the readers that the build uses; bad records are counted, not fatal.
"""

import collections
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from gsid_jax.errors import UserError
from tasks import duplicates, events as event_files, pairs as pair_sums, raw_formats, raw_paths
from tasks import raw_records
from tasks.dataset_settings import Settings
from tasks.raw_files import Rejects, Source, read_records

EXAMPLES = 3  # bad records shown per reason
TOKEN_TEXTS = 20_000  # texts tokenised, evenly spread
TOKEN_CHARACTERS = 10_000  # of a text that are tokenised
QUANTILES = (0, 50, 90, 99, 100)
LONG_TEXT = 2000  # characters beyond which nothing reaches a model of 512 tokens
SNIFF_BYTES = 1 << 20


class CountedRejects(Rejects):
    """Counts bad records by kind of file and reason, and keeps the first of each as examples."""

    def __init__(self):
        super().__init__()
        self.examples: dict[str, list[str]] = {}

    def add(self, path: Any, number: int, bad: raw_formats.BadRecord, raw: Any) -> None:
        self.counts[bad.reason] += 1
        kept = self.examples.setdefault(bad.reason, [])
        if len(kept) < EXAMPLES:
            kept.append(f"{path.name}, {raw_formats.unit(path)} {number}: {bad.message()}")


class Profile:
    """Collects what ``tools.validate`` reports.

    Args:
      settings: the build's; they decide what it would drop.
      tokenizer: a SentencePiece processor, or None.
    """

    def __init__(self, settings: Settings, tokenizer: Any = None):
        self._settings, self._tokenizer = settings, tokenizer
        self._known: dict[str, int] = {}

    def run(self, sources: Mapping[str, Source]) -> dict[str, Any]:
        """Reads every source once; returns the report, plain numbers and texts by name."""
        report: dict[str, Any] = {"files": {kind: _files(source)
                                            for kind, source in sources.items()}}
        readers: dict[str, Callable] = {
            "items": self._items, "interactions": self._interactions,
            "sequences": self._sequences, "q2i_test": self._triggers("q2i_test"),
            "i2i_test": self._triggers("i2i_test"), "truth": self._truth,
            "item_pairs": self._pairs}
        for kind, read in readers.items():
            if kind not in sources:
                continue
            rejects = CountedRejects()
            try:
                found = read(sources[kind], rejects)
            except UserError as error:
                found = {"records": 0, "error": str(error)}
            report[kind] = found | {
                "rejected": dict(sorted(rejects.counts.items())), "examples": rejects.examples}
        return report

    def _items(self, source: Source, rejects: Rejects) -> dict[str, Any]:
        texts, depths, keys, long = _Lengths(self._tokenizer), collections.Counter(), {}, 0
        same = without = attributes = 0
        roots: collections.Counter[str] = collections.Counter()
        parents: dict[str, set[str]] = {}
        for item in read_records(source, "items", raw_records.ITEM_FIELDS,
                                 lambda record: raw_records.parse_item(record, self._known),
                                 rejects):
            self._known[item.item_id] = len(self._known)
            texts.add(item.text)
            long += len(item.text) > LONG_TEXT
            key = duplicates.text_key(item.text)
            same += key in keys
            keys[key] = None
            without += item.text == item.title
            attributes += item.attributes is not None
            depths[len(item.category or [])] += 1
            if item.category:
                roots[item.category[0]] += 1
                for parent, child in zip(item.category, item.category[1:]):
                    parents.setdefault(child, set()).add(parent)
        return {
            "records": len(self._known), "same_text_as_an_earlier_item": same,
            "without_description": without, "with_attributes": attributes,
            "over_long": long, "text": texts.report(),
            "category_depth": {str(depth): count for depth, count in sorted(depths.items())},
            "root_categories": len(roots),
            "categories_with_several_parents": sum(len(found) > 1 for found in parents.values())}

    def _interactions(self, source: Source, rejects: Rejects) -> dict[str, Any]:
        queries: dict[str, int] = {}
        settings = self._settings
        events = event_files.read_events(source, self._known, queries, settings.weights, rejects,
                                         settings.lower)
        lengths = _Lengths(self._tokenizer)
        for query in queries:
            lengths.add(query)
        kept, dropped = pair_sums.guard(events, settings, len(queries))
        pairs = pair_sums.sum_events(kept, settings.weights, len(queries))
        left, light = pair_sums.cut_off(pairs, settings, len(queries), len(self._known))
        timed = events.time[events.time != event_files.NO_TIME]
        users = events.user[events.user != event_files.NO_USER]
        names = list(queries)
        return {
            "records": events.read, "of_no_weight": events.read - len(events.query),
            "pairs": len(pairs.query), "queries": len(queries),
            "items_with_interactions": len(np.unique(pairs.item)),
            "items_without": len(self._known) - len(np.unique(pairs.item)),
            "counts": dict(zip(raw_records.COUNT_FIELDS, events.counts.sum(axis=0).tolist())),
            "users": len(np.unique(users)), "without_user": len(events.query) - len(users),
            "times": [int(timed.min()), int(timed.max())] if len(timed) else None,
            "without_time": len(events.query) - len(timed), "text": lengths.report(),
            "query_shape": shape(pairs.query, pairs.weight),
            "item_shape": shape(pairs.item, pairs.weight),
            "heaviest_queries": _heaviest(pairs, names),
            "widest_query": _widest(pairs, names),
            "events_of_the_busiest_user": int(np.unique(users, return_counts=True)[1].max())
            if len(users) else 0,
            "would_drop": dropped | light, "pairs_left": len(left.query)}

    def _sequences(self, source: Source, rejects: Rejects) -> dict[str, Any]:
        lengths = [len(items) for _, items, _ in read_records(
            source, "sequences", raw_records.SEQUENCE_FIELDS,
            lambda record: raw_records.parse_timed_sequence(record, self._known), rejects)]
        return {"records": len(lengths), "items_viewed": sum(lengths),
                "length": _quantiles(np.array(lengths))}

    def _triggers(self, kind: str) -> Callable[[Source, Rejects], dict[str, Any]]:
        fields, parse = {"q2i_test": (raw_records.Q2I_FIELDS, raw_records.parse_q2i),
                         "i2i_test": (raw_records.I2I_FIELDS, raw_records.parse_i2i)}[kind]

        def read(source: Source, rejects: Rejects) -> dict[str, Any]:
            rows = list(read_records(source, kind, fields,
                                     lambda record: parse(record, self._known), rejects))
            return {"records": len(rows), "triggers": len({trigger for trigger, _ in rows}),
                    "relevant": sum(len(items) for _, items in rows)}

        return read

    def _truth(self, source: Source, rejects: Rejects) -> dict[str, Any]:
        depths, spus = collections.Counter(), set()
        for _, category, spu in read_records(source, "truth", raw_records.TRUTH_FIELDS,
                                             raw_records.truth_parser(self._known), rejects):
            depths[str(len(category))] += 1
            spus.add(spu)
        return {"records": sum(depths.values()), "spus": len(spus),
                "category_depth": dict(sorted(depths.items()))}

    def _pairs(self, source: Source, rejects: Rejects) -> dict[str, Any]:
        rows = [len(similar) for _, similar, _ in read_records(
            source, "item_pairs", raw_records.PAIR_FIELDS,
            lambda record: raw_records.parse_pairs(record, self._known), rejects)]
        return {"records": len(rows), "pairs": sum(rows)}


class _Lengths:
    """Lengths of texts, in characters and, of a sample, in tokens."""

    def __init__(self, tokenizer: Any):
        self._tokenizer, self._lengths = tokenizer, collections.Counter()
        self._sample: list[str] = []
        self._step, self._count = 1, 0

    def add(self, text: str) -> None:
        self._lengths[len(text)] += 1
        if self._tokenizer is not None and not self._count % self._step:
            self._sample.append(text[:TOKEN_CHARACTERS])
            if len(self._sample) == 2 * TOKEN_TEXTS:
                del self._sample[1::2]
                self._step *= 2
        self._count += 1

    def report(self) -> dict[str, Any]:
        """Quantiles; ``tokens`` only with a tokenizer."""
        values = np.repeat(list(self._lengths), list(self._lengths.values()))
        found = {"characters": _quantiles(values)}
        if self._tokenizer is not None:
            found["tokens"] = _quantiles(np.array([
                len(ids) for ids in self._tokenizer.encode(self._sample)]))
            found["texts_tokenised"] = len(self._sample)
        return found


def _quantiles(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    names = ("min", "median", "p90", "p99", "max")
    return {"mean": round(float(values.mean()), 2)} | {
        name: float(value) for name, value in zip(names, np.percentile(values, QUANTILES))}


def shape(index: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """How unevenly weight lies: shares of the heaviest 1% and 10%, and of those met once.

    ``index`` int [P] says which query or item a pair belongs to, ``weight`` float [P] its weight.
    """
    if not len(index):
        return {}
    _, place, pairs = np.unique(index, return_inverse=True, return_counts=True)
    sums = np.sort(np.bincount(place, weight))[::-1]
    total = sums.sum() or 1.0
    return {"number": len(sums),
            "heaviest_1%": round(float(sums[:max(1, len(sums) // 100)].sum() / total), 4),
            "heaviest_10%": round(float(sums[:max(1, len(sums) // 10)].sum() / total), 4),
            "with_one_pair": round(float((pairs == 1).mean()), 4),
            "pairs_each": round(float(pairs.mean()), 3), "most_pairs": int(pairs.max())}


def _heaviest(pairs: pair_sums.Pairs, names: list[str], count: int = 5) -> dict[str, float]:
    sums = np.bincount(pairs.query, pairs.weight, len(names))
    return {names[place]: float(sums[place]) for place in np.argsort(-sums, kind="stable")[:count]}


def _widest(pairs: pair_sums.Pairs, names: list[str]) -> dict[str, int]:
    items = np.bincount(pairs.query, minlength=len(names))
    place = int(np.argmax(items))
    return {names[place]: int(items[place])}


def _files(source: Source) -> list[dict[str, Any]]:
    return [{"file": file.name, "bytes": raw_paths.size(file)} | _sniff(file)
            for file in source.files]


def _sniff(file: pathlib.Path | raw_paths.RawFile) -> dict[str, Any]:
    """Encoding and line ends as the first megabyte shows them."""
    if file.name.endswith(raw_paths.PARQUET_SUFFIX):
        return {"encoding": "Parquet"}
    try:
        with raw_paths.open_raw(file) as raw:
            block = raw_paths.unpacked(raw, file.name).read(SNIFF_BYTES)
    except Exception as error:  # the reader says it again, with the kind of file
        return {"encoding": f"cannot be read ({error})"}
    encoding = "ASCII" if block.isascii() else "UTF-8"
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "UTF-16"
    else:
        try:
            block.rsplit(b"\n", 1)[0].decode("utf-8")
        except UnicodeDecodeError:
            encoding = "not UTF-8 everywhere"
    return {"encoding": encoding, "byte_order_mark": block.startswith(raw_formats.BOM),
            "crlf": b"\r\n" in block, "nul_bytes": block.count(b"\0")}


def lines(report: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """The report as text, a name and its value a line."""
    for name, value in report.items():
        if value is None or (isinstance(value, (dict, list)) and not value):
            continue
        if isinstance(value, Mapping) and all(not isinstance(each, (dict, list))
                                              for each in value.values()):
            shown = ", ".join(f"{key} {_number(each)}" for key, each in value.items())
            yield f"{indent}{name}: {shown}"
        elif isinstance(value, Mapping):
            yield f"{indent}{name}"
            yield from lines(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            for each in value:
                yield from lines({name: each}, indent)
        elif isinstance(value, list) and value and isinstance(value[0], str):
            yield from (f"{indent}{name}: {each}" for each in value)
        else:
            yield f"{indent}{name}: {_number(value)}"


def _number(value: Any) -> str:
    if isinstance(value, bool) or isinstance(value, str):
        return str(value)
    if isinstance(value, (int, float)):
        return f"{value:,.10g}" if isinstance(value, float) else f"{value:,}"
    return json.dumps(value)

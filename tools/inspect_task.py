"""Shows what a task makes of its records: raw, preprocessed, decoded, as model features.

    python tools/inspect_task.py --task=gsid_item_cloze --data_dir=RUN/data \\
        --vocabulary=RUN/vocab/sentencepiece.model --n=5

prints --n examples in each view, then statistics over --examples: token lengths, how much is cut
and padded, unknown tokens. A mixture is shown task by task. --step_dir (an assignment directory)
shows gsid_query_item as a later step reads it. What gin configures, a training gin file or
--gin.NAME=value configures here too.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))  # run as a file

import gin  # pylint: disable=wrong-import-position
import numpy as np  # pylint: disable=wrong-import-position

import tasks  # pylint: disable=wrong-import-position
from gsid_jax import feature_converters  # pylint: disable=wrong-import-position
from gsid_jax.errors import UserError  # pylint: disable=wrong-import-position
from tasks import loading, location  # pylint: disable=wrong-import-position
from tasks.vocabulary import VOCABULARY  # pylint: disable=wrong-import-position

DEFAULT_LENGTHS = {"inputs": 64, "targets": 64, "queries": 16}
CONVERTERS = {
    ("inputs", "targets"): feature_converters.PretrainFeatureConverter,
    ("inputs", "queries"): feature_converters.GSIDFeatureConverter,
    ("inputs",): feature_converters.InferenceFeatureConverter,
}
SHOWN = 16  # values of an array


def inspect(name: str, lengths: Mapping[str, int] | None = None, *, split: str = "train",
            n: int = 5, examples: int = 1000, seed: int = 0, out: TextIO = sys.stdout) -> None:
    """Prints the views of ``n`` examples and statistics over ``examples`` of a task or mixture.

    ``lengths`` are by default those bound as TASK_FEATURE_LENGTHS, else DEFAULT_LENGTHS. Raises
    UserError for an unknown name and whatever the task itself refuses.
    """
    provider = loading.get_provider(name)
    for task in getattr(provider, "tasks", [provider]):
        keys = task.length_keys
        chosen = dict(lengths or _bound_lengths() or {key: DEFAULT_LENGTHS[key] for key in keys})
        print(f"task {task.name}, split {split}: {task.num_input_examples(split):,} records, "
              f"lengths {chosen}", file=out)
        _show_examples(task, chosen, split, n, seed, out)
        _show_statistics(task, chosen, split, examples, seed, out)


def _bound_lengths() -> Mapping[str, int] | None:
    try:
        return gin.query_parameter("%TASK_FEATURE_LENGTHS")
    except ValueError:
        return None


def _show_examples(task: Any, lengths: Mapping[str, int], split: str, n: int, seed: int,
                   out: TextIO) -> None:
    raw = task.source.get_dataset(split, shuffle=False).take(n).as_numpy_iterator()
    processed = task.get_dataset(lengths, split, shuffle=False, seed=seed).take(n)
    converted = CONVERTERS[task.length_keys](pack=False)(processed, lengths).as_numpy_iterator()
    views = zip(raw, processed.as_numpy_iterator(), converted)
    for number, (record, example, features) in enumerate(views, start=1):
        print(f"\n=== {task.name}, example {number} ===\n--- raw", file=out)
        _print_values(record, out)
        print("--- preprocessed", file=out)
        _print_values(example, out)
        print("--- decoded", file=out)
        for key in task.length_keys:
            for ids in np.atleast_2d(example[key]):
                ids = ids[ids != VOCABULARY.pad_id]
                text = VOCABULARY.decode(ids.tolist()) if len(ids) else "(padding)"
                print(f"  {key} ({len(ids)} tokens): {text}", file=out)
        print("--- model features", file=out)
        _print_values(features, out)


def _print_values(values: Mapping[str, Any], out: TextIO) -> None:
    for name in sorted(values):
        print(f"  {name}: {_value(values[name])}", file=out)


def _value(value: Any) -> str:
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind == "S":
        texts = [_text(text) for text in array.reshape(-1)[:SHOWN].tolist()]
        if array.ndim == 0:
            return texts[0]
        more = ", ..." if array.size > SHOWN else ""
        return f"string {list(array.shape)} [{', '.join(texts)}{more}]"
    if array.ndim == 0:
        return f"{array.dtype} {array}"
    shown = np.array2string(array.reshape(-1)[:SHOWN], precision=3, separator=" ",
                            max_line_width=10**6, suppress_small=True)
    more = " ..." if array.size > SHOWN else ""
    return f"{array.dtype} {list(array.shape)} {shown}{more}"


def _text(text: bytes) -> str:
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        decoded = "\0"
    return repr(decoded) if "\0" not in decoded else f"{len(text)} bytes"


def _show_statistics(task: Any, lengths: Mapping[str, int], split: str, examples: int, seed: int,
                     out: TextIO) -> None:
    """Token lengths before cutting, against the limits; then groups, where there are any."""
    shuffle = task.source.performs_internal_shuffling  # in the order of training, if it can
    uncut = task.get_dataset(None, split, shuffle=shuffle, seed=seed).take(examples)
    rows = {key: [] for key in task.length_keys}
    prefixes, unknown = [], dict.fromkeys(task.length_keys, 0)
    count = 0
    for count, example in enumerate(uncut.as_numpy_iterator(), start=1):
        for key in rows:
            ids = np.atleast_2d(example[key])
            rows[key].extend(np.sum(ids != VOCABULARY.pad_id, axis=1).tolist())
            unknown[key] += int(np.sum(ids == VOCABULARY.unk_id))
        if "item_codes" in example:
            prefixes.append(tuple(example["item_codes"].tolist()))
    print(f"\n--- statistics of {task.name} over {count:,} examples, EOS included\n"
          f"  {'':8} {'texts':>7} {'mean':>6} {'median':>6} {'95%':>5} {'max':>5} {'limit':>5} "
          f"{'cut':>6} {'padding':>7} {'unknown':>7}", file=out)
    for key, found in rows.items():
        sizes = np.array([size for size in found if size])
        limit = lengths[key]
        kept = np.minimum(sizes, limit).sum()
        print(f"  {key:8} {len(sizes):7,} {sizes.mean():6.1f} {np.median(sizes):6.0f} "
              f"{np.percentile(sizes, 95):5.0f} {sizes.max():5} {limit:5} "
              f"{np.mean(sizes > limit):6.1%} {1 - kept / (limit * len(found)):7.1%} "
              f"{unknown[key] / sizes.sum():7.2%}", file=out)
    if "queries" in rows:
        valid = np.reshape(rows["queries"], (count, -1)) > 0
        print(f"  queries per item: {valid.sum(1).mean():.2f} of {valid.shape[1]}", file=out)
    if prefixes:
        _show_groups(prefixes, out)
    print(file=out)


def _show_groups(prefixes: list[tuple[int, ...]], out: TextIO) -> None:
    changes = [left != right for left, right in zip(prefixes, prefixes[1:])]
    sizes = np.diff([0, *(np.flatnonzero(changes) + 1), len(prefixes)])
    print(f"  same-prefix neighbours: {len(sizes):,} groups of mean size {sizes.mean():.1f}, "
          f"largest {sizes.max()}; {np.sum(sizes == 1) / len(prefixes):.1%} of the items "
          f"stand alone; {len(set(prefixes)):,} prefixes", file=out)


def parse_lengths(text: str) -> dict[str, int]:
    """'inputs=64,queries=16' -> {'inputs': 64, 'queries': 16}; UserError for anything else."""
    pairs = [part.partition("=") for part in text.split(",")]
    if not all(name and value.strip().isdecimal() for name, _, value in pairs):
        raise UserError(f"--lengths is '{text}'; expected NAME=NUMBER,..., for instance "
                        "inputs=64,targets=64")
    return {name.strip(): int(value) for name, _, value in pairs}


def _configure(args: argparse.Namespace, bindings: Iterable[str]) -> None:
    if args.gin_file or bindings:
        from gsid_jax import launch  # loads the whole library: only where it is needed
        launch.parse_gin(args.gin_file, list(bindings), ["."])
    given = {name: getattr(args, name) for name in ("data_dir", "vocabulary", "step_dir",
                                                    "extra_ids")}
    location.set_location(**{name: value for name, value in given.items() if value is not None})


def main(argv: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", required=True, help=f"task or mixture, see {tasks.__name__}/")
    parser.add_argument("--data_dir", help="holds gsid_catalogue/")
    parser.add_argument("--vocabulary", help="SentencePiece .model file")
    parser.add_argument("--extra_ids", type=int, help="ids behind the model's own")
    parser.add_argument("--step_dir", help="assignment directory of the step before")
    parser.add_argument("--split", default="train")
    parser.add_argument("--lengths", help="NAME=NUMBER,...: tokens kept of each feature")
    parser.add_argument("--n", type=int, default=5, help="examples to show")
    parser.add_argument("--examples", type=int, default=1000, help="examples to count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gin_file", action="append", default=[])
    args, others = parser.parse_known_args(argv)
    try:
        wrong = [other for other in others if not other.startswith("--gin.")]
        if wrong:
            raise UserError(f"unknown argument {wrong[0]}; see --help")
        if args.n < 0 or args.examples < 1:
            raise UserError(f"--n is {args.n} and --examples is {args.examples}; expected at least "
                            "0 and 1")
        _configure(args, [other[len("--gin."):] for other in others])
        lengths = parse_lengths(args.lengths) if args.lengths else None
        inspect(args.task, lengths, split=args.split, n=args.n, examples=args.examples,
                seed=args.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

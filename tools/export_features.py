"""Writes semantic IDs as features of a click model: interest units of items and users (paper 5).

    python -m tools.export_features --run_dir=RUN --output_dir=OUT

writes into OUT, which appears complete or not at all:

  vocabulary.tsv   index, prefix, level, items: one index for every ID prefix; 0 is padding, 1
                   stands for any prefix that is not listed
  items.*          item_id, codes [T], prefix_ids [T]
  users.*          user_id, views, known_views and, for every level j, units_l{j} and weights_l{j}
                   [top_units]: the user's heaviest prefixes of length j, recent views weighing more
  features.json    settings, counts, versions, hashes of the inputs, the model's hash

each table as Parquet and, unless --no-tfrecord, as TFRecord of tf.train.Example with features of
fixed length. --ids takes the output of `gsid_jax.infer` in place of the run's own IDs, --sequences
a file of user sequences (docs/data_format.md) in place of the run's. --vocabulary keeps the indices
of an earlier export, so that a click model goes on with its embedding tables. The same inputs give
the same bytes. Memory: the items' codes and ids and the vocabulary; users are streamed.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from gsid_jax import published_ids
from gsid_jax.code_index import check_same_model
from gsid_jax.errors import UserError
from gsid_jax.index_contents import read_fingerprint
from gsid_jax.manifest import file_hash, read_json, versions, write_json
from gsid_jax.progress import Progress
from tasks import raw_files, raw_records
from tools.features.interest import interest_units
from tools.features.prefixes import PrefixVocabulary, count_ids
from tools.features.tables import FeatureTable
from tools.marketplace.writer import staged_directory

USERS_AT_ONCE = 8192
NOT_THERE = -1


class _Known(dict):
    """item_id -> row; an item without an ID, such as one sold long ago, is row -1."""

    def get(self, key, default=NOT_THERE):
        return super().get(key, NOT_THERE)


def export_features(run_dir: str | pathlib.Path, output_dir: str | pathlib.Path, *,
                    ids: str = "", sequences: str = "", vocabulary: str = "", top_units: int = 8,
                    half_life: float = 4.0, min_items: int = 1, tfrecord: bool = True
                    ) -> dict[str, Any]:
    """Does what the module says; returns what features.json holds.

    Raises UserError for missing or broken inputs, IDs or a vocabulary of another model, and an
    output_dir that is in use.
    """
    run_dir, output_dir = pathlib.Path(run_dir), pathlib.Path(output_dir)
    ids_path = pathlib.Path(ids) if ids else run_dir / "ids" / "items.parquet"
    data = run_dir / "data"
    model = read_fingerprint(run_dir / "ids" / "items.parquet")["model"]
    check_same_model(ids_path, read_fingerprint(ids_path), model)
    sequences_path = pathlib.Path(sequences) if sequences else data / "sequences.parquet"
    inputs = {"ids": ids_path, **({"vocabulary": pathlib.Path(vocabulary)} if vocabulary else {}),
              **({"sequences": sequences_path} if sequences or sequences_path.exists() else {})}
    with staged_directory(str(output_dir)) as staging:
        staging = pathlib.Path(staging)
        prefixes = _vocabulary(ids_path, vocabulary, min_items)
        prefixes.write(staging / "vocabulary.tsv")
        known, item_prefixes, counts = _write_items(staging, ids_path, prefixes, tfrecord)
        if "sequences" in inputs:
            views = _views(sequences_path, data / "items.parquet" if ids else None, known)
            counts |= _write_users(staging, views, item_prefixes, top_units, half_life, tfrecord)
        record = {
            "model": model, "versions": versions(),
            "settings": {"top_units": top_units, "half_life_views": half_life,
                         "min_items": min_items, "tfrecord": tfrecord},
            "inputs": {name: {"file": path.name, "sha256": file_hash(path)}
                       for name, path in inputs.items()},
            "vocabulary": {"size": len(prefixes), "levels": prefixes.levels, "padding": 0,
                           "unknown": 1, "sha256": file_hash(staging / "vocabulary.tsv")},
            "counts": counts}
        write_json(staging / "features.json", record)
    return record


def _vocabulary(ids_path: pathlib.Path, earlier: str, min_items: int) -> PrefixVocabulary:
    if not earlier:
        if min_items < 1:
            raise UserError(f"--min_items={min_items}; expected at least 1 item per prefix")
        return PrefixVocabulary.build(
            *count_ids(codes for _, codes in published_ids.batches(ids_path, [])), min_items)
    prefixes = PrefixVocabulary.read(earlier)
    made_by = read_json(pathlib.Path(earlier).with_name("features.json"), "restore the file")
    if made_by:
        check_same_model(ids_path, read_fingerprint(ids_path), made_by["model"])
    return prefixes


def _write_items(directory: pathlib.Path, ids_path: pathlib.Path, prefixes: PrefixVocabulary,
                 tfrecord: bool) -> tuple[dict[str, int], np.ndarray, dict[str, Any]]:
    """Returns item_id -> row, prefix indices int32 [N, T] and counts."""
    known: dict[str, int] = _Known()
    rows = pq.read_metadata(ids_path).num_rows
    indices, done = np.zeros((rows, prefixes.levels), np.int32), 0
    progress = Progress("features of items", rows)
    with FeatureTable(directory / "items", tfrecord) as table:
        for batch, codes in published_ids.batches(ids_path, ["item_id"]):
            if codes.shape[1] != prefixes.levels:
                raise UserError(f"{ids_path} has IDs of {codes.shape[1]} codes; expected "
                                f"{prefixes.levels}, as in the vocabulary: give one of this run")
            found, names = prefixes.lookup(codes), batch["item_id"].to_pylist()
            indices[done:done + len(found)] = found
            known.update(zip(names, range(done, done + len(found))))
            table.write({"item_id": names, "codes": codes, "prefix_ids": found})
            done += len(found)
            progress.update(len(found))
    progress.finish()
    if len(known) != done:
        raise UserError(f"{ids_path}: {done - len(known)} of {done} item_ids are repeated; expected "
                        "each item once")
    unknown = {f"l{j + 1}": int((column == 1).sum()) for j, column in enumerate(indices.T)}
    return known, indices, {"items": done, "items_with_unknown_prefix": unknown}


def _views(path: pathlib.Path, items: pathlib.Path | None, known: dict[str, int]
           ) -> Iterator[tuple[str, list[int]]]:
    """Yields (user_id, rows of the items in time order, -1 for one without an ID).

    A dataset's own sequences hold item indices: rows of its own IDs or, for other IDs, rows of the
    table ``items``, which tells their item_id.
    """
    path = raw_files.check_path(path, "sequences")
    if path.suffix == ".parquet" and "item_indices" in pq.read_schema(path).names:
        rows = None if items is None else [
            known.get(each) for each in
            pq.read_table(items, columns=["item_id"])["item_id"].to_pylist()]
        for user, viewed in _indexed(path):
            yield user, viewed if rows is None else [rows[item] for item in viewed]
        return
    yield from raw_files.read_records(
        path, "sequences", raw_records.SEQUENCE_FIELDS,
        lambda record: raw_records.parse_sequence(record, known), raw_files.Rejects())


def _indexed(path: pathlib.Path) -> Iterator[tuple[str, list[int]]]:
    for batch in pq.ParquetFile(path).iter_batches(USERS_AT_ONCE):
        yield from zip(batch.column("user_id").to_pylist(), batch.column("item_indices").to_pylist())


def _write_users(directory: pathlib.Path, views: Iterator[tuple[str, list[int]]],
                 item_prefixes: np.ndarray, top: int, half_life: float, tfrecord: bool
                 ) -> dict[str, int]:
    totals = {"users": 0, "views": 0, "known_views": 0}
    with FeatureTable(directory / "users", tfrecord) as table:
        for users in _chunks(views):
            lengths = np.array([len(viewed) for _, viewed in users])
            owner = np.repeat(np.arange(len(users)), lengths)
            items = np.concatenate([np.asarray(viewed, np.int64) for _, viewed in users])
            age = np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(len(items))
            there = items >= 0
            known_views = np.bincount(owner[there], minlength=len(users))
            columns = {"user_id": [user for user, _ in users], "views": lengths.astype(np.int32),
                       "known_views": known_views.astype(np.int32)}
            for level in range(item_prefixes.shape[1]):
                unit = np.where(there, item_prefixes[items, level], 0)
                columns[f"units_l{level + 1}"], columns[f"weights_l{level + 1}"] = interest_units(
                    owner, age, unit, len(users), top, half_life)
            table.write(columns)
            for name, value in zip(totals, (len(users), lengths.sum(), known_views.sum())):
                totals[name] += int(value)
    return totals


def _chunks(views: Iterator[tuple[str, list[int]]]) -> Iterator[list[tuple[str, list[int]]]]:
    chunk = []
    for view in views:
        chunk.append(view)
        if len(chunk) == USERS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run_dir", required=True, help="directory of a pipeline run")
    parser.add_argument("--output_dir", required=True, help="a new or empty directory")
    parser.add_argument("--ids", default="", help="IDs by gsid_jax.infer; default: the run's")
    parser.add_argument("--sequences", default="", help="user sequences; default: the run's")
    parser.add_argument("--vocabulary", default="", help="vocabulary.tsv of an earlier export")
    parser.add_argument("--top_units", type=int, default=8, help="units kept per user and level")
    parser.add_argument("--half_life", type=float, default=4.0, help="views until a weight halves")
    parser.add_argument("--min_items", type=int, default=1, help="rarer prefixes are unknown")
    parser.add_argument("--tfrecord", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args(argv)
    try:
        record = export_features(**vars(args))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    counts = record["counts"]
    print(f"wrote {args.output_dir}: {counts['items']:,} items, {counts.get('users', 0):,} users, "
          f"vocabulary of {record['vocabulary']['size']:,} prefixes")
    return 0


if __name__ == "__main__":
    sys.exit(main())

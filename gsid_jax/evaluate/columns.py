"""Reads columns of Parquet sidecars and arrays into NumPy, with checks that name file and row."""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gsid_jax.errors import UserError

NAN_CHECK_ROWS = 65536


def read_table(path: pathlib.Path, columns: list[str], made_by: str) -> pa.Table:
    """Reads columns of a Parquet file. UserError if the file or a column is missing or broken."""
    if not path.exists():
        raise UserError(f"{path} is missing; expected the file written by {made_by}: run that "
                        "stage again")
    try:
        names = pq.read_schema(path).names
        absent = [name for name in columns if name not in names]
        if absent:
            raise UserError(f"{path}: column {', '.join(absent)} is missing, got {', '.join(names)}"
                            f"; expected what {made_by} writes: run that stage again")
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet ({error}); expected the file written by "
                        f"{made_by}: run that stage again") from error


def integers(table: pa.Table, column: str, path: pathlib.Path, limit: int) -> np.ndarray:
    """An integer column, every value from 0 to ``limit - 1``; int64 [rows]."""
    array = table.column(column)
    if array.null_count:
        raise UserError(f"{path}: column {column} has {array.null_count} empty values; expected "
                        "an index in every row")
    values = array.to_numpy().astype(np.int64)
    check_range(values, limit, path, column)
    return values


def check_range(values: np.ndarray, limit: int, path: pathlib.Path, column: str) -> None:
    """Raises UserError for the first value outside 0..limit-1."""
    wrong = np.flatnonzero((values < 0) | (values >= limit))
    if len(wrong):
        raise UserError(f"{path}: column {column} has {len(wrong)} unknown ids, the first is "
                        f"{values[wrong[0]]}; expected 0 to {limit - 1}, the rows of the dataset: "
                        "build the dataset again from one set of files")


def flat_list(table: pa.Table, column: str) -> tuple[np.ndarray, pa.Array]:
    """A list column as (int64 [values] row of each value, the values); empty cells have none."""
    array = table.column(column).combine_chunks()
    if pa.types.is_null(array.type):
        return np.zeros(0, np.int64), pa.array([], pa.string())
    if pa.types.is_fixed_size_list(array.type):
        array = array.cast(pa.list_(array.type.value_type))
    counts = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(array)), counts), array.flatten()


def code_matrix(table: pa.Table, path: pathlib.Path) -> np.ndarray:
    """The column ``codes`` as int32 [N, T]; UserError if rows differ in length or are empty."""
    rows, values = flat_list(table, "codes")
    counts = np.bincount(rows, minlength=len(table))
    if not len(table):
        raise UserError(f"{path} has no rows; expected the codes of every item or query: run the "
                        "final assignment again")
    wrong = np.flatnonzero((counts != counts[0]) | (counts == 0))
    if len(wrong) or values.null_count:
        row = int(wrong[0]) if len(wrong) else 0
        raise UserError(f"{path}: row {row} of column codes has {counts[row]} codes, row 0 has "
                        f"{counts[0]}; expected the same number of levels in every row: run the "
                        "final assignment again")
    codes = values.to_numpy(zero_copy_only=False).reshape(len(table), -1).astype(np.int32)
    if codes.min() < 0:
        raise UserError(f"{path}: column codes holds {codes.min()}; expected codes from 0 up")
    return codes


def vectors(path: pathlib.Path, rows: int, width: int | None = None,
            rows_are: str = "the rows of the dataset") -> np.ndarray:
    """Memory-maps float [rows, D]; UserError for a wrong shape, NaN or infinity."""
    if not path.exists():
        raise UserError(f"{path} is missing; expected the representations written with the IDs: "
                        "run the final assignment again")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(f"{path} cannot be read as a NumPy array ({error}); run the final "
                        "assignment again") from error
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.floating):
        raise UserError(f"{path} holds {array.dtype}{list(array.shape)}; expected float [rows, D]")
    if len(array) != rows:
        raise UserError(f"{path} has {len(array)} rows; expected {rows}, one for each of {rows_are}"
                        ": it was made from another dataset, run infer again")
    if width is not None and array.shape[1] != width:
        raise UserError(f"{path} has vectors of width {array.shape[1]}; expected {width}, the "
                        "width of the items' vectors: both must come from one model")
    for start in range(0, rows, NAN_CHECK_ROWS):
        finite = np.isfinite(array[start:start + NAN_CHECK_ROWS]).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise UserError(f"{path}: row {row} holds NaN or infinity; expected finite numbers: "
                            "the model is broken or its training diverged")
    return array

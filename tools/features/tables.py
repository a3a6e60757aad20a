"""Feature tables as Parquet and TFRecord, written side by side part by part."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class FeatureTable:
    """An open table; every part has the same columns. A context manager that closes the files.

    Columns are lists of strings, or arrays: int64/int32/float32 [n] or [n, width]. In TFRecord a
    column is a feature of the same name and fixed length (bytes, int64 or float).
    """

    def __init__(self, stem: pathlib.Path, tfrecord: bool):
        self.rows = 0
        self._stem, self._writer, self._records = stem, None, None
        if tfrecord:
            from gsid_jax import quiet
            self._tf = quiet.tensorflow()
            self._records = self._tf.io.TFRecordWriter(str(stem.with_suffix(".tfrecord")))

    def write(self, columns: Mapping[str, Any]) -> None:
        """Appends rows."""
        table = pa.table({name: _arrow(values) for name, values in columns.items()})
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._stem.with_suffix(".parquet"), table.schema)
        self._writer.write_table(table)
        self.rows += len(table)
        if self._records is not None:
            self._write_records(columns, len(table))

    def _write_records(self, columns: Mapping[str, Any], rows: int) -> None:
        values = {name: column if isinstance(column, list) else
                  np.asarray(column).reshape(rows, -1).tolist() for name, column in columns.items()}
        floats = {name for name, column in columns.items()
                  if not isinstance(column, list) and column.dtype.kind == "f"}
        train = self._tf.train
        for row in range(rows):
            example = train.Example()
            for name, column in values.items():
                feature = example.features.feature[name]
                if isinstance(column[row], str):
                    feature.bytes_list.value.append(column[row].encode("utf-8"))
                elif name in floats:
                    feature.float_list.value.extend(column[row])
                else:
                    feature.int64_list.value.extend(column[row])
            self._records.write(example.SerializeToString(deterministic=True))

    def __enter__(self) -> "FeatureTable":
        return self

    def __exit__(self, *error) -> None:
        for file in (self._writer, self._records):
            if file is not None:
                file.close()


def _arrow(values: Any) -> pa.Array:
    if isinstance(values, list):
        return pa.array(values, pa.string())
    if values.ndim == 1:
        return pa.array(values)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])

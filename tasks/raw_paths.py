"""Where raw files lie: one file, a glob, a directory or several, local or behind a URI.

What a path may be, whatever the file holds: a local path, a pattern (``logs/*.jsonl.gz``), a
directory (every file of a known type below it), several of these separated by commas, or a URI that
Arrow's file systems read (``s3://``, ``gs://``, ``hdfs://``, ``file://``).
"""

import dataclasses
import glob
import gzip
import hashlib
import io
import os
import pathlib
from collections.abc import Mapping
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.fs as pafs

from gsid_jax.errors import UserError
from gsid_jax.manifest import file_hash

COMPRESSED = ("", ".gz", ".zst")
JSON_SUFFIXES = tuple(kind + packed for kind in (".jsonl", ".ndjson") for packed in COMPRESSED)
CSV_SUFFIXES = tuple(kind + packed for kind in (".csv", ".tsv") for packed in COMPRESSED)
PARQUET_SUFFIX = ".parquet"
SUFFIXES = (*JSON_SUFFIXES, *CSV_SUFFIXES, PARQUET_SUFFIX)
READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class RawFile:
    """One file behind a URI; local files are ``pathlib.Path``, which has the same ``name``."""

    uri: str

    @property
    def name(self) -> str:
        return self.uri.rstrip("/").rsplit("/", 1)[-1]

    def __str__(self) -> str:
        return self.uri


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of one kind of record, in order of reading, and what their columns are called."""

    kind: str
    files: tuple[pathlib.Path | RawFile, ...]
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)  # ours -> theirs

    def __str__(self) -> str:
        first = str(self.files[0])
        return first if len(self.files) == 1 else f"{first} and {len(self.files) - 1} more"

    def identity(self) -> dict[str, Any]:
        """Name, bytes and hash of the contents, to tell one input from another."""
        sizes = [size(file) for file in self.files]
        hashes = [_hash(file) for file in self.files]
        found = {"file": self.files[0].name, "bytes": sum(sizes), "sha256": hashes[0]}
        if len(self.files) > 1:
            found |= {"files": len(self.files), "sha256": hashlib.sha256(
                "".join(hashes).encode()).hexdigest()}
        return found | ({"columns": dict(sorted(self.columns.items()))} if self.columns else {})


def resolve(spec: str | os.PathLike, kind: str, columns: Mapping[str, str] | None = None
            ) -> Source:
    """Finds the files that a path means, sorted by name; UserError if there are none."""
    files: list[pathlib.Path | RawFile] = []
    for part in os.fspath(spec).split(","):
        part = part.strip()
        if "://" in part:
            files += _remote(part, kind)
        elif os.path.isdir(part):
            found = sorted(path for path in pathlib.Path(part).rglob("*") if path.is_file()
                           and path.name.endswith(SUFFIXES) and not path.name.startswith((".", "_"))
                           )
            if not found:
                raise UserError(f"{kind} directory {part} has no files to read; expected files of "
                                f"type {', '.join(SUFFIXES)}: correct --{kind}")
            files += found
        elif glob.has_magic(part) and not os.path.exists(part):
            found = sorted(pathlib.Path(path) for path in glob.glob(part, recursive=True))
            if not found:
                raise UserError(f"{kind} pattern {part} matches no file; expected at least one: "
                                f"correct --{kind}")
            files += [check_path(path, kind) for path in found]
        else:
            files.append(check_path(part, kind))
    return Source(kind, tuple(files), dict(columns or {}))


def _remote(uri: str, kind: str) -> list[RawFile]:
    base, _, _ = uri.partition("://")
    try:
        system, path = pafs.FileSystem.from_uri(uri)
        info = system.get_file_info(path)
        if info.type == pafs.FileType.Directory:
            found = system.get_file_info(pafs.FileSelector(path, recursive=True))
            names = sorted(each.path for each in found if each.type == pafs.FileType.File
                           and each.path.endswith(SUFFIXES))
        else:
            names = [path] if info.type == pafs.FileType.File else []
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{kind} file {uri} cannot be opened ({error}); expected a URI that Arrow "
                        f"reads, such as s3:// or file://: correct --{kind}") from error
    if not names:
        raise UserError(f"{kind} file {uri} does not exist; expected a file or directory: correct "
                        f"--{kind}")
    return [RawFile(f"{base}://{name}") for name in names]


def check_path(path: str | os.PathLike, kind: str) -> pathlib.Path:
    """Returns the path of a raw file; UserError if it is missing or of an unknown type."""
    path = pathlib.Path(path)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "does not exist"
        raise UserError(f"{kind} file {path} {what}; expected a file of type "
                        f"{', '.join(SUFFIXES)}: correct --{kind}")
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{kind} file {path} has an unknown type: got suffix {path.suffix!r}, "
                        f"expected one of {', '.join(SUFFIXES)}: convert or rename the file")
    if not os.access(path, os.R_OK):
        raise UserError(f"{kind} file {path} cannot be read: got no permission, expected a file "
                        "that you may read: change its permissions")
    return path


def size(file: pathlib.Path | RawFile) -> int:
    """Bytes of a file as it lies there."""
    if isinstance(file, RawFile):
        system, path = pafs.FileSystem.from_uri(file.uri)
        return system.get_file_info(path).size
    return file.stat().st_size


def open_raw(file: pathlib.Path | RawFile) -> BinaryIO:
    """Opens the bytes of a file as they lie there."""
    if isinstance(file, RawFile):
        system, path = pafs.FileSystem.from_uri(file.uri)
        return system.open_input_file(path)
    return open(file, "rb")


def unpacked(raw: BinaryIO, name: str) -> BinaryIO:
    """The contents of an open file, decompressed as its name says."""
    if name.endswith(".gz"):
        return gzip.open(raw)
    if name.endswith(".zst"):
        return io.BufferedReader(pa.CompressedInputStream(raw, "zstd"), READ_BYTES)
    return raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw, READ_BYTES)


def _hash(file: pathlib.Path | RawFile) -> str:
    if not isinstance(file, RawFile):
        return file_hash(file)
    digest = hashlib.sha256()
    with open_raw(file) as stream:
        while block := stream.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()

"""Where a results root's bytes come from: a local folder, or any pyarrow filesystem behind a URI.  Read only.

    open_files(root) -> Files -> root.py

A local folder is left to DuckDB's own Parquet reader; everything else goes through pyarrow, which knows S3
and the like.  pyarrow.fs and pyarrow.dataset are imported only for the latter: they cost more than a query.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from monosweep.model.config import UserError
from monosweep.sweep.store.parts import MERGED, columns_in, damage, damaged_tail, is_merged, tail_bytes

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SWEEP_PREFIX = "sweep="
_TAIL_BYTES = 2**16


class RootError(UserError):
    """A folder or URI that cannot be opened as a results root."""


@dataclass(frozen=True, order=True, slots=True)
class Part:
    """One file of a table (or of the weights)."""

    sweep: str
    path: str
    size: int
    """Bytes."""
    mtime_ns: int = 0
    """When it was written; the same path, size and time are the same file."""

    @property
    def merged(self) -> bool:
        """Whether it holds many packs."""
        return is_merged(self.path)


@dataclass(frozen=True, slots=True)
class Piece:
    """What a part shows."""

    part: Part
    columns: int | None
    """Equal for parts with equal columns; None if that is not known without reading more."""
    elsewhere: frozenset[str]
    """Packs in it that other parts show."""


class Files(ABC):
    """The files under one root; every `path` is relative to it, with forward slashes."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether the root itself is there."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """The content of a file.

        Raises:
            FileNotFoundError: if there is none.
        """

    @abstractmethod
    def listing(self, folder: str) -> Iterable[tuple[str, int, int]]:
        """(path, bytes, time in ns) of every file one level below the folders in `folder`; nothing if it is missing."""

    @abstractmethod
    def footer(self, path: str) -> Mapping[bytes, bytes] | str:
        """Key-value metadata of a part, or why its footer is not sound.

        Raises:
            FileNotFoundError: if there is none.
        """

    @abstractmethod
    def check(self, part: Part) -> int | str | None:
        """The fingerprint of a single part's columns, if that is known at little cost; or what is wrong with it.

        Raises:
            FileNotFoundError: if it has gone.
        """

    @abstractmethod
    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let `connection` read this root and nothing else, for good."""

    @abstractmethod
    def scan(
        self, connection: duckdb.DuckDBPyConnection, pieces: list[Piece], name: str, schema: pa.Schema
    ) -> list[str]:
        """SQL that together yields the rows of `pieces`; names that begin with `name` are free for use."""

    def parts(self, folder: str, suffix: str) -> list[Part]:
        """The files of `folder` in order; a name that does not start with `part-` is still being written."""
        found = []
        for path, size, mtime_ns in self.listing(folder):
            sweep, name = path.split("/")[-2:]
            if sweep.startswith(SWEEP_PREFIX) and name.startswith("part-") and name.endswith(suffix):
                found.append(Part(sweep.removeprefix(SWEEP_PREFIX), path, size, mtime_ns))
        return sorted(found)


class LocalFiles(Files):
    """A folder of this machine, read by DuckDB itself."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))

    def exists(self) -> bool:
        return os.path.isdir(self.root)

    def read(self, path: str) -> bytes:
        return Path(self.root, path).read_bytes()

    def listing(self, folder: str) -> Iterable[tuple[str, int, int]]:
        # Entries come in no order, so a part may be merged and go before the look at it: the second look sees
        # what it was merged into.
        found = dict(self._entries(folder))
        found.update((path, what) for path, what in self._entries(folder, f"/{MERGED}") if path not in found)
        return [(path, *what) for path, what in found.items()]

    def _entries(self, folder: str, containing: str = "") -> Iterator[tuple[str, tuple[int, int]]]:
        base = os.path.join(self.root, folder)
        if not os.path.isdir(base):
            return
        for sweep in os.scandir(base):
            if sweep.is_dir():
                for entry in os.scandir(sweep.path):
                    if containing in f"/{entry.name}" and (what := _size_and_time(entry)) is not None:
                        yield f"{folder}/{sweep.name}/{entry.name}", what

    def footer(self, path: str) -> Mapping[bytes, bytes] | str:
        with open(os.path.join(self.root, path), "rb") as file:
            return _footer(file)

    def check(self, part: Part) -> int | str | None:
        data = self.read(part.path)
        columns = columns_in(data)
        return columns if columns is None else damage(data) or columns

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        _lock(connection, [self.root])

    def scan(
        self, connection: duckdb.DuckDBPyConnection, pieces: list[Piece], name: str, schema: pa.Schema
    ) -> list[str]:
        """Single parts with equal columns together, by DuckDB, which is fast but trusts what it reads.

        They have been checked.  Merged parts are too large for that: pyarrow checks the pages that a query needs.
        """
        merged = [piece for piece in pieces if piece.part.merged]
        single: dict[int | None, list[Part]] = {}
        for piece in pieces:
            if not piece.part.merged:
                single.setdefault(piece.columns, []).append(piece.part)
        scans = [self._read_parquet(parts, union=columns is None) for columns, parts in single.items()]
        if merged:
            scans += _arrow_scans(connection, _local_filesystem(), self.root, merged, name, schema)
        return scans

    def _read_parquet(self, parts: list[Part], union: bool) -> str:
        paths = ", ".join(quoted(os.path.join(self.root, part.path)) for part in parts)
        # hive_partitioning would also believe an `lr=3` above the root, so the caller names the sweep.
        return f"SELECT * FROM read_parquet([{paths}], union_by_name = {union}, hive_partitioning = false)"


class ArrowFiles(Files):
    """A root on a pyarrow filesystem, read through pyarrow.dataset."""

    def __init__(self, filesystem: Any, root: str) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")

    def exists(self) -> bool:
        from pyarrow.fs import FileType

        # An object store has no folders of its own: a root is there when its marker is.
        info, marker = self.filesystem.get_file_info([self.root, f"{self.root}/monosweep.json"])
        return FileType.NotFound not in (info.type, marker.type) or marker.type == FileType.File

    def read(self, path: str) -> bytes:
        with self.filesystem.open_input_file(f"{self.root}/{path}") as file:
            data: bytes = file.read()
        return data

    def listing(self, folder: str) -> Iterable[tuple[str, int, int]]:
        from pyarrow.fs import FileSelector

        base = f"{self.root}/{folder}"
        for info in self.filesystem.get_file_info(FileSelector(base, allow_not_found=True, recursive=True)):
            path = info.path[len(self.root) + 1 :]
            if info.is_file and path.count("/") == 2:
                yield path, info.size, info.mtime_ns or 0

    def footer(self, path: str) -> Mapping[bytes, bytes] | str:
        with self.filesystem.open_input_file(f"{self.root}/{path}") as file:
            return _footer(file)

    def check(self, part: Part) -> int | str | None:
        return None  # another request for each; pyarrow checks what it reads

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        _lock(connection, [])

    def scan(
        self, connection: duckdb.DuckDBPyConnection, pieces: list[Piece], name: str, schema: pa.Schema
    ) -> list[str]:
        return _arrow_scans(connection, self.filesystem, self.root, pieces, name, schema)


def _arrow_scans(
    connection: duckdb.DuckDBPyConnection, filesystem: Any, root: str, pieces: list[Piece], name: str, schema: pa.Schema
) -> list[str]:
    """SQL over pyarrow datasets: one of all pieces that are shown whole, one of each other."""
    whole = [piece.part.path for piece in pieces if not piece.elsewhere]
    scans = [_arrow_scan(connection, filesystem, [f"{root}/{path}" for path in whole], name, schema)] if whole else []
    for i, piece in enumerate(piece for piece in pieces if piece.elsewhere):
        rows = _arrow_scan(connection, filesystem, [f"{root}/{piece.part.path}"], f"{name}_{i}", schema)
        scans.append(f"{rows} WHERE pack_id NOT IN ({', '.join(quoted(pack) for pack in sorted(piece.elsewhere))})")
    return scans


def _arrow_scan(
    connection: duckdb.DuckDBPyConnection, filesystem: Any, paths: list[str], name: str, schema: pa.Schema
) -> str:
    import pyarrow.dataset as ds

    checked = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(
        page_checksum_verification=True
    ))  # fmt: skip
    connection.register(name, ds.dataset(paths, schema=schema, filesystem=filesystem, format=checked))
    return f"SELECT * FROM {name}"


def _footer(file: Any) -> Mapping[bytes, bytes] | str:
    """The key-value metadata of a sealed part that is open for reading, or why it is not sound."""
    import pyarrow.parquet as pq

    size = file.seek(0, os.SEEK_END)
    tail = _last(file, size, min(size, _TAIL_BYTES))
    if len(tail) >= 8 and len(tail) < (needed := tail_bytes(tail[-8:])) <= size:
        tail = _last(file, size, needed)
    if reason := damaged_tail(tail):
        return reason
    file.seek(0)
    return dict(pq.read_metadata(file).metadata)


def _last(file: Any, size: int, count: int) -> bytes:
    file.seek(size - count)
    data: bytes = file.read(count)
    return data


def _local_filesystem() -> Any:
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()


def open_files(root: str) -> Files:
    """The files under a local path or a URI such as `s3://bucket/folder?endpoint_override=host:port&scheme=http`.

    Raises:
        RootError: if the URI cannot be understood or reached.
    """
    parts = urlsplit(root)
    if "://" not in root:
        return _open_local(root)
    if parts.scheme == "file":
        return _open_local(unquote(parts.path))
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem

    try:
        return ArrowFiles(*FileSystem.from_uri(root))
    except (ArrowException, OSError, ValueError) as error:
        fix = "give a folder or a URI such as s3://bucket/results"
        raise RootError(f"cannot open {root!r} ({first_line(error)}); {fix}") from None


def _open_local(path: str) -> Files:
    files = LocalFiles(path)
    if not set("*?[") & set(files.root):
        return files
    # DuckDB would take these for wildcards and has no way to escape them; pyarrow takes a path as it is.
    return ArrowFiles(_local_filesystem(), files.root)


def _size_and_time(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    """Bytes and time of writing, or nothing if it is no file or has just gone."""
    try:
        return (entry.stat().st_size, entry.stat().st_mtime_ns) if entry.is_file() else None
    except FileNotFoundError:
        return None


def _lock(connection: duckdb.DuckDBPyConnection, folders: list[str]) -> None:
    connection.execute(f"SET allowed_directories = [{', '.join(quoted(f) for f in folders)}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def quoted(text: str) -> str:
    """`text` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def first_line(error: BaseException) -> str:
    """An error's message, without what follows its first line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

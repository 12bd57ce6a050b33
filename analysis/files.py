"""Where a results root's bytes come from: a local folder, or any pyarrow filesystem behind a URI.  Read only.

    open_files(root) -> Files -> tables.py

A local folder is left to DuckDB's own Parquet reader; everything else goes through pyarrow, which knows S3
and the like.  pyarrow.fs and pyarrow.dataset are imported only for the latter: they cost more than a query.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from model.config import UserError

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SWEEP_PREFIX = "sweep="


class RootError(UserError):
    """A folder or URI that cannot be opened as a results root."""


@dataclass(frozen=True, order=True, slots=True)
class Part:
    """One file of a table (or of the weights)."""

    sweep: str
    path: str
    size: int
    """Bytes."""


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
    def listing(self, folder: str) -> Iterable[tuple[str, int]]:
        """(path, bytes) of every file one level below the folders in `folder`; nothing if it is missing."""

    @abstractmethod
    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let `connection` read this root and nothing else, for good."""

    @abstractmethod
    def scan(
        self, connection: duckdb.DuckDBPyConnection, parts: list[Part], name: str, schema: pa.Schema
    ) -> str:
        """SQL that yields the rows of `parts`; `name` is free for the connection's own use."""

    def parts(self, folder: str, suffix: str) -> list[Part]:
        """The files of `folder` in order; a name that does not start with `part-` is still being written."""
        found = []
        for path, size in self.listing(folder):
            sweep, name = path.split("/")[-2:]
            if sweep.startswith(SWEEP_PREFIX) and name.startswith("part-") and name.endswith(suffix):
                found.append(Part(sweep.removeprefix(SWEEP_PREFIX), path, size))
        return sorted(found)


class LocalFiles(Files):
    """A folder of this machine, read by DuckDB itself."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))

    def exists(self) -> bool:
        return os.path.isdir(self.root)

    def read(self, path: str) -> bytes:
        return Path(self.root, path).read_bytes()

    def listing(self, folder: str) -> Iterable[tuple[str, int]]:
        base = os.path.join(self.root, folder)
        if not os.path.isdir(base):
            return
        for sweep in os.scandir(base):
            if sweep.is_dir():
                for entry in os.scandir(sweep.path):
                    if (size := _size(entry)) is not None:
                        yield f"{folder}/{sweep.name}/{entry.name}", size

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        _lock(connection, [self.root])

    def scan(
        self, connection: duckdb.DuckDBPyConnection, parts: list[Part], name: str, schema: pa.Schema
    ) -> str:
        paths = ", ".join(quoted(os.path.join(self.root, part.path)) for part in parts)
        # hive_partitioning would also believe an `lr=3` above the root, so the caller names the sweep.
        return f"SELECT * FROM read_parquet([{paths}], union_by_name = true, hive_partitioning = false)"


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

    def listing(self, folder: str) -> Iterable[tuple[str, int]]:
        from pyarrow.fs import FileSelector

        base = f"{self.root}/{folder}"
        for info in self.filesystem.get_file_info(FileSelector(base, allow_not_found=True, recursive=True)):
            path = info.path[len(self.root) + 1 :]
            if info.is_file and path.count("/") == 2:
                yield path, info.size

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        _lock(connection, [])

    def scan(
        self, connection: duckdb.DuckDBPyConnection, parts: list[Part], name: str, schema: pa.Schema
    ) -> str:
        import pyarrow.dataset as ds

        paths = [f"{self.root}/{part.path}" for part in parts]
        rows = ds.dataset(paths, schema=schema, filesystem=self.filesystem, format="parquet")
        connection.register(name, rows)
        return f"SELECT * FROM {name}"


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
    from pyarrow.fs import LocalFileSystem

    return ArrowFiles(LocalFileSystem(), files.root)


def _size(entry: os.DirEntry[str]) -> int | None:
    """Bytes, or nothing if it is no file or has just gone."""
    try:
        return entry.stat().st_size if entry.is_file() else None
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

"""A results root in a folder of this machine: DuckDB's own Parquet reader, which is fast but trusts what it reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from monosweep.analysis.tables.arrow import arrow_scans, footer_of, local_filesystem
from monosweep.analysis.tables.storage import Files, Part, Piece, lock, quoted
from monosweep.sweep.store.parts import MERGED, columns_in, damage

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class LocalFiles(Files):
    """A folder of this machine, read by DuckDB itself."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(os.path.expanduser(root))

    def exists(self) -> bool:
        return os.path.isdir(self.root)

    def read(self, path: str) -> bytes:
        return Path(self.root, path).read_bytes()

    def begin(self, path: str, size: int) -> bytes:
        with Path(self.root, path).open("rb") as file:
            return file.read(size)

    def listing(self, folder: str) -> Iterable[tuple[str, int, int]]:
        # Entries come in no order, so a part may be merged and go before the look at it: the second look sees
        # what it was merged into.
        found = dict(self._entries(folder))
        found.update((path, what) for path, what in self._entries(folder, f"/{MERGED}") if path not in found)
        return [(path, *what) for path, what in found.items()]

    def files_in(self, folder: str) -> Iterable[tuple[str, int, int]]:
        for entry in _entries(os.path.join(self.root, folder)):
            if (what := _size_and_time(entry)) is not None:
                yield (f"{folder}/{entry.name}", *what)

    def _entries(self, folder: str, containing: str = "") -> Iterator[tuple[str, tuple[int, int]]]:
        for sweep in _entries(os.path.join(self.root, folder)):
            for entry in _entries(sweep.path) if sweep.is_dir() else ():
                if containing in f"/{entry.name}" and (what := _size_and_time(entry)) is not None:
                    yield f"{folder}/{sweep.name}/{entry.name}", what

    def footer(self, path: str) -> Mapping[bytes, bytes] | str:
        with open(os.path.join(self.root, path), "rb") as file:
            return footer_of(file)

    def check(self, part: Part) -> int | str | None:
        data = self.read(part.path)
        columns = columns_in(data)
        return columns if columns is None else damage(data) or columns

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        lock(connection, [self.root])

    def scan(
        self, connection: duckdb.DuckDBPyConnection, pieces: list[Piece], name: str, schema: pa.Schema
    ) -> list[str]:
        """Single parts with equal columns together, by DuckDB, which is fast but trusts what it reads.

        They have been checked.  Merged parts are too large for that: pyarrow checks the pages that a query needs.
        """
        merged = [piece for piece in pieces if piece.part.merged]
        single: dict[int | None, list[Part]] = {}
        for piece in pieces:
            if not piece.part.merged and not piece.beaten:
                single.setdefault(piece.columns, []).append(piece.part)
        scans = [self._read_parquet(parts, union=columns is None) for columns, parts in single.items()]
        cut = [piece for piece in pieces if not piece.part.merged and piece.beaten]
        scans += [piece.rows(self._read_parquet([piece.part], union=True)) for piece in cut]
        if merged:
            scans += arrow_scans(connection, local_filesystem(), self.root, merged, name, schema)
        return scans

    def _read_parquet(self, parts: list[Part], union: bool) -> str:
        paths = ", ".join(quoted(os.path.join(self.root, part.path)) for part in parts)
        # hive_partitioning would also believe an `lr=3` above the root, so the caller names the sweep.
        return f"SELECT * FROM read_parquet([{paths}], union_by_name = {union}, hive_partitioning = false)"


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing if it is not there.  One that cannot be read is an error, and not empty."""
    try:
        return list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size_and_time(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    """Bytes and time of writing, or nothing if it is no file or has just gone."""
    try:
        return (entry.stat().st_size, entry.stat().st_mtime_ns) if entry.is_file() else None
    except FileNotFoundError:
        return None

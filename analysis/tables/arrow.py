"""A results root on any filesystem that pyarrow knows, such as S3, read through pyarrow.dataset.

pyarrow.fs, pyarrow.dataset and pyarrow.parquet are imported where they are used: they cost more than a query.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from monosweep.analysis.tables.storage import Files, Part, Piece, lock
from monosweep.sweep.store.parts import damaged_tail, tail_bytes

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

_TAIL_BYTES = 2**16


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

    def begin(self, path: str, size: int) -> bytes:
        with self.filesystem.open_input_file(f"{self.root}/{path}") as file:
            data: bytes = file.read(size)
        return data

    def listing(self, folder: str) -> Iterable[tuple[str, int, int]]:
        from pyarrow.fs import FileSelector

        base = f"{self.root}/{folder}"
        for info in self.filesystem.get_file_info(FileSelector(base, allow_not_found=True, recursive=True)):
            path = info.path[len(self.root) + 1 :]
            if info.is_file and path.count("/") == 2:
                yield path, info.size, info.mtime_ns or 0

    def files_in(self, folder: str) -> Iterable[tuple[str, int, int]]:
        from pyarrow.fs import FileSelector

        found = self.filesystem.get_file_info(FileSelector(f"{self.root}/{folder}", allow_not_found=True))
        return [(f"{folder}/{info.base_name}", info.size, info.mtime_ns or 0) for info in found if info.is_file]

    def footer(self, path: str) -> Mapping[bytes, bytes] | str:
        with self.filesystem.open_input_file(f"{self.root}/{path}") as file:
            return footer_of(file)

    def check(self, part: Part) -> int | str | None:
        return None  # another request for each; pyarrow checks what it reads

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        lock(connection, [])

    def scan(
        self, connection: duckdb.DuckDBPyConnection, pieces: list[Piece], name: str, schema: pa.Schema
    ) -> list[str]:
        return arrow_scans(connection, self.filesystem, self.root, pieces, name, schema)


def arrow_scans(
    connection: duckdb.DuckDBPyConnection, filesystem: Any, root: str, pieces: list[Piece], name: str, schema: pa.Schema
) -> list[str]:
    """SQL over pyarrow datasets: one of all pieces that are shown whole, one of each other."""
    whole = [piece.part.path for piece in pieces if piece.whole]
    scans = [_arrow_scan(connection, filesystem, [f"{root}/{path}" for path in whole], name, schema)] if whole else []
    for i, piece in enumerate(piece for piece in pieces if not piece.whole):
        rows = _arrow_scan(connection, filesystem, [f"{root}/{piece.part.path}"], f"{name}_{i}", schema)
        scans.append(piece.rows(rows))
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


def footer_of(file: Any) -> Mapping[bytes, bytes] | str:
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


def local_filesystem() -> Any:
    """This machine's files, as pyarrow sees them."""
    from pyarrow.fs import LocalFileSystem

    return LocalFileSystem()

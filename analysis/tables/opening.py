"""From a root's name to its files: which storage it is on, and whether it is a results root at all."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

from monosweep.analysis.tables.arrow import ArrowFiles, local_filesystem
from monosweep.analysis.tables.local import LocalFiles
from monosweep.analysis.tables.storage import Files, RootError, first_line
from monosweep.sweep.store.schema import SCHEMA_VERSION

MARKER = "monosweep.json"


def opened(root: str) -> Files:
    """The files of a results root: a folder, or a URI such as `s3://bucket/results`.

    Raises:
        RootError: if there is nothing, it is not a results root, or a newer monosweep made it.
    """
    files = _files(root)
    try:
        marker = files.read(MARKER)
    except FileNotFoundError:
        raise RootError(_not_a_root(root, files)) from None
    except OSError as error:
        raise RootError(f"cannot read {MARKER} in {root!r}: {first_line(error)}") from None
    _check_marker(root, marker)
    return files


def _files(root: str) -> Files:
    """The files under a local path or a URI such as `s3://bucket/folder?endpoint_override=host:port&scheme=http`.

    Raises:
        RootError: if the URI cannot be understood or reached.
    """
    parts = urlsplit(root)
    if "://" not in root:
        return _local(root)
    if parts.scheme == "file":
        return _local(unquote(parts.path))
    from pyarrow import ArrowException  # late, as in arrow.py
    from pyarrow.fs import FileSystem

    try:
        return ArrowFiles(*FileSystem.from_uri(root))
    except (ArrowException, OSError, ValueError) as error:
        fix = "give a folder or a URI such as s3://bucket/results"
        raise RootError(f"cannot open {root!r} ({first_line(error)}); {fix}") from None


def _local(path: str) -> Files:
    files = LocalFiles(path)
    if not set("*?[") & set(files.root):
        return files
    # DuckDB would take these for wildcards and has no way to escape them; pyarrow takes a path as it is.
    return ArrowFiles(local_filesystem(), files.root)


def _not_a_root(root: str, files: Files) -> str:
    if isinstance(files, LocalFiles):
        if not files.exists():
            return f"no such folder: {root}; `monosweep launch quick --out {root}` makes one"
        if inside := _root_above(files.root):
            return f"{root} lies inside the results root {inside}; give that one"
    return f"{root} is not a results root: it has no {MARKER}; give the folder that `launch --out` wrote to"


def _root_above(path: str) -> str | None:
    """The results root that `path` lies in, such as `results` for `results/trials`."""
    return next((str(p) for p in Path(path).parents[:3] if (p / MARKER).is_file()), None)


def _check_marker(root: str, data: bytes) -> None:
    try:
        marker = json.loads(data)
        version = int(marker["schema_version"])
    except (ValueError, TypeError, KeyError):
        raise RootError(f"{MARKER} in {root} must hold a schema_version; got {data[:60]!r}") from None
    if version > SCHEMA_VERSION:
        raise RootError(
            f"{root} was written by a newer monosweep: its schema version is {version}, this one reads up to "
            f"{SCHEMA_VERSION}; upgrade monosweep"
        )

"""The results root: every path, read and write of a sweep goes through `Store`.  Torch- and ray-free.

    worker -> Store.save_checkpoint … -> Store.commit -> trials/curves/neurons Parquet -> analysis

A root is a local folder or any URI that pyarrow.fs knows.  It looks like this:

    monosweep.json                                  marker and schema version
    trials|curves|neurons/sweep=NAME/part-PACKID.parquet
    weights/sweep=NAME/part-PACKID-step0000015872.safetensors
    checkpoints/sweep=NAME/PACKID.safetensors       removed after the commit
    sweeps/NAME.json, sweeps/NAME.progress.json     the spec as launched; the driver's heartbeat

A pack's `trials` part is written last: it is the commit.  Each file appears whole or not at all, under a
name that depends on the pack alone, so that writing again overwrites.
"""

from __future__ import annotations

import difflib
import errno
import json
import os
import secrets
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from model.config import UserError
from model.records import TrialStatus
from sweep.schema import SCHEMA_VERSION, TABLES

MARKER = "monosweep.json"
_FORMAT = "monosweep results"
_PREFERENCE = ("completed", "diverged", "stopped", "failed")
"""Which of a trial's rows is shown: the first of these, then the earliest, then the least pack_id."""
_SHORTEST_PREFIX = 6
_READERS = 16


class StoreError(UserError):
    """A results root that cannot be opened, read or written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """What the `trials` parts of a root hold."""

    statuses: dict[str, TrialStatus]
    """The shown status of each trial_id."""
    n_hidden: int
    """Rows that the views hide because their trial is shown from another pack."""
    unreadable: tuple[str, ...]
    """Parts that could not be read, as paths below the root; their trials count as missing."""


class Store:
    """One results root.  Cheap to pickle; holds no connection of its own.

    Use `Store.create` to launch into a place and `Store.open` to read one.
    """

    def __init__(self, root: str, filesystem: pafs.FileSystem, base: str) -> None:
        self.root = root
        """Absolute path or URI, as a user would type it."""
        self.filesystem = filesystem
        self.base = base.rstrip("/") or "/"
        """The root's path inside `filesystem`."""

    @classmethod
    def create(cls, root: str) -> Store:
        """The results root at `root`, made if there is nothing there yet.

        Raises:
            StoreError: if something else is there, or nothing can be written.
        """
        if found := cls.find(root):
            return found
        store = cls._at(root)
        marker = {"format": _FORMAT, "schema_version": SCHEMA_VERSION}
        store._put(MARKER, json.dumps(marker).encode())
        return store

    @classmethod
    def find(cls, root: str) -> Store | None:
        """The results root at `root`; None if there is nothing there yet.  Writes nothing.

        Raises:
            StoreError: if something else is there.
        """
        store = cls._at(root)
        if store._exists(MARKER):
            return cls.open(root)
        if first := store._first_entry():
            raise StoreError(
                f"results go into a new or empty folder or a results root; {store.root} is neither "
                f"(it holds {first}); choose another --out"
            )
        return None

    @classmethod
    def open(cls, root: str) -> Store:
        """The results root at `root`.

        Raises:
            StoreError: if there is none, or a newer monosweep has written it.
        """
        store = cls._at(root)
        if not store._exists(MARKER):
            raise StoreError(
                f"a results root holds {MARKER}; {store.root} does not; "
                f"give the folder that a sweep was launched into"
            )
        store._check_marker()
        return store

    # -- sweeps

    def write_spec(self, sweep: str, spec: str) -> None:
        """Keep the resolved spec (JSON) of a sweep as launched."""
        self._put(f"sweeps/{sweep}.json", spec.encode())

    def read_spec(self, sweep: str) -> str:
        """The spec of `sweep` as last launched, as JSON; StoreError if there is no such sweep."""
        if sweep not in (known := self.sweeps()):
            near = difflib.get_close_matches(sweep, known, n=1)
            fix = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none yet'}"
            raise StoreError(f"no sweep {sweep!r} in {self.root}; {fix}")
        return self._get(f"sweeps/{sweep}.json").decode()

    def sweeps(self) -> list[str]:
        """Names of the sweeps that were launched into this root."""
        names = [name.removeprefix("sweeps/").removesuffix(".json") for name in self._list("sweeps", ".json")]
        return sorted(name for name in names if not name.endswith(".progress"))

    def write_heartbeat(self, sweep: str, heartbeat: Mapping[str, Any]) -> None:
        """Say how the driver of `sweep` is getting on."""
        self._put(f"sweeps/{sweep}.progress.json", json.dumps(heartbeat).encode())

    def read_heartbeat(self, sweep: str) -> dict[str, Any] | None:
        """The last heartbeat of `sweep`; None if there is none."""
        name = f"sweeps/{sweep}.progress.json"
        return dict(json.loads(self._get(name))) if self._exists(name) else None

    # -- packs

    def commit(
        self,
        sweep: str,
        pack_id: str,
        tables: Mapping[str, pa.Table],
        weights: Mapping[int, bytes] | None = None,
    ) -> None:
        """Write a finished pack: weights by step, neurons, curves, `trials` last; then drop its checkpoint.

        Raises:
            StoreError: if a file cannot be written; nothing of the pack is visible then.
        """
        for step, data in (weights or {}).items():
            self.save_weights(sweep, pack_id, step, data)
        for table in reversed(TABLES):
            self._put(_part(table, sweep, pack_id), _parquet(tables[table]))
        self.drop_checkpoint(sweep, pack_id)

    def save_weights(self, sweep: str, pack_id: str, step: int, data: bytes) -> None:
        """Keep the weights of a pack at one step (safetensors)."""
        self._put(f"weights/sweep={sweep}/part-{pack_id}-step{step:010d}.safetensors", data)

    def save_checkpoint(self, sweep: str, pack_id: str, data: bytes) -> None:
        """Keep a pack's training state, over the previous one."""
        self._put(_checkpoint(sweep, pack_id), data)

    def load_checkpoint(self, sweep: str, pack_id: str) -> bytes | None:
        """A pack's last training state; None if there is none."""
        name = _checkpoint(sweep, pack_id)
        return self._get(name) if self._exists(name) else None

    def list_checkpoints(self, sweep: str) -> list[str]:
        """The pack_ids that have a checkpoint."""
        folder = f"checkpoints/sweep={sweep}"
        names = self._list(folder, ".safetensors")
        return [name.removeprefix(f"{folder}/").removesuffix(".safetensors") for name in names]

    def checkpoint_metadata(self, sweep: str, pack_id: str) -> dict[str, str]:
        """The metadata in a checkpoint's header, without reading its tensors; empty if it is not readable."""
        name = _checkpoint(sweep, pack_id)
        with self._guard("read", name), self.filesystem.open_input_file(self._path(name)) as file:
            return _safetensors_metadata(file)

    def drop_checkpoint(self, sweep: str, pack_id: str) -> None:
        """Remove a pack's checkpoint, if there is one."""
        name = _checkpoint(sweep, pack_id)
        with self._guard("remove", name), suppress(FileNotFoundError):
            self.filesystem.delete_file(self._path(name))

    # -- rows

    def completed(self) -> dict[str, TrialStatus]:
        """trial_id -> shown status, over the whole root."""
        return self.index().statuses

    def index(self) -> Index:
        """Every trial of the root and its shown status; reads two columns of the `trials` parts.

        A part that cannot be read is named and counts as absent: its pack is trained again and overwrites it.
        """
        parts = self._list("trials", ".parquet")
        read = self._read_parts(parts, ["trial_id", "status"])
        bad = tuple(name for name, table in read if table is None)
        tables = [table for _, table in read if table is not None]
        if not tables:
            return Index(statuses={}, n_hidden=0, unreadable=bad)
        rows = pa.concat_tables(tables)
        statuses = _shown_statuses(rows)
        return Index(statuses=statuses, n_hidden=rows.num_rows - len(statuses), unreadable=bad)

    def pack_statuses(self, sweep: str, pack_id: str) -> list[TrialStatus]:
        """The statuses of a pack's committed rows; empty if it has none that can be read."""
        name = _part("trials", sweep, pack_id)
        table = self._read_parts([name], ["status"])[0][1]
        return [] if table is None else [TrialStatus(status) for status in table["status"].to_pylist()]

    def trial_row(self, trial_id: str) -> dict[str, Any]:
        """The shown row of a trial by its id or a unique beginning of it (six digits or more).

        Raises:
            StoreError: if no trial, or more than one, begins so.
        """
        columns = ["trial_id", "pack_id", "status", "finished_at"]
        found: list[tuple[str, dict[str, Any]]] = []
        known: set[str] = set()
        for name, table in self._read_parts(self._list("trials", ".parquet"), columns):
            if table is not None:
                known.update(table["trial_id"].to_pylist())
                matching = table.filter(pc.starts_with(table["trial_id"], pattern=trial_id))
                found += [(name, row) for row in matching.to_pylist()]
        full_id = self._the_one(trial_id, {row["trial_id"] for _, row in found}, known)
        part = min((_rank(row), name) for name, row in found)[1]
        table = self._read_table(part, None)
        return dict(table.filter(pc.equal(table["trial_id"], full_id)).to_pylist()[0])

    def curve_rows(self, trial_id: str, pack_id: str) -> list[dict[str, Any]]:
        """The rows of `curves` of one trial in one pack, by step."""
        for part in self._list("curves", f"/part-{pack_id}.parquet"):
            table = self._read_table(part, None)
            if rows := table.filter(pc.equal(table["trial_id"], trial_id)).to_pylist():
                return sorted((dict(row) for row in rows), key=lambda row: int(row["step"]))
        return []

    def _the_one(self, prefix: str, found: set[str], known: set[str]) -> str:
        if prefix in found:
            return prefix
        if len(found) == 1 and len(prefix) >= _SHORTEST_PREFIX:
            return found.pop()
        if len(prefix) < _SHORTEST_PREFIX:
            rule = f"a trial id is given with {_SHORTEST_PREFIX} digits or more"
            raise StoreError(f"{rule}; got {prefix!r}; {self._has(known)}")
        if found:
            rule = f"{len(found)} trials begin with {prefix!r}"
            raise StoreError(f"{rule}, such as {min(found)}; give more digits")
        near = difflib.get_close_matches(prefix, known, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else self._has(known)
        raise StoreError(f"no trial {prefix!r} in {self.root}; {fix}")

    def _has(self, known: set[str]) -> str:
        example = f", such as {min(known)}" if known else ""
        return f"{self.root} has {len(known)} trials{example}"

    # -- files

    @classmethod
    def _at(cls, root: str) -> Store:
        if "://" not in root:
            path = str(Path(root).expanduser().absolute())
            return cls(path, pafs.LocalFileSystem(), path)
        try:
            filesystem, base = pafs.FileSystem.from_uri(root)
            if not base:
                raise ValueError("it names no bucket")
        except (pa.ArrowException, OSError, ValueError, ImportError) as error:
            raise StoreError(
                f"a results root is a folder or a URI such as s3://bucket/folder; "
                f"got {root!r} ({_one_line(error)})"
            ) from error
        return cls(root, filesystem, base)

    @property
    def _local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def _path(self, name: str) -> str:
        return f"{self.base.rstrip('/')}/{name}"

    def _exists(self, name: str) -> bool:
        with self._guard("read", name):
            return bool(self.filesystem.get_file_info(self._path(name)).is_file)

    def _first_entry(self) -> str | None:
        """Name of something inside the root, None if it is empty or absent."""
        with self._guard("read", ""):
            info = self.filesystem.get_file_info(self.base)
            if info.is_file:
                raise NotADirectoryError(errno.ENOTDIR, "it is a file", self.base)
            entries = self.filesystem.get_file_info(pafs.FileSelector(self.base, allow_not_found=True))
        return min((entry.base_name for entry in entries), default=None)

    def _list(self, folder: str, suffix: str) -> list[str]:
        """Names below the root of the files in `folder` and its subfolders that end so, sorted."""
        selector = pafs.FileSelector(self._path(folder), allow_not_found=True, recursive=True)
        with self._guard("list", folder):
            infos = self.filesystem.get_file_info(selector)
        paths = (info.path for info in infos if info.is_file)
        names = (path[len(self.base.rstrip("/")) + 1 :] for path in paths if path.endswith(suffix))
        return sorted(name for name in names if not name.rsplit("/", 1)[-1].startswith("."))

    def _get(self, name: str) -> bytes:
        with self._guard("read", name), self.filesystem.open_input_file(self._path(name)) as file:
            return bytes(file.read())

    def _put(self, name: str, data: bytes | memoryview) -> None:
        """Write a whole file at once: it appears complete under `name`, or the old one stays."""
        with self._guard("write", name):
            put = _put_local if self._local else partial(_put_object, self.filesystem)
            put(self._path(name), data)

    def _read_parts(self, names: Sequence[str], columns: list[str]) -> list[tuple[str, pa.Table | None]]:
        """These columns of each part; None where a part cannot be read."""

        def read(name: str) -> tuple[str, pa.Table | None]:
            try:
                return name, self._read_table(name, columns)
            except StoreError:
                return name, None

        if self._local:  # a file is read in half a millisecond: threads only cost
            return [read(name) for name in names]
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(read, names))

    def _read_table(self, name: str, columns: list[str] | None) -> pa.Table:
        with (
            self._guard("read", name),
            self.filesystem.open_input_file(self._path(name)) as file,
            pq.ParquetFile(file) as part,
        ):
            return part.read(columns=columns, use_threads=False)

    def _check_marker(self) -> None:
        try:
            marker = json.loads(self._get(MARKER))
            known, version = marker["format"] == _FORMAT, int(marker["schema_version"])
        except (ValueError, KeyError, TypeError):
            known, version = False, 0
        if not known:
            raise StoreError(
                f"{MARKER} marks a results root; the one in {self.root} is not monosweep's; "
                f"give another folder"
            )
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.root} has schema version {version}, written by a newer monosweep; "
                f"this one reads up to {SCHEMA_VERSION}; upgrade monosweep"
            )

    @contextmanager
    def _guard(self, verb: str, name: str) -> Iterator[None]:
        """Turn what the filesystem raises into one line with the fix."""
        try:
            yield
        except FileNotFoundError as error:
            raise StoreError(f"cannot {verb} {self._path(name)}: it is not there") from error
        except (OSError, pa.ArrowException) as error:
            raise StoreError(_explain(error, verb, self._path(name))) from error


def _part(table: str, sweep: str, pack_id: str) -> str:
    return f"{table}/sweep={sweep}/part-{pack_id}.parquet"


def _checkpoint(sweep: str, pack_id: str) -> str:
    return f"checkpoints/sweep={sweep}/{pack_id}.safetensors"


def _parquet(table: pa.Table) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return memoryview(sink.getvalue())


def _put_local(path: str, data: bytes | memoryview) -> None:
    """Temporary file, fsync, rename: after a crash at any point the old or the new file is there, whole."""
    folder, name = os.path.split(path)
    os.makedirs(folder, exist_ok=True)
    # The leading dot and the last suffix keep it out of every *.parquet and *.json glob.
    temporary = os.path.join(folder, f".{name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    _sync_folder(folder)


def _sync_folder(folder: str) -> None:
    """Make the rename itself survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_object(filesystem: pafs.FileSystem, path: str, data: bytes | memoryview) -> None:
    """One upload, visible when it is closed.

    The stream is closed only after all was accepted; an upload that is left open is never seen.
    """
    stream = filesystem.open_output_stream(path)
    stream.write(data)
    stream.close()
    size = filesystem.get_file_info(path).size
    if size != len(data):
        raise OSError(errno.EIO, f"{size} of {len(data)} bytes arrived")


def _safetensors_metadata(file: pa.NativeFile) -> dict[str, str]:
    """`__metadata__` of a safetensors file: eight bytes of length, then a JSON header."""
    size = file.size()
    if size < 8:
        return {}
    (length,) = struct.unpack("<Q", file.read(8))
    if length > size - 8:
        return {}
    try:
        header = json.loads(file.read(length))
        return {str(k): str(v) for k, v in header["__metadata__"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _shown_statuses(rows: pa.Table) -> dict[str, TrialStatus]:
    statuses: dict[str, TrialStatus] = {}
    for status in reversed(_PREFERENCE):
        ids = rows.filter(pc.equal(rows["status"], status))["trial_id"].to_pylist()
        statuses.update(dict.fromkeys(ids, TrialStatus(status)))
    return statuses


def _rank(row: Mapping[str, Any]) -> tuple[int, datetime, str]:
    return _PREFERENCE.index(row["status"]), row["finished_at"], row["pack_id"]


def _explain(error: Exception, verb: str, path: str) -> str:
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot {verb} {path}: no space left; free some and launch again, finished trials are kept"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot {verb} {path}: {os.strerror(code)}; allow it or choose another --out"
    return f"cannot {verb} {path}: {_one_line(error)}; put it right or choose another --out"


def _one_line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def count_by_status(statuses: Mapping[str, TrialStatus], trial_ids: Sequence[str]) -> Counter[TrialStatus]:
    """How many of `trial_ids` have each status; the others are missing."""
    return Counter(statuses[trial_id] for trial_id in trial_ids if trial_id in statuses)

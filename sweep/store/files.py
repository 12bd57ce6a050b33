"""The files below a results root, local or behind a URI: list, read, write whole, move, remove.  No meaning.

    Store (what the files are) -> Storage (how they come and go) -> pyarrow.fs, or plain calls on this machine

Every file appears whole or not at all.  Errors become one line with the fix; those that may pass are waited
out first (`sweep.store.retrying`).
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from monosweep.model.config import UserError
from monosweep.sweep.store import local as here
from monosweep.sweep.store.retrying import PATIENCE_S, persist
from monosweep.sweep.text import without_secrets

T = TypeVar("T")
_READERS = 16
SETTLE_S = 1.0
"""Where nothing can be written only if nobody else has: what stands there after so long is what everyone reads."""


class StoreError(UserError):
    """A results root that cannot be opened, read or written."""


class GoneError(StoreError):
    """A file that is not there."""


class DamagedError(StoreError):
    """A file whose content is not what was written, as its checksum says."""


class Storage:
    """Files by their names below one root.  Cheap to pickle; holds no connection of its own."""

    def __init__(self, root: str, filesystem: pafs.FileSystem, base: str) -> None:
        self.root = without_secrets(root)
        """Absolute path or URI, as a user would type it, without a password."""
        self.filesystem = filesystem
        self.base = base.rstrip("/") or "/"
        """The root's path inside `filesystem`."""
        self.patience_s = PATIENCE_S
        """How long a storage error that may pass is waited out."""
        self._notes: deque[str] = deque(maxlen=100)
        self._noted_no_sync = False

    def __getstate__(self) -> dict[str, Any]:
        """What was noted here is told here."""
        return {**self.__dict__, "_notes": deque(maxlen=100)}

    @classmethod
    def at(cls, root: str) -> Self:
        """The place `root`, whatever is there; StoreError if it names none."""
        if "://" not in root:
            path = str(_expanded(root).absolute())
            return cls(path, pafs.LocalFileSystem(), path)
        try:
            filesystem, base = pafs.FileSystem.from_uri(root)
            if not base:
                raise ValueError("it names no bucket")
        except (pa.ArrowException, OSError, ValueError, ImportError) as error:
            raise StoreError(
                f"a results root is a folder or a URI such as s3://bucket/folder; "
                f"got {without_secrets(root)!r} ({without_secrets(one_line(error))})"
            ) from error
        return cls(root, filesystem, base)

    @property
    def local(self) -> bool:
        """Whether the files are this machine's, or on a mount of it."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def path(self, name: str) -> str:
        """The path inside `filesystem`."""
        return f"{self.base.rstrip('/')}/{name}"

    def note(self, line: str) -> None:
        """Keep something that a person should know."""
        self._notes.append(line)

    def notes(self) -> list[str]:
        """What happened on the way that a person should know, once each."""
        told = []
        with suppress(IndexError):  # another thread may ask at the same time
            while True:
                told.append(self._notes.popleft())
        return told

    def exists(self, name: str, patience_s: float | None = None) -> bool:
        """Whether there is such a file."""
        info = self._do("read", name, lambda: self.filesystem.get_file_info(self.path(name)), patience_s)
        return bool(info.is_file)

    def entries(self) -> list[str]:
        """Names of what lies in the root itself; none if it is absent."""
        return sorted(self._do("read", "", self._entries, 0))

    def infos(self, folder: str) -> list[pafs.FileInfo]:
        """The files in `folder` and its subfolders; none if it is missing."""
        if self.local:
            return self._do("list", folder, lambda: list(here.files(self.path(folder))))
        selector = pafs.FileSelector(self.path(folder), allow_not_found=True, recursive=True)
        found = self._do("list", folder, lambda: self.filesystem.get_file_info(selector))
        return [info for info in found if info.is_file]

    def name_of(self, info: pafs.FileInfo) -> str:
        """The name below the root of a file that was listed."""
        return str(info.path[len(self.base.rstrip("/")) + 1 :])

    def names(self, folder: str, suffix: str) -> list[str]:
        """Names of the files in `folder` and its subfolders that end so, sorted; not those being written."""
        names = (self.name_of(info) for info in self.infos(folder))
        return sorted(n for n in names if n.endswith(suffix) and not n.rsplit("/", 1)[-1].startswith("."))

    def get(self, name: str, patience_s: float | None = None) -> bytes:
        """The content of a file."""
        return self._do("read", name, lambda: self._read(name), patience_s)

    def use(self, name: str, reader: Callable[[pa.NativeFile], T]) -> T:
        """What `reader` makes of an open file, without reading all of it."""

        def read() -> T:
            with self.filesystem.open_input_file(self.path(name)) as file:
                return reader(file)

        return self._do("read", name, read)

    def get_many(self, names: Sequence[str], use: Callable[[str, bytes | None], T]) -> list[T]:
        """`use(name, content)` of each file in order; the content is None where it has gone.

        Raises:
            StoreError: if one cannot be read; that says nothing about its content.
        """

        def one(name: str) -> T:
            try:
                data = self.get(name)
            except GoneError:
                return use(name, None)
            return use(name, data)

        if self.local:  # a file is read in a fraction of a millisecond: threads only cost
            return [one(name) for name in names]
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(one, names))

    def put(self, name: str, data: bytes | memoryview, patience_s: float | None = None) -> None:
        """Write a whole file at once: it appears complete under `name`, or the old one stays.

        A root that has gone is not made anew.
        """
        self._do("write", name, lambda: self._put(name, data), patience_s)

    def put_first(self, name: str, data: bytes) -> None:
        """Write a file into a root, which is made if there is none, unless such a file is there already."""
        if self.local and self._do("write", name, lambda: here.put_first(self.path(name), data)) is not None:
            return
        if not self.exists(name):
            self._put_oldest(name, data)

    def _put_oldest(self, name: str, data: bytes) -> None:
        """As `put_first`, where the last one wins of those who write at the same time.

        Each writes its own beside it, and all take the oldest by the store's clock, which counts seconds at least: one
        who has been held up since it looked is never the oldest, or has been seen.
        """
        own = f".{name}.0-{secrets.token_hex(8)}.tmp"
        self._do("write", name, lambda: self._put(own, data))
        time.sleep(SETTLE_S)
        with suppress(GoneError):  # whose own has gone has written the file
            oldest = min(self._beside(name), key=lambda info: (info.mtime_ns, info.base_name))
            taken = self.get(oldest.base_name)
            if not self.exists(name):
                self._do("write", name, lambda: self._put(name, taken))
        self.remove(own)

    def _beside(self, name: str) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self.base)
        found = self._do("list", "", lambda: self.filesystem.get_file_info(selector))
        return [info for info in found if info.base_name.startswith(f".{name}.0-")]

    def remove(self, name: str, patience_s: float | None = None) -> None:
        """Remove a file; nothing if it is not there."""
        self._do("remove", name, lambda: self._delete(name), patience_s)

    def remove_many(self, names: Sequence[str]) -> None:
        """Remove files, in no order."""
        if self.local:
            for name in names:
                self.remove(name)
            return
        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(self.remove, names))

    def move(self, name: str, to: str) -> None:
        """Give a file another name, over what may be there; nothing if it is not there."""
        self._do("move", name, lambda: self._move(name, to))

    def _entries(self) -> list[str]:
        if self.local:
            with suppress(FileNotFoundError):
                return os.listdir(self.base)
            return []
        info = self.filesystem.get_file_info(self.base)
        if info.is_file:
            raise NotADirectoryError(errno.ENOTDIR, "it is a file", self.base)
        found = self.filesystem.get_file_info(pafs.FileSelector(self.base, allow_not_found=True))
        return [entry.base_name for entry in found]

    def _read(self, name: str) -> bytes:
        if self.local:
            return Path(self.path(name)).read_bytes()
        with self.filesystem.open_input_file(self.path(name)) as file:
            return bytes(file.read())

    def _put(self, name: str, data: bytes | memoryview) -> None:
        if not self.local:
            _put_object(self.filesystem, self.path(name), data)
        elif not here.put(self.base, self.path(name), data) and not self._noted_no_sync:
            self._noted_no_sync = True
            self.note(
                f"the file system of {self.root} cannot be told to put a new file's name on the disk at once (fsync of "
                f"a folder); it is used as it is: a power cut there may cost the last seconds' rows"
            )

    def _delete(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.filesystem.delete_file(self.path(name))

    def _move(self, name: str, to: str) -> None:
        with suppress(FileNotFoundError):
            if self.local:
                here.make_folder(self.base, os.path.dirname(self.path(to)))
            self.filesystem.move(self.path(name), self.path(to))

    def _do(self, verb: str, name: str, action: Callable[[], T], patience_s: float | None = None) -> T:
        """`action()`, with patience; what the filesystem raises becomes one line with the fix."""
        path, patience_s = self.path(name), self.patience_s if patience_s is None else patience_s
        told: list[str] = []

        def waiting(error: Exception) -> None:
            if not told:
                what = f"cannot {verb} {path}: {one_line(error)}"
                told.append(f"{without_secrets(what)}; trying again for up to {patience_s:g} s")
                self.note(told[0])

        try:
            return persist(action, patience_s, waiting)
        except FileNotFoundError as error:
            lost = "its folder was removed; launch the same command again to go on"
            raise GoneError(f"cannot {verb} {path}: {lost if verb == 'write' else 'it is not there'}") from error
        except (OSError, pa.ArrowException) as error:
            raise StoreError(_explain(error, verb, path)) from error


def _expanded(root: str) -> Path:
    try:
        return Path(root).expanduser()
    except RuntimeError as error:
        raise StoreError(f"~ needs a home; got {root!r} ({one_line(error).rstrip('.')}); give the full path") from None


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


def _explain(error: Exception, verb: str, path: str) -> str:
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot {verb} {path}: no space left; free some and launch again, finished trials are kept"
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot {verb} {path}: {os.strerror(code)}; allow it or choose another --out"
    return f"cannot {verb} {path}: {one_line(error)}; put it right or choose another --out"


def one_line(error: Any) -> str:
    """An error's message on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())

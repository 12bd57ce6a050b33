"""Whole files in folders of this machine: they appear complete or not at all, also after a crash at any point.

    Storage.put -> put(): temporary file, fsync, rename, fsync of the folder

Some file systems refuse what this asks for (CIFS and VirtualBox shared folders fsync of a folder, FAT hard links);
they are used with what they can do.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256

from pyarrow.fs import FileInfo, FileType

from monosweep.sweep.store.processes import born, pid_space

_TEMPORARY = re.compile(r"\..+\.(?P<pid>\d+)-(?P<space>[0-9a-f]{8})(?P<born>[0-9a-f]{8})[0-9a-f]{8}\.tmp")
_ANY_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]+\.tmp")
_REFUSED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What a file system says that has no fsync for such a file."""
_NO_LINKS = {*_REFUSED, errno.EPERM, errno.EMLINK, errno.EXDEV, errno.ENOTTY}
_NO_LOCKS = {*_NO_LINKS, errno.ENOLCK, errno.EBADF}
_TRIES, _PAUSE_S = 500, 0.01
"""For a lock that is held while a file gets its name."""


def put(base: str, path: str, data: bytes | memoryview) -> bool:
    """Write a whole file below the folder `base`, over what is there; whether a power cut cannot undo it.

    Raises:
        FileNotFoundError: if `base` is gone; it is not made anew.
    """
    folder = os.path.dirname(path)
    make_folder(base, folder)
    with _temporary(path, data) as (temporary, synced):
        os.replace(temporary, path)
    return _sync_folder(folder) and synced


def put_first(path: str, data: bytes | memoryview) -> bool | None:
    """Write a whole file, and the folders above it, unless there is one; whether there was none.  None, and nothing
    is written, where the file system cannot tell."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    with _temporary(path, data) as (temporary, _):
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _put_first_under_a_lock(folder, temporary, path)
    _sync_folder(folder)
    return True


def _put_first_under_a_lock(folder: str, temporary: str, path: str) -> bool | None:
    """As `put_first`, where there are no hard links; None where folders cannot be locked either."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.exists(path):
                    return False
                os.rename(temporary, path)
                return True
            time.sleep(_PAUSE_S)  # whoever has it renames a file; who holds it for long is none of ours
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    finally:
        os.close(handle)
    return None


def make_folder(base: str, folder: str) -> None:
    """Make a folder below `base`, which has to be there."""
    if os.path.isdir(folder):
        return
    if len(folder) <= len(base):
        os.stat(base)  # says what is wrong with it
    try:
        os.mkdir(folder)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_folder(base, os.path.dirname(folder))
        with suppress(FileExistsError):
            os.mkdir(folder)


def files(folder: str) -> Iterator[FileInfo]:
    """The files in a folder and its subfolders; none if it is missing.  What goes meanwhile is passed over, as
    pyarrow's own listing does not."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir():
            yield from files(entry.path)
            continue
        with suppress(FileNotFoundError):
            about = entry.stat()
            yield FileInfo(entry.path, FileType.File, size=about.st_size, mtime_ns=about.st_mtime_ns)


def is_temporary(name: str) -> bool:
    """Whether a file, from its name or path, is one that is being written, or was when its writer died."""
    return _ANY_TEMPORARY.fullmatch(name.rsplit("/", 1)[-1]) is not None


def is_orphan(name: str) -> bool:
    """Whether the writer of such a file was a process of this machine and is no more."""
    found = _TEMPORARY.fullmatch(name.rsplit("/", 1)[-1])
    if found is None or not pid_space() or found["space"] != _short(pid_space()):
        return False
    return found["born"] != _short(born(int(found["pid"])))


@contextmanager
def _temporary(path: str, data: bytes | memoryview) -> Iterator[tuple[str, bool]]:
    """A file beside `path` with this content, for the length of a block; and whether it is on the disk."""
    folder, name = os.path.split(path)
    pid = os.getpid()
    who = f"{pid}-{_short(pid_space())}{_short(born(pid))}{secrets.token_hex(4)}"
    # The leading dot and the last suffix keep it out of every *.parquet and *.json glob.
    temporary = os.path.join(folder, f".{name}.{who}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            synced = _sync(file.fileno())
        yield temporary, synced
    finally:
        with suppress(OSError):
            os.unlink(temporary)


def _sync_folder(folder: str) -> bool:
    """Make the rename itself survive a power cut, where that can be had."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        return _sync(handle)
    finally:
        os.close(handle)


def _sync(handle: int) -> bool:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise
        return False
    return True


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]

"""One process at a time, on file systems that have locks; nobody who holds one for ever stops the others."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from monosweep.sweep.store.files import Storage
from monosweep.sweep.store.local import make_folder

PATIENCE_S = 5.0
"""Longer than anyone has to keep a lock.  Whoever may read a folder may lock it, so it is not waited for in vain."""
_POLL_S = 0.05


@contextmanager
def locked(storage: Storage, folder: str) -> Iterator[bool]:
    """Nobody else is in this block for this folder of the root; yields whether that could be had."""
    path = storage.path(folder).rstrip("/")
    try:
        if not storage.local:
            raise OSError
        make_folder(storage.base, path)
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # whoever writes there next says why
        yield False
        return
    try:
        yield _lock(storage, path, handle)
    finally:
        os.close(handle)  # and with it the lock


def _lock(storage: Storage, path: str, handle: int) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                storage.note(f"another process keeps {path} locked (flock); going on without the lock")
                return False
            time.sleep(_POLL_S)
        except OSError:  # a mount that has no locks on folders, as NFS
            return False
        else:
            return True

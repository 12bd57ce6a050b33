"""Who has last put something safe: every file that a sweep's processes put into a local results root.

    Store: .NAME.PID-xxxx.tmp renamed to NAME -> inotify -> when each process last kept or committed its work

The tests learn so how much work a killed process takes with it, and of rows that say `failed`, also where better ones
take their place a moment later.
"""

from __future__ import annotations

import ctypes
import os
import re
import select
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq

_MOVED_FROM = 0x40
_HEADER = struct.Struct("iIII")
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d+)-[0-9a-f]+\.tmp")
_BUFFER, _POLL_S = 1 << 16, 0.2


class Writes:
    """Watches the checkpoints and commits of one sweep in an existing root, from before its launch until `close`."""

    def __init__(self, root: Path, sweep: str) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handle = self._libc.inotify_init1(os.O_CLOEXEC)
        self._last: dict[int, float] = {}
        self._closing = threading.Event()
        self.n_checkpoints = 0
        """How often a checkpoint was kept."""
        self.failed: list[str] = []
        """Parts that were committed with trials that failed."""
        self._checkpoints = self._watch(root / "checkpoints" / f"sweep={sweep}")
        self._trials = root / "trials" / f"sweep={sweep}"
        self._watch(self._trials)
        self._thread = threading.Thread(target=self._listen, name="writes", daemon=True)
        self._thread.start()

    def last(self, pid: int) -> float:
        """When this process last kept a checkpoint or committed, on time.monotonic's clock; 0 for never."""
        return self._last.get(pid, 0.0)

    def close(self) -> None:
        """Watch no longer."""
        self._closing.set()
        self._thread.join()
        os.close(self._handle)

    def _watch(self, folder: Path) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        watch = int(self._libc.inotify_add_watch(self._handle, os.fsencode(folder), _MOVED_FROM))
        assert watch >= 0, os.strerror(ctypes.get_errno())
        return watch

    def _listen(self) -> None:
        while not self._closing.is_set():
            if select.select([self._handle], [], [], _POLL_S)[0]:
                for watch, name in _renamed(os.read(self._handle, _BUFFER)):
                    self._note(watch, name)

    def _note(self, watch: int, name: str) -> None:
        if found := _TEMPORARY.fullmatch(name):
            self._last[int(found["pid"])] = time.monotonic()
            self.n_checkpoints += watch == self._checkpoints
            if watch != self._checkpoints and self._has_failed(self._trials / found["name"]):
                self.failed.append(found["name"])

    @staticmethod
    def _has_failed(part: Path) -> bool:
        with suppress(FileNotFoundError):  # it is about to appear, or merged already
            return "failed" in pq.read_table(part, columns=["status"], partitioning=None)["status"].to_pylist()
        return False


def _renamed(data: bytes) -> Iterator[tuple[int, str]]:
    """The folder and old name of each file that was renamed (inotify(7), struct inotify_event)."""
    while data:
        watch, _, _, length = _HEADER.unpack_from(data)
        name, data = data[_HEADER.size : _HEADER.size + length], data[_HEADER.size + length :]
        yield watch, name.rstrip(b"\0").decode()

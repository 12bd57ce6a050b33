"""Clears up after a driver, however it ended: a process of its own that outlives even its SIGKILL.

    driver --pipe--> reaper: when the pipe closes, kill what still carries the mark, remove the folder

Ray's own processes mostly follow their driver, but one that was just starting stays for minutes.
Run as a file, without the package: it has to start at once and hold little memory.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "MONOSWEEP_SCRATCH"
"""The environment variable that all processes of one driver inherit; its value is the scratch folder."""
_TRIES = 50
_PAUSE_S = 0.1


@contextmanager
def reaped(folder: Path) -> Iterator[None]:
    """Every process started inside the block is gone after it, and so is `folder`."""
    os.environ[MARK] = str(folder)
    command = [sys.executable, "-I", "-S", __file__, str(folder)]
    # A session of its own: Ctrl-C at a terminal goes to the driver's whole group.
    reaper = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        del os.environ[MARK]
        assert reaper.stdin is not None
        reaper.stdin.close()
        reaper.wait()


def reap(folder: str) -> None:
    """Wait for the driver's end of stdin to close, then clear up."""
    spared = {os.getpid(), os.getppid()}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(_TRIES):  # a process that was just being started shows up late
        if not (marked := list(_marked(folder, spared))):
            break
        for pid in marked:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)
    shutil.rmtree(folder, ignore_errors=True)


def _marked(folder: str, spared: set[int]) -> Iterator[int]:
    """Processes that were started with the mark or hold a file in the folder open.

    One that writes its title over its environment, as Ray's agents do, still has its logs open.
    """
    mark = f"{MARK}={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone, or not ours
            marked = mark in (entry / "environ").read_bytes().split(b"\0") or _has_open(entry, folder)
            if marked and int(entry.name) not in spared:
                yield int(entry.name)


def _has_open(process: Path, folder: str) -> bool:
    return any(os.readlink(handle).startswith(f"{folder}/") for handle in (process / "fd").iterdir())


if __name__ == "__main__":
    reap(sys.argv[1])

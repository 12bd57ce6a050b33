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
"""The environment variable that all processes of a driver's Ray inherit; its value is the scratch folder."""
_TRIES = 50
_PAUSE_S = 0.1


@contextmanager
def reaped(folder: Path) -> Iterator[None]:
    """Every process that was started with `marks(folder)` is gone after the block, and so is `folder`."""
    command = [sys.executable, "-I", "-S", __file__, str(folder)]
    # A session of its own: Ctrl-C at a terminal goes to the driver's whole group.
    reaper = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        assert reaper.stdin is not None
        reaper.stdin.close()
        reaper.wait()


def marks(folder: Path) -> dict[str, str]:
    """The environment of what is to be reaped; also of what a process with it starts.

    Ray's agents would write their titles over it, where the reaper looks for it: SPT_NOENV tells them not to.
    """
    return {MARK: str(folder), "SPT_NOENV": "1"}


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
    """Processes that were started with the mark."""
    mark = f"{MARK}={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone, or not ours
            if mark in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) not in spared:
                yield int(entry.name)


if __name__ == "__main__":
    reap(sys.argv[1])

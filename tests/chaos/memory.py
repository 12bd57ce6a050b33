"""Memory pressure: the kernel ends a process because a neighbour of its control group takes all there is.

    starve(pid) -> a small group with that process and a hog -> the kernel kills what Ray has marked as the first to go

Where no group can be made (not root, or version 2 below a group with processes), SIGKILL stands in: what the kernel
sends, though nothing counts it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

_LIMITS = ("memory.limit_in_bytes", "memory.max")
_LIMIT_BYTES = 64 * 2**20
_WITHIN_S, _POLL_S = 60.0, 0.05
_HOG = """
import os, sys
open(sys.argv[1], "w").write(str(os.getpid()))
held = []
while True:
    held.append(b"x" * (1 << 20))
"""


def starve(pid: int) -> bool:
    """Have the kernel kill a process for want of memory; False, and nothing has happened, if that cannot be had."""
    group = _own_group() / f"chaos-{pid}"
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        return _limited(group) and _starved(group, pid)
    finally:
        _remove(group)


def _starved(group: Path, pid: int) -> bool:
    members = group / "cgroup.procs"
    with suppress(ProcessLookupError):  # it has ended by itself
        members.write_text(str(pid))
    hog = subprocess.Popen([sys.executable, "-c", _HOG, str(members)])
    deadline = time.monotonic() + _WITHIN_S
    while str(pid) in members.read_text().split() and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    starved = str(pid) not in members.read_text().split()
    hog.kill()
    hog.wait()
    return starved


def _own_group() -> Path:
    """The group of this process that limits memory; a child of it can be made where we may write."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/")
        if number == "0" and not controllers and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return Path("/sys/fs/cgroup") / path.lstrip("/")
    return Path("/nowhere")


def _limited(group: Path) -> bool:
    for name in _LIMITS:
        if (group / name).exists():
            (group / name).write_text(str(_LIMIT_BYTES))
            return True
    return False


def _remove(group: Path) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        try:
            group.rmdir()
            return
        except OSError:  # what was killed is still leaving
            time.sleep(_POLL_S)

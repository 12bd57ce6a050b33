"""Which process it was: a pid says so only here and now, a pid with its beginning for good."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def born(pid: int) -> str:
    """Where this pid means something, and when its process began; empty if it has ended or /proc is absent."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if state in "ZX" else f"{pid_space()}/{rest[18]}"


@cache
def pid_space() -> str:
    """This boot of this machine and its namespace of pids: containers may share a host's name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""

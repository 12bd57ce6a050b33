"""A share of a core for each node, so that three of them and their head fit on two cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nodes import Node

_GROUPS = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


@contextmanager
def quotas(nodes: Sequence[Node], cores: float) -> Iterator[Callable[[], float]]:
    """Everything that runs on each node, and that it starts from now on, gets `cores` of a core in all.

    Yields what says in which part of the time so far the nodes were held back by it, on average.  Where they are
    held back less than they were elsewhere with the same work, it was the machine that had no more to give.

    Raises:
        OSError: if control groups cannot be made here.
    """
    made: list[Path] = []
    try:
        for node in nodes:
            made.append(_group(f"monosweep-{os.getpid()}-{node.name}", cores))
            for pid in node.pids():
                _move(pid, made[-1])
        yield lambda: sum(map(_held_back, made)) / len(made)
    finally:
        for node in nodes:
            for pid in node.pids():
                _move(pid, _parent())
        for group in made:
            group.rmdir()


def _held_back(group: Path) -> float:
    """Of the scheduler's periods in which a group ran, the part in which it used its quota up."""
    counts = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
    return int(counts["nr_throttled"]) / max(1, int(counts["nr_periods"]))


def _group(name: str, cores: float) -> Path:
    group, quota = _parent() / name, int(cores * _PERIOD_US)
    group.mkdir()
    if _is_second():
        (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
    else:
        (group / "cpu.cfs_quota_us").write_text(str(quota))
    return group


def _parent() -> Path:
    return _GROUPS if _is_second() else _GROUPS / "cpu"


def _is_second() -> bool:
    """Whether this machine has version 2 of control groups."""
    return (_GROUPS / "cgroup.controllers").exists()


def _move(pid: int, group: Path) -> None:
    with suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(str(pid))

"""What the control groups of this process allow, cores and memory: of both versions, and of every group around it.

    /proc/self/cgroup (its groups) + mountinfo (where they can be seen) -> folders -> the least of their limits

Docker, Kubernetes, Slurm and systemd all limit so, and each may do it inside another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_PROCESS = Path("/proc/self")


def cores(process: Path = _PROCESS) -> float | None:
    """Cores' worth of time that a quota leaves; None without one.

    Args:
        process: its folder in /proc.
    """
    quotas = [quota for folder in _groups(process, "cpu") if (quota := _quota(folder))]
    return min(quotas, default=None)


def free_memory(process: Path = _PROCESS) -> int | None:
    """Bytes that may still be taken, what the kernel would give back included; None without a limit."""
    left = [free for folder in _groups(process, "memory") if (free := _left(folder)) is not None]
    return min(left, default=None)


def memory_limit(process: Path = _PROCESS) -> int | None:
    """Bytes that all processes of the group with the least limit may take; None without a limit."""
    limits = [limit for folder in _groups(process, "memory") if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _quota(folder: Path) -> float | None:
    words = _words(folder / "cpu.max") or [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
    with suppress(ValueError, ZeroDivisionError):  # "max"
        quota, period = map(int, words)
        return quota / period if quota > 0 else None
    return None


def _left(folder: Path) -> int | None:
    limit, used = _limit(folder), next((n for name in _USAGE if (n := _number(folder / name)) is not None), None)
    return max(0, limit - used + _cache(folder)) if limit is not None and used is not None else None


def _limit(folder: Path) -> int | None:
    """Of a group without a limit, version 1 says a number beyond any memory."""
    known = [limit for name in _LIMITS if (limit := _number(folder / name)) is not None]
    return min(known, default=None)


_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
_USAGE = ("memory.current", "memory.usage_in_bytes")


def _cache(folder: Path) -> int:
    """Bytes of files that nobody has read for a while: used, and free for the asking."""
    words = _words(folder / "memory.stat")
    stat = dict(zip(words[::2], words[1::2], strict=False))
    return int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))


def _groups(process: Path, controller: str) -> Iterator[Path]:
    """The folders of the groups that the process is in, from its own to the outermost that can be seen."""
    where = dict(_paths(process))
    for kind, root, mount, options in _mounts(process):
        name = "" if kind == "cgroup2" else controller
        if name not in where or (name and name not in options):
            continue
        inside = PurePosixPath(where[name])
        # In a container the path may be the host's, and the mount show its last part, or all.
        below = inside.relative_to(root) if inside.is_relative_to(root) else PurePosixPath()
        folder = Path(mount, *(part for part in below.parts if part != ".."))
        yield from (group for group in (folder, *folder.parents) if group.is_relative_to(mount))


def _paths(process: Path) -> Iterator[tuple[str, str]]:
    """Controller and path; that of version 2, which has all that version 1 does not, is called nothing."""
    for line in _lines(process / "cgroup"):
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _mounts(process: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """Version, root, place and controllers of each hierarchy that can be seen."""
    for line in _lines(process / "mountinfo"):
        about, _, kind = line.partition(" - ")
        if kind.startswith("cgroup"):
            _, _, _, root, mount, *_ = about.split()
            version, _, options = kind.split(" ", 2)
            yield version, root, mount, options.split(",")


def _number(path: Path) -> int | None:
    with suppress(ValueError):  # "max", or nothing
        return int(" ".join(_words(path)))
    return None


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:  # not this kind of system
        return []

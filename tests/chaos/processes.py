"""Launches as processes of their own, and what belongs to them: to be watched, killed and waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_POLL_S = 0.1


class Driver:
    """`monosweep launch` in a process group of its own.

    Args:
        out: a local folder, or the URI of a results root.
        inside: what goes before the command, such as `ip netns exec NAME`; it must become the command.
    """

    def __init__(
        self,
        spec: Path,
        out: Path | str,
        *options: str,
        inside: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.out, self.errors = Path(out), spec.with_name(f"{spec.stem}-{time.monotonic_ns()}.txt")
        command = [*inside, sys.executable, "-m", "monosweep.sweep", "launch", str(spec), "--out", str(out), *options]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, stdout=errors, stderr=errors, start_new_session=True, cwd=spec.parent,
                env={**os.environ, **(env or {})},
            )  # fmt: skip

    def wait_for(self, happened: Callable[[], Any], seconds: float = 150) -> Any:
        """What `happened` returns as soon as it is true."""
        deadline = time.monotonic() + seconds
        while not (result := happened()):
            assert self.process.poll() is None, f"ended early: {self.said()}"
            assert time.monotonic() < deadline, f"waited in vain: {self.said()}"
            time.sleep(_POLL_S)
        return result

    def parts(self) -> list[Path]:
        """The packs that are committed, in a local folder."""
        return list(self.out.glob("trials/*/*.parquet"))

    def family(self) -> dict[int, str]:
        """The driver's descendants: pid and command line."""
        return family(self.process.pid)

    def workers(self) -> list[int]:
        """Processes that are training right now."""
        return [pid for pid, command in self.family().items() if is_training(command)]

    def finish(self, seconds: float = 150) -> int:
        """Wait for the end; returns the exit status."""
        return self.process.wait(seconds)

    def said(self) -> str:
        """All that it has printed."""
        return self.errors.read_text()


def family(pid: int) -> dict[int, str]:
    """The descendants of a process: pid and command line."""
    parents = dict(_parents())
    found, added = set[int](), {pid}
    while added:
        found |= added
        added = {child for child, parent in parents.items() if parent in found} - found
    return {child: command_line(child) for child in found - {pid}}


def _parents() -> Iterable[tuple[int, int]]:
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(entry.name), int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])


def is_training(command: str) -> bool:
    """Whether this is a worker with a pack, by the title that Ray gives it."""
    return "Trainable.train" in command


def command_line(pid: int) -> str:
    """Empty for a process that has ended, zombies included."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def scratch(family: Mapping[int, str]) -> Path:
    """The folder that the reaper among `family` is to remove."""
    (folder,) = (command.split()[-1] for command in family.values() if "reaper.py" in command)
    return Path(folder)


def gone(pids: Iterable[int], seconds: float = 10) -> bool:
    """Whether these processes end in time; zombies have ended."""
    left, deadline = set(pids), time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if command_line(pid)}
        time.sleep(_POLL_S)
    return not left

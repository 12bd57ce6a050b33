"""What a person sees while one trial trains: recorded steps on stdout, a progress bar on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_PLAIN_EVERY_S = 10.0


class TrialDisplay:
    """A `model.watch.Watcher` for people; a context manager, so that the terminal is whole again afterwards.

    Where stderr is no terminal, a plain line every ten seconds takes the bar's place.

    Args:
        n_steps: of all trials together.
        shows_points: whether recorded steps are shown.
    """

    def __init__(self, n_steps: int, shows_points: bool = True) -> None:
        self._n_steps, self._shows_points = n_steps, shows_points
        self._last_line = time.monotonic()
        self._bar = _bar() if sys.stderr.isatty() else None
        self._task = self._bar.add_task("training", total=n_steps) if self._bar else None
        self._has_header = False

    def __enter__(self) -> TrialDisplay:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pause()

    def step(self, step: int) -> None:
        """Move the bar, or now and then print a line."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=step)
        elif (now := time.monotonic()) - self._last_line >= _PLAIN_EVERY_S:
            self._last_line = now
            share = 100 * step // self._n_steps
            print(f"step {step:,} of {self._n_steps:,}, {share} %", file=sys.stderr, flush=True)

    def point(self, point: Mapping[str, Any]) -> None:
        """Add a line to the table."""
        if not self._shows_points:
            return
        if not self._has_header:
            print("  ".join(f"{name.replace('_', ' '):>{_width(name)}}" for name in _columns(point)))
            self._has_header = True
        print("  ".join(f"{_shown(point[name]):>{_width(name)}}" for name in _columns(point)), flush=True)

    def pause(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()


def _columns(point: Mapping[str, Any]) -> list[str]:
    """What a line shows: losses, what the family adds, and the rate at the end, if there is one."""
    return sorted(point, key=lambda name: name == "lr")


def _width(name: str) -> int:
    return max(11, len(name))


def _shown(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),  # a table that goes into a file must not be sent to the terminal
        transient=True,
    )

"""What a person sees while one trial trains: recorded steps on stdout, a progress bar on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from monosweep.model.records import CurvePoint

if TYPE_CHECKING:
    from monosweep.model.train import TrialResult

_PLAIN_EVERY_S = 10.0
_POINT = (
    "{0.step:>9,}  {0.loss:>11.6g}  {0.min_loss:>11.6g}  {0.n_mono:>6}  {0.mean_bias:>10.4f}  {0.lr:>9.3g}"
)
_HEADER = f"{'step':>9}  {'loss':>11}  {'min loss':>11}  {'n_mono':>6}  {'mean bias':>10}  {'lr':>9}"


class TrialDisplay:
    """A `model.watch.Watcher` for people; a context manager, so that the terminal is whole again afterwards.

    Where stderr is no terminal, a plain line every ten seconds takes the bar's place.
    """

    def __init__(self, n_steps: int) -> None:
        self._n_steps = n_steps
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

    def point(self, point: CurvePoint) -> None:
        """Add a line to the table."""
        if not self._has_header:
            print(_HEADER)
            self._has_header = True
        print(_POINT.format(point), flush=True)

    def pause(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()


def outcome(result: TrialResult) -> str:
    """How a trial ended, in words and numbers."""
    config, metrics = result.config, result.metrics
    if metrics is None:
        return f"{result.status}: {result.error}"
    rows = {
        "loss": f"{metrics.loss:.6g}, least {metrics.min_loss:.6g}",
        "monosemantic": f"{metrics.n_mono} of {config.n_neurons} neurons ({metrics.mono_per_neuron:.3f}), "
        f"{metrics.mono_per_feature:.3f} per feature",
        "features": _features(metrics.features_by_n_mono),
        "dead": f"{metrics.n_dead} of {config.n_neurons} neurons",
        "bias": f"mean {metrics.mean_bias:.4f}, positive in {metrics.n_positive_bias} neurons",
        "capacity": f"{metrics.capacity_sum:.2f} of {config.d_embed} dimensions",
    }
    return "\n".join(f"{name:<14} {text}" for name, text in rows.items())


def _features(by_n_mono: Sequence[int]) -> str:
    counts = [(n, count) for n, count in enumerate(by_n_mono) if count]
    return ", ".join(f"{count} with {n or 'no'} monosemantic neuron{'s' * (n > 1)}" for n, count in counts)


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

"""What a person sees while a sweep trains.  Torch- and ray-free.

executor -> Progress.started / update / forget / note -> terminal or log file; heartbeat in the store
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from monosweep.model.records import TrialStatus
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Store, StoreError
from monosweep.sweep.view.counts import Counts, Heartbeat, Speed
from monosweep.sweep.view.lines import counted, describe, left, paced
from monosweep.sweep.work.best import best_of
from monosweep.sweep.work.contract import Failure, PackProgress

HEARTBEAT_S = 5.0
_TICK_S = 0.5
_FIRST_LINE_S = 2.0
_LINE_S = 10.0
_RATE_WINDOW_S = 60.0
_LEAST_BAR, _MOST_BAR = 10, 40
_SURE_AFTER_S = 10.0
"""Of training: until then nothing is said of the time that is left."""


class Progress:
    """The live display and the heartbeat of one launch; a context manager.

    Args:
        before: the sweep when it was launched, without the trials of `packs`.
    """

    def __init__(
        self,
        store: Store,
        sweep: str,
        packs: Sequence[Pack],
        before: Counts,
        console: Console,
    ) -> None:
        self._store, self._sweep, self._console = store, sweep, console
        self._before, self._n_total = before.by_status(), before.total
        self._n_trials = sum(len(pack.configs) for pack in packs)
        self._n_steps = sum(config.n_steps for pack in packs for config in pack.configs)
        self._packs: dict[str, PackProgress] = {}
        self._running: dict[str, int] = {}
        self._trained = 0
        self._best: dict[str, float] = {}
        self._told: set[str] = set()
        self._samples = deque[tuple[float, int]]()
        """When how many steps had been trained, over the last minute and not before the first report of any: to start a
        worker takes long, and says nothing of how fast it is going to train."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._tick, name="monosweep-progress", daemon=True)
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Progress:
        self._beat("running")
        if self._console.is_terminal:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._live.stop()
        self._pass_on_notes()
        with self._lock:
            self._running.clear()
        self._beat("finished" if kind is None else "stopped")

    def started(self, pack: Pack) -> None:
        """A worker has taken `pack`."""
        with self._lock:
            self._running[pack.pack_id] = len(pack.configs)

    def update(self, progress: PackProgress) -> None:
        """A worker reports."""
        for warning in progress.warnings:
            self.note(warning)
        for failure in progress.failures:
            self._tell(failure)
        with self._lock:
            self._best = best_of([self._best, progress.best])
            last = self._packs.get(progress.pack_id)
            done_before = last.trained_steps if last else 0
            # A pack that was taken over starts counting again.
            restarted = progress.trained_steps < done_before
            self._trained += progress.trained_steps - (0 if restarted else done_before)
            self._packs[progress.pack_id] = progress
            if self._trained and not self._samples:
                self._samples.append((time.monotonic(), self._trained))
            if progress.finished:
                self._running.pop(progress.pack_id, None)

    @property
    def trained_steps(self) -> int:
        """Optimiser steps of single trials that this launch has done, as far as workers have told."""
        with self._lock:
            return self._trained

    def waits(self, pack: Pack) -> None:
        """No worker trains `pack` for the time being; it is going to be taken up again."""
        with self._lock:
            self._running.pop(pack.pack_id, None)

    def forget(self, pack: Pack) -> None:
        """No worker trains `pack` any longer, and what it had reached is lost."""
        with self._lock:
            self._packs.pop(pack.pack_id, None)
            self._running.pop(pack.pack_id, None)

    def note(self, line: str) -> None:
        """Say something that stays on the screen."""
        self._console.print(Text(line), soft_wrap=True)

    def _tell(self, failure: Failure) -> None:
        """A reason is told once; how many have failed, the counts say."""
        if failure.error not in self._told:
            self._told.add(failure.error)
            self.note(str(failure))

    def _pass_on_notes(self) -> None:
        for line in self._store.notes():
            self.note(line)

    def counts(self) -> Counts:
        """The sweep's trials now."""
        with self._lock:
            ended: Counter[TrialStatus] = Counter(self._before)
            for progress in self._packs.values():
                ended.update(progress.ended)
            settled = {k: sum(p.ended.values()) for k, p in self._packs.items()}
            running = sum(n - settled.get(pack_id, 0) for pack_id, n in self._running.items())
        return Counts.of(self._n_total, ended, running)

    def speed(self) -> Speed:
        """The rate over the last minute and, as soon as that is worth anything, what it makes of the rest."""
        with self._lock:
            done = sum(progress.model_steps for progress in self._packs.values())
            now, last = time.monotonic(), self._trained
            start, first = self._samples[0] if self._samples else (now, last)
        if last == first or now == start:
            return Speed()
        rate = (last - first) / (now - start)
        per_hour = rate * 3600 * self._n_trials / self._n_steps
        left = (self._n_steps - done) / rate if now - start >= _SURE_AFTER_S else None
        return Speed(steps_per_s=rate, trials_per_hour=per_hour, seconds_left=left)

    def _tick(self) -> None:
        start = time.monotonic()
        next_beat, next_line = start + HEARTBEAT_S, start + _FIRST_LINE_S
        while not self._ended.wait(_TICK_S):
            now = time.monotonic()
            self._sample(now)
            self._pass_on_notes()
            if now >= next_beat:
                self._beat("running")
                next_beat = now + HEARTBEAT_S
            if now >= next_line and not self._console.is_terminal:
                self._console.print(Text(describe(self.counts(), self.speed(), self._best)), soft_wrap=True)
                next_line = now + _LINE_S

    def _sample(self, now: float) -> None:
        with self._lock:
            if not self._samples:
                return
            self._samples.append((now, self._trained))
            while now - self._samples[1][0] > _RATE_WINDOW_S:
                self._samples.popleft()

    def _render(self) -> Group:
        with self._lock:
            done = sum(progress.model_steps for progress in self._packs.values())
        speed, total = self.speed(), max(self._n_steps, 1)
        beside = " · ".join(filter(None, (f"{100 * done // total} % of {total:,} steps", left(speed))))
        width = max(_LEAST_BAR, min(_MOST_BAR, self._console.width - len(beside) - 1))
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=total, completed=done, width=width), Text(beside))
        return Group(bar, Text(counted(self.counts())), Text(paced(speed, self._best)))

    def _beat(self, state: Literal["running", "finished", "stopped"]) -> None:
        beat = Heartbeat(
            state=state, pid=os.getpid(), host=socket.gethostname(), updated_at=datetime.now(UTC),
            running=self.counts().running, speed=self.speed(),
            best=self._best,
        )  # fmt: skip
        # A display is not worth a sweep: if the store is really broken, the next commit says so.
        with suppress(StoreError):
            self._store.write_heartbeat(self._sweep, beat.to_json())

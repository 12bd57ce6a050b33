"""What a person sees while a sweep trains, and what `monosweep status` reads.  Torch- and ray-free.

    executor -> Progress.started / update / forget / note -> terminal or log file; heartbeat in the store
    heartbeat + asked + trials parts -> read_status
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from monosweep.model.records import TrialStatus
from monosweep.sweep.plan.members import member_ids
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Index, Lease, Store, StoreError, count_by_status
from monosweep.sweep.work.contract import PackProgress

HEARTBEAT_S = 5.0
FRESH_S = 30.0
"""A heartbeat older than this is a dead driver's."""
_TICK_S = 0.5
_FIRST_LINE_S = 2.0
_LINE_S = 10.0
_RATE_WINDOW_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Counts:
    """A sweep's trials by what has become of them."""

    total: int
    """Trials of the sweep."""
    completed: int = 0
    """Trained to the end, now or before."""
    diverged: int = 0
    """Ended because numbers became non-finite."""
    stopped: int = 0
    """Ended early on purpose."""
    failed: int = 0
    """Ended by an error."""
    running: int = 0
    """In a pack that a worker is training."""

    @classmethod
    def of(cls, total: int, ended: Mapping[TrialStatus, int], running: int = 0) -> Counts:
        """From the number of rows by status."""
        return cls(total=total, running=running, **{str(status): n for status, n in ended.items()})

    def by_status(self) -> Counter[TrialStatus]:
        """The number of rows by status."""
        return Counter({status: getattr(self, status) for status in TrialStatus})

    @property
    def ended(self) -> int:
        """Trials that have a row."""
        return self.completed + self.diverged + self.stopped + self.failed

    @property
    def missing(self) -> int:
        """Trials without a row."""
        return self.total - self.ended


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast a sweep trains; None where nothing is known yet."""

    steps_per_s: float | None = None
    """Optimiser steps of single trials per second, over the last minute."""
    trials_per_hour: float | None = None
    """The same in trials of this sweep's mean length."""
    seconds_left: float | None = None
    """Estimated from the steps that are left."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepStatus:
    """One sweep of a results root, as `monosweep status` shows it."""

    sweep: str
    counts: Counts
    speed: Speed
    live: bool
    """Whether a driver is at work: its heartbeat is fresh."""
    updated_at: datetime | None
    """The last heartbeat; UTC."""
    n_hidden: int
    """Rows of the whole root that the views hide as duplicates."""
    unreadable: tuple[str, ...]
    """Parts of the whole root that cannot be read."""
    lease: Lease | None = None
    """Who drives it now."""


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
        self._samples = deque([(time.monotonic(), 0)])
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
        with self._lock:
            last = self._packs.get(progress.pack_id)
            done_before = last.trained_steps if last else 0
            # A pack that was taken over starts counting again.
            restarted = progress.trained_steps < done_before
            self._trained += progress.trained_steps - (0 if restarted else done_before)
            self._packs[progress.pack_id] = progress
            if progress.finished:
                self._running.pop(progress.pack_id, None)

    def forget(self, pack: Pack) -> None:
        """No worker trains `pack` any longer, and what it had reached is lost."""
        with self._lock:
            self._packs.pop(pack.pack_id, None)
            self._running.pop(pack.pack_id, None)

    def note(self, line: str) -> None:
        """Say something that stays on the screen."""
        self._console.print(Text(line), soft_wrap=True)

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
        """The rate over the last minute, and what it makes of the rest."""
        with self._lock:
            done = sum(progress.model_steps for progress in self._packs.values())
            (start, first), (now, last) = self._samples[0], (time.monotonic(), self._trained)
        if last == first or now == start:
            return Speed()
        rate = (last - first) / (now - start)
        per_hour = rate * 3600 * self._n_trials / self._n_steps
        return Speed(steps_per_s=rate, trials_per_hour=per_hour, seconds_left=(self._n_steps - done) / rate)

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
                self._console.print(Text(describe(self.counts(), self.speed())), soft_wrap=True)
                next_line = now + _LINE_S

    def _sample(self, now: float) -> None:
        with self._lock:
            self._samples.append((now, self._trained))
            while now - self._samples[1][0] > _RATE_WINDOW_S:
                self._samples.popleft()

    def _render(self) -> Group:
        with self._lock:
            done = sum(progress.model_steps for progress in self._packs.values())
        bar = ProgressBar(total=max(self._n_steps, 1), completed=done, width=40)
        return Group(bar, Text(describe(self.counts(), self.speed())))

    def _beat(self, state: str) -> None:
        heartbeat = {
            "state": state, "pid": os.getpid(), "host": socket.gethostname(),
            "updated_at": datetime.now(UTC).isoformat(),
            "running": self.counts().running, "speed": asdict(self.speed()),
        }  # fmt: skip
        # A display is not worth a sweep: if the store is really broken, the next commit says so.
        with suppress(StoreError):
            self._store.write_heartbeat(self._sweep, heartbeat)


def describe(counts: Counts, speed: Speed) -> str:
    """One line for people.

    >>> describe(Counts(total=16, completed=4, running=8), Speed())
    '4/16 trials done · 8 running'
    >>> speed = Speed(steps_per_s=5e3, trials_per_hour=310.4, seconds_left=70)
    >>> describe(Counts(total=16, completed=4, failed=1), speed)
    '4/16 trials done · 1 failed · 310 trials/h · 5,000 steps/s · 1 min left'
    """
    parts = [f"{counts.completed}/{counts.total} trials done"]
    rest = ("diverged", "stopped", "failed", "running")
    parts += [f"{getattr(counts, name)} {name}" for name in rest if getattr(counts, name)]
    if speed.trials_per_hour is not None:
        parts += [f"{speed.trials_per_hour:,.0f} trials/h", f"{speed.steps_per_s:,.0f} steps/s"]
    if speed.seconds_left is not None:
        parts.append(f"{duration(speed.seconds_left)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in the words of a person.

    >>> [duration(s) for s in (0.4, 59, 61, 7300, 200000)]
    ['0 s', '59 s', '1 min', '2.0 h', '2.3 days']
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def read_status(root: str, sweep: str | None = None) -> list[SweepStatus]:
    """How the sweeps of a results root stand; one of them, or all.

    Raises:
        StoreError: if `root` is not a results root or has no such sweep.
    """
    store = Store.open(root)
    index = store.index()
    names = store.sweeps() if sweep is None else [store.known(sweep)]
    return [_status(store, name, index) for name in names]


def _status(store: Store, sweep: str, index: Index) -> SweepStatus:
    trial_ids = member_ids(store, sweep)
    beat = store.read_heartbeat(sweep)
    live = beat is not None and _is_live(beat)
    running = int(beat["running"]) if beat and live else 0
    return SweepStatus(
        sweep=sweep,
        counts=Counts.of(len(trial_ids), count_by_status(index.statuses, trial_ids), running),
        speed=Speed(**beat["speed"]) if beat and live else Speed(),
        live=live,
        updated_at=datetime.fromisoformat(beat["updated_at"]) if beat else None,
        n_hidden=index.n_hidden,
        unreadable=index.unreadable,
        lease=store.read_lease(sweep),
    )


def _is_live(beat: Mapping[str, Any]) -> bool:
    age_s = (datetime.now(UTC) - datetime.fromisoformat(beat["updated_at"])).total_seconds()
    if beat["state"] != "running" or age_s > FRESH_S:
        return False
    return beat["host"] != socket.gethostname() or _exists(int(beat["pid"]))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # someone else's process is a process
        return True
    return True

"""Ctrl-C and SIGTERM: the first has packs checkpointed and ends the sweep, a second one does not wait for that.

    signal -> Stopping -> executors: told() between slices, hurried() while they wait for workers to checkpoint

Nothing is raised out of a signal: in the middle of Ray's own work that costs a minute, or a process left behind.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

_LEAVES_S = 10.0
"""After the second signal the process ends at the latest; who clears up after it is another one (`reaper`)."""
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Stopping:
    """How often a launch was told to stop."""

    _told: threading.Event = field(default_factory=threading.Event)
    _hurried: threading.Event = field(default_factory=threading.Event)
    _over: threading.Event = field(default_factory=threading.Event)

    def told(self) -> bool:
        """Whether it is to end."""
        return self._told.is_set()

    def hurried(self) -> bool:
        """Whether it is to end now."""
        return self._hurried.is_set()

    def hear(self, number: int, frame: FrameType | None) -> None:
        """A signal."""
        if self._told.is_set() and not self._hurried.is_set():
            self._hurried.set()
            threading.Thread(target=self._leave, name="monosweep-leave", daemon=True).start()
        self._told.set()

    def hang_up(self, number: int, frame: FrameType | None) -> None:
        """The terminal has closed; who leads its session is told so twice, and means it once."""
        self._told.set()

    def _leave(self) -> None:
        if not self._over.wait(_LEAVES_S):
            print("monosweep: interrupted; what is finished is kept; launch the same command again", file=sys.stderr)
            os._exit(_INTERRUPTED)

    def end(self) -> None:
        """It has ended."""
        self._over.set()


@contextmanager
def stop_signals() -> Iterator[Stopping]:
    """Hear Ctrl-C, SIGTERM and a terminal that closes for the length of a block."""
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():  # signals are another's business
        yield stopping
        return
    before = {number: signal.signal(number, stopping.hear) for number in (signal.SIGINT, signal.SIGTERM)}
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # nohup has it ignored
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, stopping.hang_up)
    try:
        yield stopping
    finally:
        stopping.end()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def deaf_to_hangups() -> Iterator[None]:
    """What is started meanwhile, and what that starts, goes on when the terminal closes: who drives it decides."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)

"""A pack of plain functions: each in a thread of its own, one of which runs at a time, and only while it is waited for.

    advance ──turn──> run(config, effort) ──at a recorded step, at its end, or when time is up──> advance ──> Snapshot

A thread is how a function that knows nothing of packs can be left at a recorded step, and gone on with or stopped
there.  A member goes on from a checkpoint by being run again up to its step.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families import procedure_of
from monosweep.model.families.source import one_line
from monosweep.model.family import Look
from monosweep.model.kinds.told_again import to_bytes
from monosweep.model.member import MemberState
from monosweep.model.notes import Notes
from monosweep.model.procedure import Effort, Outcome, Spent, checked
from monosweep.model.records import TrialStatus
from monosweep.model.results import Snapshot, TrialResult, Weights
from monosweep.model.schedule import next_recorded

ENGINE = "function"
_GRACE_S = 5.0
"""How long a trial whose time is up may take to notice, as in a library's inner loop, before it is left to itself."""
_NOT_OURS = (MemoryError, OSError, ImportError)
"""What a trial raises that may be the machine's fault; who drives the pack looks closer."""


class _TimeUp(BaseException):
    """Raised in a trial's thread when its time is up; no `except Exception` of its own takes it."""


class _LetGo(BaseException):
    """Raised in a trial's thread that nobody waits for any more."""


class _Run:
    """A trial in its thread.

    Args:
        again: the step up to which it has been run before; it is not left before it.
    """

    def __init__(self, config: TrialConfig, again: int) -> None:
        self.effort = Effort(config.n_steps, self._reached)
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.ended = False
        self.used_s = 0.0
        self._config, self._again = config, again
        self._turn, self._told = threading.Semaphore(0), threading.Semaphore(0)
        self._running, self._goes_on, self._let_go = False, True, False
        self._limit_s: float = config.time_limit_s  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._call, name=f"trial {config.trial_id}", daemon=True)
        self._thread.start()

    def go(self, seconds: float) -> bool:
        """Run until a recorded step, the end, or for about so long; whether it is at a step or at the end."""
        if not self._running:
            self._running = True
            self._turn.release()
        start = time.perf_counter()
        most = min(seconds, self._limit_s - self.used_s, threading.TIMEOUT_MAX)
        heard = self._told.acquire(timeout=max(0.0, most))
        self.used_s += time.perf_counter() - start
        if not heard and self.used_s >= self._limit_s:
            heard = self._time_is_up()
        self._running = not heard
        return heard

    def stop(self) -> None:
        """Have it end where it is, with what it has found; it stands at a recorded step."""
        self._goes_on = False
        while not self.ended:
            self.go(self._limit_s)

    def let_go(self) -> None:
        """Have its thread end."""
        self._let_go = True
        if self._running:
            _raise_in(self._thread, _LetGo)
        else:
            self._turn.release()

    def _time_is_up(self) -> bool:
        _raise_in(self._thread, _TimeUp)
        if not self._told.acquire(timeout=_GRACE_S):
            self.ended, self.error = True, _TimeUp()
        return True

    def _reached(self, effort: Effort) -> bool:
        """In the thread, at a recorded step."""
        if effort.step < self._again or (effort.step == self._again and self._goes_on):
            return True  # it has been told before
        if self._goes_on:
            self._told.release()
            self._turn.acquire()
            if self._let_go:
                raise _LetGo
        return self._goes_on

    def _call(self) -> None:
        """The thread."""
        self._turn.acquire()
        try:
            if not self._let_go:
                procedure = procedure_of(self._config)
                self.outcome = checked(procedure, procedure.run(self._config, self.effort), self.effort.step)
        except BaseException as error:
            self.error = error
        self.ended = True
        self._told.release()


def _raise_in(thread: threading.Thread, error: type[BaseException]) -> None:
    """Have Python raise in another thread, as soon as that is in Python."""
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(error))


class ProcedureRunner:
    """Runs a pack; as `contract.Trainer`.

    Args:
        states: members, at their starts or from a checkpoint.
        process: how this process calls itself.
        together: whether all members go to their next recorded step before any goes further, as judges need it; else
            one is run to its end before the next.
    """

    engine = how = ENGINE
    device = "cpu"

    def __init__(self, states: Sequence[MemberState], process: str = "", together: bool = False) -> None:
        self.configs = tuple(state.config for state in states)
        self._together = together
        self._notes = {s.config.trial_id: Notes.of(s, place, process) for place, s in enumerate(states)}
        self._steps = {state.config.trial_id: state.step for state in states}
        self._runs: dict[str, _Run] = {}
        self._left: dict[int, TrialResult] = {}

    @property
    def members(self) -> tuple[TrialConfig, ...]:
        """As the contract."""
        return tuple(config for config in self.configs if config.trial_id in self._steps)

    @property
    def done(self) -> bool:
        """As the contract."""
        return not self._steps

    @property
    def step(self) -> int:
        """As the contract."""
        last = max((result.last_step for result in self._left.values()), default=0)
        return max(self._steps.values(), default=last)

    @property
    def model_steps(self) -> int:
        """As the contract."""
        running = {trial_id: run.effort.step for trial_id, run in self._runs.items()}
        return sum(max(step, running.get(trial_id, 0)) for trial_id, step in self._steps.items())

    @property
    def diverged(self) -> dict[int, str]:
        """None does."""
        return {}

    def advance(self, max_seconds: float) -> Snapshot | None:
        """As the contract; where members do not go together, for so long, whoever ends meanwhile."""
        deadline, left = time.perf_counter() + max_seconds, list[TrialResult]()
        points: dict[str, Mapping[str, Any]] = {}
        for config in self._turns():
            if not self._run(config).go(deadline - time.perf_counter()):
                break
            self._hear(config, points, left)
            if time.perf_counter() >= deadline:
                break
        if not (points or left):
            return None
        return Snapshot(self.step, self.done, [points.get(config.trial_id) for config in self.configs], left)

    def _turns(self) -> Iterator[TrialConfig]:
        """Who runs next: those furthest behind, once each, or the first until it has ended."""
        if self._together:
            nexts = {c.trial_id: next_recorded(self._steps[c.trial_id], c.n_steps) for c in self.members}
            yield from [c for c in self.members if nexts[c.trial_id] == min(nexts.values())]
            return
        for config in self.members:
            while config.trial_id in self._steps:
                yield config

    def _run(self, config: TrialConfig) -> _Run:
        if config.trial_id not in self._runs:
            self._runs[config.trial_id] = _Run(config, self._steps[config.trial_id])
        return self._runs[config.trial_id]

    def _hear(self, config: TrialConfig, points: dict[str, Mapping[str, Any]], left: list[TrialResult]) -> None:
        """A member is at a recorded step, or has ended."""
        run, notes = self._runs[config.trial_id], self._notes[config.trial_id]
        if run.ended:
            left.append(self._leave(config, None))
            return
        loss = run.effort.least
        point = {"step": run.effort.step, "loss": loss, "min_loss": loss}
        notes.add(point, Look({}))
        self._steps[config.trial_id] = run.effort.step
        points[config.trial_id] = point

    def _leave(self, config: TrialConfig, stopped: str | None) -> TrialResult:
        """A member's run has ended, because it was `stopped` or by itself."""
        run, notes = self._runs.pop(config.trial_id), self._notes[config.trial_id]
        notes.seconds += run.used_s
        del self._steps[config.trial_id]
        step, found = run.effort.step, run.outcome
        if found is None:
            result = notes.result(TrialStatus.FAILED, _why(config, run.error), step)
        else:
            losses = {"loss": found.loss, "min_loss": min(found.loss, run.effort.least)}
            notes.add({"step": step, **losses}, Look({}, tables=found.tables))
            status = TrialStatus.COMPLETED if stopped is None else TrialStatus.STOPPED
            result = notes.result(status, stopped, step, {**losses, **found.metrics})
        self._left[notes.place] = result
        return result

    def points(self, trial_id: str) -> list[tuple[Mapping[str, Any], bool]]:
        """As the contract."""
        notes = self._there(trial_id)
        return [(point, point["step"] <= notes.judged) for point in notes.curve]

    def goes_on(self, trial_id: str) -> None:
        """As the contract."""
        self._there(trial_id).judged = self._steps[trial_id]

    def stop_all(self, why: Mapping[str, str]) -> list[TrialResult]:
        """As the contract.

        Raises:
            KeyError: if one is no member.
            ValueError: if one has not reached a recorded step, so that it has nothing to report.
        """
        for trial_id in why:
            if not self._there(trial_id).curve:
                raise ValueError(f"trial {trial_id} has reached no recorded step, and has nothing to report")
        left = []
        for config in [config for config in self.members if config.trial_id in why]:
            self._run(config).stop()
            left.append(self._leave(config, why[config.trial_id]))
        return left

    def results(self) -> list[TrialResult]:
        """As the contract."""
        return [self._left[place] for place in sorted(self._left)]

    def weights(self, trial_id: str) -> Weights:
        """There are none."""
        return {}

    def to_bytes(self, code: str = "") -> bytes:
        """As the contract."""
        return to_bytes([self._state(config) for config in self.members], {}, code)

    def _state(self, config: TrialConfig) -> MemberState:
        """A member as far as its last recorded step."""
        notes = self._notes[config.trial_id]
        step = notes.curve[-1]["step"] if notes.curve else 0
        return MemberState(
            config=config, step=step, curve=tuple(notes.curve), seconds=notes.seconds, trained_by=notes.trained_by,
            judged=notes.judged,
        )  # fmt: skip

    def close(self) -> None:
        """As the contract."""
        for run in self._runs.values():
            run.let_go()
        self._runs.clear()

    def _there(self, trial_id: str) -> Notes:
        if trial_id not in self._steps:
            raise KeyError(f"no member {trial_id!r} is here")
        return self._notes[trial_id]


def _why(config: TrialConfig, error: BaseException | None) -> str:
    """Why a trial has come to nothing, in one line.

    Raises:
        Exception: what may be the machine's fault.
    """
    if isinstance(error, _TimeUp):
        limit: float = config.time_limit_s  # type: ignore[attr-defined]
        return f"took longer than its time_limit_s, {limit:g}; give it more, or less to do"
    if isinstance(error, Spent):
        return f"found nothing in its n_steps, {config.n_steps}; give it more"
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, Exception) and not isinstance(error, _NOT_OURS):
        return one_line(error)
    assert error is not None
    raise error

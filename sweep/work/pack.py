"""One pack on one worker: train, checkpoint, and commit the rows of those who leave.  Both executors drive this module.

    Pack -> model.kinds: Trainer -> rows with provenance -> Store.commit

Trouble with training is a trial's own only if it fails alone (`failures`), and if it is none of the machine's
(`faults`).  Trouble with the store is nobody's failure: it stops the sweep.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from monosweep.model.checkpoint_header import CheckpointError
from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families.source import kind_and_words, one_line
from monosweep.model.kinds import kind_of
from monosweep.model.kinds.contract import Trainer
from monosweep.model.member import MemberState
from monosweep.model.records import TrialStatus
from monosweep.sweep.plan.machine import total_memory
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.plan.plan import needed_bytes
from monosweep.sweep.store.root import Store, StoreError
from monosweep.sweep.version import code_version, training_code
from monosweep.sweep.work.best import best_of
from monosweep.sweep.work.contract import Failure, Left, Orders, PackProgress, Seen, Settings
from monosweep.sweep.work.failures import fail, missing, split
from monosweep.sweep.work.faults import Cause, MachineError, cause_of
from monosweep.sweep.work.rows import live_points, process_here, tables_from

if TYPE_CHECKING:
    from monosweep.model.results import Snapshot, TrialResult

_SHOW_AFTER_S, _SHOW_AGAIN_S = 10.0, 45.0
"""Between two times that a pack's points so far are written for others to see: where there are new ones, and anyway, so
that they are not too old to be shown (`analysis.tables.live`)."""
_CHECKPOINT_AFTER_S = (5.0, 45.0)
"""A node that stops may give no time for a checkpoint, so the last one should be young; with slices of at most ten
seconds, it is never older than a minute."""
_SHARE_FOR_SAVING = 0.02
"""Of a pack's time, where a checkpoint takes long; between the two ages above."""
_NOT_WORTH_SAVING_S = 1.0
"""Training that is repeated sooner than a checkpoint is written and read."""


class _TrainingError(Exception):
    """Training raised; the message is the one line for the row."""

    def __init__(self, text: str, cause: Cause) -> None:
        super().__init__(text)
        self.cause = cause


def train_pack(
    store: Store,
    sweep: str,
    pack: Pack,
    settings: Settings,
    on_progress: Callable[[PackProgress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> PackProgress:
    """Train a pack to its end and commit its rows; once `should_stop`, checkpoint it and return early.

    Raises:
        StoreError: if the results root fails; what is committed is safe.
        MachineError: if this process can train no further, through no fault of a trial.
    """
    for progress in pack_slices(store, sweep, pack, settings, should_stop):
        on_progress(progress)
    return progress


def pack_slices(
    store: Store, sweep: str, pack: Pack, settings: Settings, should_stop: Callable[[], bool] = lambda: False,
    orders: Callable[[], Orders] = Orders,
) -> Iterator[PackProgress]:  # fmt: skip
    """`train_pack` as an iterator: a report at the start, after every slice, and at the end.

    Args:
        orders: what was ordered since the last report; asked after each where settings.rungs says that members wait.
    """
    code_version()  # of the sources as they are now, whatever is edited meanwhile
    store.check_reachable()
    training = _Training(store, sweep, pack, settings, should_stop, orders)
    yield from training.train(pack)
    yield training.progress(over=True)


def check_device(device: str, pack: Pack) -> str:
    """The name of the device that is to train a pack in this process, once it has computed something.

    Raises:
        MachineError: if it cannot.
    """
    try:
        kind = kind_of(pack.configs[0])
        kind.check_device(device)
        return kind.device_name(device)
    except Exception as error:
        raise MachineError(Cause.MACHINE, kind_and_words(error)) from None


@dataclass
class _Training:
    """A pack being trained, or the halves of it one after another."""

    store: Store
    sweep: str
    pack: Pack
    settings: Settings
    should_stop: Callable[[], bool]
    orders: Callable[[], Orders]
    stopped: bool = False
    released: bool = False
    """It was ordered to be, and is stopped."""
    settled_steps: int = 0
    """Model steps of the members that have rows."""
    current_steps: int = 0
    """Model steps of the members in training."""
    trained_steps: int = 0
    shown: bool = False
    """Whether others may see points of the pack in training."""
    shown_at: float = field(default_factory=time.monotonic)
    """When the points of the pack in training were last written for others to see."""
    saving_s: float = 0.0
    """How long the last checkpoint took."""
    ended: Counter[TrialStatus] = field(default_factory=Counter)
    left: list[Left] = field(default_factory=list)
    """Who has got its row since the last report."""
    best: dict[str, float] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    """Since the last report."""
    warnings: list[str] = field(default_factory=list)

    def progress(self, over: bool = False, seen: Sequence[Seen] = ()) -> PackProgress:
        told, self.warnings = (*self.warnings, *self.store.notes()), []
        left, self.left = tuple(self.left), []
        failures, self.failures = tuple(self.failures), []
        gone = over and self.released
        return PackProgress(
            pack_id=self.pack.pack_id, ended=dict(self.ended), trained_steps=self.trained_steps,
            n_trials=sum(self.ended.values()) if gone else len(self.pack.configs),
            model_steps=self.settled_steps + (0 if gone else self.current_steps),
            finished=over and not self.stopped, stopped=over and self.stopped and not self.released,
            released=over and self.released, seen=tuple(seen), left=left, warnings=told, best=dict(self.best),
            failures=failures,
        )  # fmt: skip

    def train(self, pack: Pack) -> Iterator[PackProgress]:
        """Train what the pack lacks: members that a worker before this one has seen to the end have their rows.  Where
        that is not possible, train its halves."""
        rows = self.store.pack_rows(self.sweep, pack.pack_id)
        lacking = missing(rows, pack)
        lack = {config.trial_id for config in lacking}
        for config in pack.configs:
            if config.trial_id not in lack:
                self._settle(config, rows[config.trial_id])
        if not lacking:
            self.store.drop_checkpoint(self.sweep, pack.pack_id)
            return
        trouble: tuple[str, Cause] | None = None
        try:
            yield from self._attempt(pack, lacking)
        except _TrainingError as error:
            trouble = str(error), error.cause
        finally:
            self._hide(pack)
        if trouble is None:  # the exception is gone by here, and with it the memory that its frames held
            return
        self.current_steps = 0
        _raise_if_machine(*trouble, lacking, self.settings.device)
        if len(lacking) == 1:
            fail(self.store, self.sweep, pack, lacking, trouble[0], self.settings.device)
            self.failures.append(Failure(trial_id=lacking[0].trial_id, error=trouble[0]))
            self._settle(lacking[0], TrialStatus.FAILED)
            return
        for half in split(self.store, self.sweep, pack, lacking):
            if not self.stopped:
                yield from self.train(half)

    def _attempt(self, pack: Pack, lacking: list[TrialConfig]) -> Iterator[PackProgress]:
        """Train to the end; `lacking` always holds the members that have no row yet."""
        with closing(self._trainer(pack, lacking)) as trainer:
            yield from self._to_the_end(trainer, pack, lacking)

    def _to_the_end(self, trainer: Trainer, pack: Pack, lacking: list[TrialConfig]) -> Iterator[PackProgress]:
        self._stop_members(trainer, pack, lacking, dict(pack.leaving))
        self.current_steps = trainer.model_steps
        self._better(point for config in trainer.members for point, _ in trainer.points(config.trial_id))
        if not trainer.done:
            yield from self._ordered(trainer, pack, lacking, self._history(trainer))
        saved_at = time.monotonic()
        while not trainer.done and not self.stopped:
            snapshot = self._advance(trainer, pack)
            self._better(point for point in (snapshot.points if snapshot else ()) if point)
            if snapshot and snapshot.left:
                self._commit(pack, snapshot.left, trainer.how, trainer.device)
                lacking[:] = trainer.members
            self.current_steps = trainer.model_steps
            self.stopped = not trainer.done and self.should_stop()
            self._show(trainer, pack, snapshot)
            if self._is_due(trainer, snapshot, time.monotonic() - saved_at):
                start = time.monotonic()
                self.store.save_checkpoint(self.sweep, pack.pack_id, _to_bytes(trainer))
                saved_at = time.monotonic()
                self.saving_s = saved_at - start
            if self.stopped:
                return
            if not trainer.done:
                yield from self._ordered(trainer, pack, lacking, self._seen(trainer, snapshot))
        if not self.stopped:
            self.store.drop_checkpoint(self.sweep, pack.pack_id)

    def _better(self, points: Iterable[Mapping[str, Any]]) -> None:
        self.best = best_of([self.best, *points])

    def _show(self, trainer: Trainer, pack: Pack, snapshot: Snapshot | None) -> None:
        """Let others see what members have recorded so far, now and then.  Watching is not worth a sweep: if the store
        is really broken, the next commit says so."""
        age_s = time.monotonic() - self.shown_at
        if trainer.done or self.stopped or age_s < (_SHOW_AFTER_S if snapshot else _SHOW_AGAIN_S):
            return
        self.shown_at, self.shown = time.monotonic(), True
        members = [(c, [point for point, _ in trainer.points(c.trial_id)]) for c in trainer.members]
        with suppress(StoreError):
            self.store.write_live(self.sweep, pack.pack_id, live_points(pack.pack_id, members))

    def _hide(self, pack: Pack) -> None:
        if self.shown:
            self.shown = False
            with suppress(StoreError):
                self.store.drop_live(self.sweep, pack.pack_id)

    def _ordered(
        self, trainer: Trainer, pack: Pack, lacking: list[TrialConfig], seen: Sequence[Seen]
    ) -> Iterator[PackProgress]:
        """Report, and do what is ordered then."""
        yield self.progress(seen=seen)
        if self.settings.rungs is None:
            return
        orders = self.orders()
        self._stop_members(trainer, pack, lacking, orders.stop)
        there = {config.trial_id for config in trainer.members}
        for trial_id in {each.trial_id for each in seen if not each.judged} & there - orders.hold:
            trainer.goes_on(trial_id)
        self.current_steps = trainer.model_steps
        if orders.release and pack is self.pack and not trainer.done:
            self.store.save_checkpoint(self.sweep, pack.pack_id, _to_bytes(trainer))
            self.stopped = self.released = True

    def _stop_members(self, trainer: Trainer, pack: Pack, lacking: list[TrialConfig], stop: Mapping[str, str]) -> None:
        """Have members leave; whoever has nothing to show yet, since its checkpoint is gone, does not."""
        there = {config.trial_id for config in trainer.members if trainer.points(config.trial_id)}
        with _training():
            left = trainer.stop_all({trial_id: why for trial_id, why in stop.items() if trial_id in there})
        if left:
            self._commit(pack, left, trainer.engine, trainer.device)
            lacking[:] = trainer.members

    def _history(self, trainer: Trainer) -> list[Seen]:
        """The rungs that members had reached before this worker took them."""
        found = [(config, *point) for config in trainer.members for point in trainer.points(config.trial_id)]
        return [self._as_seen(config, point, judged) for config, point, judged in found if self._is_rung(config, point)]

    def _seen(self, trainer: Trainer, snapshot: Snapshot | None) -> list[Seen]:
        """The rungs that members have just reached."""
        there = {config.trial_id for config in trainer.members}
        pairs = zip(trainer.configs, snapshot.points if snapshot else (), strict=False)
        found = [(config, point) for config, point in pairs if point and config.trial_id in there]
        return [self._as_seen(config, point, False) for config, point in found if self._is_rung(config, point)]

    def _is_rung(self, config: TrialConfig, point: Mapping[str, Any]) -> bool:
        rungs = self.settings.rungs
        return rungs is not None and rungs.at(config, point["step"]) is not None

    def _as_seen(self, config: TrialConfig, point: Mapping[str, Any], judged: bool) -> Seen:
        return Seen(trial_id=config.trial_id, step=point["step"], values=point, judged=judged)

    def _trainer(self, pack: Pack, rest: Sequence[TrialConfig]) -> Trainer:
        """From the pack's checkpoint if there is a good one, else from the start."""
        self._gather(pack, rest)
        data = self.store.load_checkpoint(self.sweep, pack.pack_id)
        if data is not None and (trainer := self._resumed(pack, rest, data)):
            return trainer
        with _training():
            return kind_of(rest[0]).start(
                rest, self.settings.device, self.settings.record_neurons, self.settings.save_weights,
                process=process_here(rest[0], self.settings.device), together=self.settings.rungs is not None,
            )  # fmt: skip

    def _gather(self, pack: Pack, rest: Sequence[TrialConfig]) -> None:
        """A checkpoint of its own for a pack whose members come from those of others; who is in none starts over."""
        sources = [source for source in pack.sources if source != pack.pack_id]
        if not sources or self.store.load_checkpoint(self.sweep, pack.pack_id) is not None:
            return
        kind = kind_of(rest[0])
        found: dict[str, MemberState] = {}
        about: dict[str, Any] = {}
        for source in pack.sources:
            data = self.store.load_checkpoint(self.sweep, source)
            try:
                members, about = kind.from_bytes(data or b"", {config.trial_id for config in rest}, training_code())
            except CheckpointError as error:
                problem = f"the checkpoint of pack {source} is not readable ({error})"
                self.warnings.append(f"{problem}; its trials start over")
                continue
            found |= {member.config.trial_id: member for member in members}
        if found:
            states = [found.get(config.trial_id, MemberState(config=config)) for config in rest]
            self.store.save_checkpoint(self.sweep, pack.pack_id, kind.to_bytes(states, about, training_code()))

    def _resumed(self, pack: Pack, rest: Sequence[TrialConfig], data: bytes) -> Trainer | None:
        try:
            with _training():
                trainer = kind_of(rest[0]).resume(
                    data, self.settings.device, {config.trial_id for config in rest}, self.settings.record_neurons,
                    self.settings.save_weights, training_code(), process_here(rest[0], self.settings.device),
                    self.settings.rungs is not None,
                )  # fmt: skip
        except CheckpointError as error:
            self._warn(pack, error.problem)
            return None
        if set(trainer.members) != set(rest):
            self._warn(pack, "holds other trials")
            return None
        return trainer

    def _warn(self, pack: Pack, problem: str) -> None:
        self.warnings.append(f"the checkpoint of pack {pack.pack_id} {problem}; the pack starts over")

    def _advance(self, trainer: Trainer, pack: Pack) -> Snapshot | None:
        before = trainer.model_steps
        with _training():
            snapshot = trainer.advance(max_seconds=self.settings.slice_s)
        left = sum(result.last_step for result in snapshot.left) if snapshot else 0
        self.trained_steps += trainer.model_steps + left - before
        for step, weights in snapshot.weights.items() if snapshot else ():
            from monosweep.model.checkpoint import weights_bytes  # torch

            with _training():
                data = weights_bytes(weights, step)
            self.store.save_weights(self.sweep, pack.pack_id, step, weights, data)
        return snapshot

    def _is_due(self, trainer: Trainer, snapshot: Snapshot | None, age_s: float) -> bool:
        if trainer.done or self.stopped:
            return self.stopped
        if snapshot is not None:
            return age_s >= _NOT_WORTH_SAVING_S
        least, most = _CHECKPOINT_AFTER_S
        return age_s >= min(most, max(least, self.saving_s / _SHARE_FOR_SAVING))

    def _commit(self, pack: Pack, left: Sequence[TrialResult], engine: str, device: str) -> None:
        with _training():  # a user's own may give what its columns do not hold
            tables = tables_from(pack.pack_id, left, engine, device)
        self.store.commit(self.sweep, pack.pack_id, tables)
        for result in left:
            self._settle(result.config, result.status)
            if self.settings.tells_ends:
                self.left.append(_left(result))

    def _settle(self, config: TrialConfig, status: TrialStatus) -> None:
        self.settled_steps += config.n_steps
        self.ended[status] += 1


def _left(result: TrialResult) -> Left:
    return Left(
        trial_id=result.config.trial_id, status=result.status, last_step=result.last_step, metrics=result.metrics
    )


def _raise_if_machine(text: str, cause: Cause, lacking: Sequence[TrialConfig], device: str) -> None:
    """Fewer members take less memory; what a trial alone may not have is the machine's, unless none has so much."""
    if cause is Cause.OWN or (cause is Cause.MEMORY and (len(lacking) > 1 or _is_too_large(lacking[0], device))):
        return
    raise MachineError(cause, text)


def _is_too_large(config: TrialConfig, device: str) -> bool:
    return needed_bytes(device, Pack((config,))) > total_memory(device)


@contextmanager
def _training() -> Iterator[None]:
    """What the model raises becomes one line; the traceback, and the memory that it holds, goes."""
    try:
        yield
    except CheckpointError:  # the pack starts over
        raise
    except Exception as error:
        text, cause = str(error).partition("\n")[0] if isinstance(error, ConfigError) else "", cause_of(error)
        told = one_line if cause is Cause.OWN else kind_and_words  # a user's line is not to blame for a machine
        raise _TrainingError(text or told(error), cause) from None


def _to_bytes(trainer: Trainer) -> bytes:
    with _training():
        return trainer.to_bytes(training_code())

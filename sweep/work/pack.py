"""One pack on one worker: train, checkpoint, and commit its rows.  Both executors drive this module.

    Pack -> model.train.PackTrainer -> rows with provenance -> Store.commit

Membership must not decide a trial's fate: when a pack cannot be trained, its halves are, and only a trial
that fails alone gets a `failed` row.  Trouble with the store is nobody's failure: it stops the sweep.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.records import Metrics, TrialStatus
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import Key, Provenance, arrow_schema, arrow_table, trial_row
from monosweep.sweep.version import code_version

if TYPE_CHECKING:
    from monosweep.model.train import PackTrainer, Snapshot, TrialResult

Keep = Literal["none", "final", "log2"]
_Columns = Mapping[str, np.ndarray[Any, Any]]

MAX_RETRIES = 3
"""How often a pack is taken up again from its checkpoint after its worker died."""
_CHECKPOINT_AFTER_S = 45.0
"""With slices of at most ten seconds, a checkpoint is never older than a minute."""
_NOT_WORTH_SAVING_S = 1.0
"""Training that is repeated sooner than a checkpoint is written and read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """What a worker has to know besides its pack."""

    device: str = "cpu"
    """`cpu` or `cuda`."""
    save_weights: Keep = "none"
    """Which recorded steps' weights to keep."""
    record_neurons: Literal["final", "log2"] = "final"
    """Which recorded steps go into `neurons`."""
    slice_s: float = 10.0
    """Seconds of training between two progress reports."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What an executor is given: the packs of one launch."""

    store: Store
    sweep: str
    packs: tuple[Pack, ...]
    settings: Settings
    n_workers: int
    """Packs in training at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackProgress:
    """How far a pack is.  Everything counts its members, over all halves it may have been split into."""

    pack_id: str
    n_trials: int
    model_steps: int
    """Steps of single trials done, those from a checkpoint included; n_trials·n_steps at the end."""
    trained_steps: int
    """The same without those from a checkpoint: what this worker has done since it took the pack."""
    ended: Mapping[TrialStatus, int] = field(default_factory=dict)
    """Trials whose rows are committed."""
    finished: bool = False
    """Every member has its row."""
    stopped: bool = False
    """It is checkpointed, and this worker trains it no further."""
    warnings: tuple[str, ...] = ()
    """What the user should hear about since the last report."""


class _TrainingError(Exception):
    """Training raised; the message is the one line for the row."""


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
    """
    for progress in pack_slices(store, sweep, pack, settings, should_stop):
        on_progress(progress)
    return progress


def pack_slices(
    store: Store, sweep: str, pack: Pack, settings: Settings, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[PackProgress]:
    """`train_pack` as an iterator: a report at the start, after every slice, and at the end."""
    code_version()  # of the sources as they are now, whatever is edited meanwhile
    work = _Work(store, sweep, pack, settings, should_stop)
    yield from work.train(pack)
    yield work.progress(over=True)


@dataclass
class _Work:
    """A pack being trained, or the halves of it one after another."""

    store: Store
    sweep: str
    pack: Pack
    settings: Settings
    should_stop: Callable[[], bool]
    stopped: bool = False
    settled_steps: int = 0
    """Model steps of the members that have rows."""
    current_steps: int = 0
    """Model steps of the members in training."""
    trained_steps: int = 0
    ended: Counter[TrialStatus] = field(default_factory=Counter)
    warnings: list[str] = field(default_factory=list)

    def progress(self, over: bool = False) -> PackProgress:
        told, self.warnings = (*self.warnings, *self.store.notes()), []
        return PackProgress(
            pack_id=self.pack.pack_id, n_trials=len(self.pack.configs), ended=dict(self.ended),
            model_steps=self.settled_steps + self.current_steps, trained_steps=self.trained_steps,
            finished=over and not self.stopped, stopped=over and self.stopped, warnings=told,
        )  # fmt: skip

    def train(self, pack: Pack) -> Iterator[PackProgress]:
        """Train `pack`; where that is not possible, train its halves."""
        trouble: str | None = None
        try:
            yield from self._attempt(pack)
        except _TrainingError as error:
            trouble = str(error)
        if trouble is None:  # the exception is gone by here, and with it the memory that its frames held
            return
        self.current_steps = 0
        self.store.drop_checkpoint(self.sweep, pack.pack_id)
        if len(pack.configs) == 1:
            fail_pack(self.store, self.sweep, pack, trouble, self.settings.device)
            self._settle(pack, [TrialStatus.FAILED])
            return
        for half in halves(pack):
            if not self.stopped:
                yield from self.train(half)

    def _attempt(self, pack: Pack) -> Iterator[PackProgress]:
        trainer = self._trainer(pack)
        self.current_steps = trainer.step * len(pack.configs)
        yield self.progress()
        saved_at = time.monotonic()
        while not trainer.done:
            snapshot = self._advance(trainer, pack)
            self.stopped = not trainer.done and self.should_stop()
            if self._is_due(trainer, snapshot, time.monotonic() - saved_at):
                self.store.save_checkpoint(self.sweep, pack.pack_id, _to_bytes(trainer))
                saved_at = time.monotonic()
            if self.stopped:
                return
            if not trainer.done:
                yield self.progress()
        self._commit(pack, trainer)

    def _trainer(self, pack: Pack) -> PackTrainer:
        """From the pack's checkpoint if there is a good one, else from the start."""
        from monosweep.model.train import PackTrainer

        data = self.store.load_checkpoint(self.sweep, pack.pack_id)
        if data is not None and (trainer := self._resumed(pack, data)):
            return trainer
        with _training():
            return PackTrainer(
                list(pack.configs), device=self.settings.device, record_neurons=self.settings.record_neurons
            )

    def _resumed(self, pack: Pack, data: bytes) -> PackTrainer | None:
        from monosweep.model.train import PackTrainer

        try:
            with _training():
                trainer = PackTrainer.from_bytes(data, device=self.settings.device)
        except _TrainingError as error:
            self._warn(pack, f"is not readable ({error})")
            return None
        if tuple(trainer.configs) != tuple(pack.configs):
            self._warn(pack, "holds other trials")
            return None
        return trainer

    def _warn(self, pack: Pack, problem: str) -> None:
        self.warnings.append(f"the checkpoint of pack {pack.pack_id} {problem}; the pack starts over")

    def _advance(self, trainer: PackTrainer, pack: Pack) -> Snapshot | None:
        before = trainer.step
        with _training():
            snapshot = trainer.advance(max_seconds=self.settings.slice_s)
        self.trained_steps += (trainer.step - before) * len(pack.configs)
        self.current_steps = trainer.step * len(pack.configs)
        if snapshot is not None and self._wants_weights(snapshot.final):
            with _training():
                weights = trainer.weights_bytes()
            self.store.save_weights(self.sweep, pack.pack_id, snapshot.step, weights)
        return snapshot

    def _wants_weights(self, final: bool) -> bool:
        return self.settings.save_weights == "log2" or (self.settings.save_weights == "final" and final)

    def _is_due(self, trainer: PackTrainer, snapshot: Snapshot | None, age_s: float) -> bool:
        if trainer.done or self.stopped:
            return self.stopped
        if snapshot is not None:
            return age_s >= _NOT_WORTH_SAVING_S
        return age_s >= _CHECKPOINT_AFTER_S

    def _commit(self, pack: Pack, trainer: PackTrainer) -> None:
        with _training():
            results = trainer.results()
        tables = _tables(pack, results, trainer.engine, self.settings.device)
        self.store.commit(self.sweep, pack.pack_id, tables)
        self.store.drop_checkpoint(self.sweep, pack.pack_id)
        self._settle(pack, [TrialStatus(result.status) for result in results])

    def _settle(self, pack: Pack, statuses: Iterable[TrialStatus]) -> None:
        self.settled_steps += sum(config.n_steps for config in pack.configs)
        self.current_steps = 0
        self.ended.update(statuses)


def after_losses(work: Work, pack: Pack, reason: str) -> tuple[Pack, ...]:
    """What to train instead of a pack whose workers died again and again: its halves, from its checkpoint.

    A single trial gets a `failed` row, and nothing is left to train.
    """
    if _is_trained(work, pack):  # the last death came after the commit
        return ()
    if len(pack.configs) > 1:
        _pass_on(work, pack, halves(pack))
        return halves(pack)
    error = f"its worker died {MAX_RETRIES + 1} times ({reason})"
    fail_pack(work.store, work.sweep, pack, error, work.settings.device)
    return ()


def _pass_on(work: Work, pack: Pack, parts: Sequence[Pack]) -> None:
    """Have the parts of a pack go on from its checkpoint, if there is a good one."""
    from monosweep.model.train import part_of_checkpoint

    data = work.store.load_checkpoint(work.sweep, pack.pack_id)
    if data is not None:
        with suppress(ConfigError):  # else they start over
            for part in parts:
                work.store.save_checkpoint(work.sweep, part.pack_id, part_of_checkpoint(data, part.configs))
    work.store.drop_checkpoint(work.sweep, pack.pack_id)


def _is_trained(work: Work, pack: Pack) -> bool:
    """Whether the pack stands in the table; rows of an earlier failure do not count."""
    rows = work.store.pack_rows(work.sweep, pack.pack_id)
    return all(rows.get(config.trial_id, TrialStatus.FAILED) != TrialStatus.FAILED for config in pack.configs)


def settled_progress(work: Work, pack: Pack) -> PackProgress:
    """The report of a pack that has its rows, whoever wrote them."""
    return PackProgress(
        pack_id=pack.pack_id, n_trials=len(pack.configs), model_steps=sum(c.n_steps for c in pack.configs),
        trained_steps=0, ended=Counter(work.store.pack_rows(work.sweep, pack.pack_id).values()), finished=True,
    )  # fmt: skip


def halves(pack: Pack) -> tuple[Pack, Pack]:
    """A pack of two or more as two packs."""
    middle = len(pack.configs) // 2
    return Pack(pack.configs[:middle]), Pack(pack.configs[middle:])


def fail_pack(store: Store, sweep: str, pack: Pack, error: str, device: str) -> None:
    """Commit `failed` rows for every member of a pack that cannot be trained.

    Raises:
        StoreError: if they cannot be written.
    """
    from monosweep.model.device import device_name

    rows = [
        trial_row(
            Key(trial_id=config.trial_id, pack_id=pack.pack_id), config, None,
            _provenance(TrialStatus.FAILED, error, 0, 0.0, _engine(config), device, device_name(device)),
        )
        for config in pack.configs
    ]  # fmt: skip
    empty = {table: arrow_table(table, []) for table in ("curves", "neurons")}
    store.commit(sweep, pack.pack_id, {"trials": arrow_table("trials", rows), **empty})
    store.drop_checkpoint(sweep, pack.pack_id)


@contextmanager
def _training() -> Iterator[None]:
    """What the model raises becomes one line; the traceback, and the memory that it holds, goes."""
    try:
        yield
    except Exception as error:
        raise _TrainingError(_one_line(error)) from None


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, ConfigError) and lines:
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _to_bytes(trainer: PackTrainer) -> bytes:
    with _training():
        return trainer.to_bytes()


def _engine(config: TrialConfig) -> str:
    return "packed" if config.optimizer == "Lamb" else "solo"


def _tables(pack: Pack, results: Sequence[TrialResult], engine: str, device: str) -> dict[str, pa.Table]:
    """The three parts of a trained pack, trial by trial."""
    from monosweep.model.device import device_name

    name, pack_id = device_name(device), pack.pack_id
    rows = []
    for result in results:
        key = Key(trial_id=result.config.trial_id, pack_id=pack_id)
        provenance = _provenance(
            result.status, result.error, result.last_step, result.wall_time_s, engine, device, name
        )
        rows.append(trial_row(key, result.config, _metrics(result), provenance))
    return {
        "trials": arrow_table("trials", rows),
        "curves": _stacked("curves", pack_id, [(r.config.trial_id, r.curve) for r in results]),
        "neurons": _stacked("neurons", pack_id, [(r.config.trial_id, r.neurons) for r in results]),
    }


def _metrics(result: TrialResult) -> Metrics | None:
    return result.metrics if result.status == TrialStatus.COMPLETED else None


def _stacked(table: str, pack_id: str, members: Sequence[tuple[str, _Columns]]) -> pa.Table:
    """The members' arrays below one another, with the key columns in front."""
    counts = [len(arrays["step"]) for _, arrays in members]
    stacked: dict[str, Any] = {
        "trial_id": np.repeat([trial_id for trial_id, _ in members], counts),
        "pack_id": [pack_id] * sum(counts),
    }
    for name in arrow_schema(table).names[2:]:
        stacked[name] = np.concatenate([arrays[name] for _, arrays in members])
    schema = arrow_schema(table)
    return pa.table([pa.array(stacked[f.name], type=f.type) for f in schema], schema=schema)


def _provenance(
    status: TrialStatus, error: str | None, last_step: int, wall_time_s: float,
    engine: str, device: str, name: str,
) -> Provenance:  # fmt: skip
    return Provenance(
        status=TrialStatus(status), error=error, last_step=last_step, wall_time_s=wall_time_s, engine=engine,
        device=device, device_name=name, code_version=code_version(),
        library_versions=_library_versions(), finished_at=datetime.now(UTC),
    )  # fmt: skip


@cache
def _library_versions() -> str:
    libraries = ", ".join(f"{name} {_version(name)}" for name in ("torch", "numpy", "pyarrow"))
    return f"python {platform.python_version()}, {libraries}"


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # a checkout on the path, never installed
        return "unknown"

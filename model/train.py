"""A pack in, snapshots out: the training loop that every executor, the debugger and the notebook share.

    configs ──engine──> advance ──> snapshot: points of those who reached a recorded step, results of those who left

No files and no Ray here: a trainer turns into bytes and back, and its owner decides where they go.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy import ndarray
from torch import Tensor

from monosweep.model.checkpoint import from_bytes, serialise, to_bytes
from monosweep.model.config import ConfigError, TrialConfig, shape_of, unknown_name
from monosweep.model.device import reproducible, resolve
from monosweep.model.engines import EngineName, make_engine
from monosweep.model.families import description_of, family_of
from monosweep.model.family import Look, Trained, names
from monosweep.model.losses import LossRecord
from monosweep.model.member import MemberState, Rows
from monosweep.model.memory import LOOK_BYTES
from monosweep.model.records import CurvePoint, TrialStatus
from monosweep.model.schedule import is_recorded, lr_at, next_recorded

Record = Literal["final", "log2"]
Keep = Literal["none", "final", "log2"]
Columns = Mapping[str, ndarray]
Weights = Mapping[str, Mapping[str, Tensor]]
"""Members' tensors on the host: by trial_id, then by name."""


@dataclass(frozen=True, slots=True)
class TrialResult:
    """All that one trial's rows are made of."""

    config: TrialConfig
    status: TrialStatus
    error: str | None
    """Why the trial did not complete."""
    last_step: int
    metrics: Mapping[str, Any] | None
    """Losses and the family's metrics at the last step; None if the trial diverged."""
    curve: Columns
    """Columns of `curves`: of `CurvePoint` and the family's `CurveMetrics`."""
    tables: Mapping[str, Columns]
    """Columns of the family's own tables."""
    wall_time_s: float
    """This trial's equal share of the time that its pack was trained while it was there."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pack where some member has reached a recorded step or left."""

    step: int
    """Steps that the member furthest ahead has done."""
    final: bool
    """Whether nobody is left to train."""
    points: list[Mapping[str, Any] | None]
    """One per member in the order in which they came: a row of `curves`, or None where the member is at no recorded
    step or has left before it."""
    left: list[TrialResult] = field(default_factory=list)
    """Members that have ended: they are in the pack no more."""
    weights: Mapping[int, Weights] = field(default_factory=dict)
    """By their own step, the members looked at whose weights are to be kept."""


@dataclass(slots=True)
class _Member:
    """A member's records; what it trains is its engine's."""

    config: TrialConfig
    place: int
    """In the order in which members came."""
    curve: list[Mapping[str, Any]]
    rows: Rows
    seconds: float


class PackTrainer:
    """Trains a pack from recorded step to recorded step; members may leave it and join it between any two calls.

    Args:
        configs: trials that agree on their shape fields; an optimizer other than Lamb trains alone.
        device: `auto`, `cpu` or `cuda`.
        record: keep the family's tables (`neurons`) at the end only, or at every recorded step.
        engine: `auto` takes the fastest that can train the pack.
        keep_weights: at which recorded steps snapshots hold members' weights.

    Raises:
        ConfigError: if the trials cannot share a pack, or the device or optimizer does not exist.

    >>> from monosweep.model import TwoLayerConfig
    >>> config = TwoLayerConfig(n_features=8, d_embed=4, n_neurons=8, batch_size=16, n_steps=4)
    >>> [snapshot.step for snapshot in PackTrainer([config], device="cpu")]
    [1, 2, 4]
    """

    def __init__(
        self,
        configs: Sequence[TrialConfig],
        device: str = "auto",
        record: Record = "final",
        engine: EngineName = "auto",
        keep_weights: Keep = "none",
    ) -> None:
        for kind, value, known in (("record", record, Record), ("keep_weights", keep_weights, Keep)):
            if value not in get_args(known):
                raise ConfigError(unknown_name(kind, value, get_args(known)))
        self.configs = tuple(configs)
        """All that have ever been members, in the order in which they came."""
        self.device, self.record, self.keep_weights = resolve(device), record, keep_weights
        _check_once(self.configs)
        with reproducible(self.device):
            self._engine = make_engine(self.configs, self.device, engine)
        self._losses = LossRecord(self.configs)
        self._slots: list[_Member | None] = [_Member(c, i, [], {}, 0.0) for i, c in enumerate(self.configs)]
        self._slot_configs = list(self.configs)
        self._left: dict[int, TrialResult] = {}

    @property
    def members(self) -> tuple[TrialConfig, ...]:
        """Those in training."""
        return tuple(member.config for member in self._slots if member)

    @property
    def step(self) -> int:
        """Optimiser steps that the member furthest ahead has done."""
        steps = [step for step, member in zip(self._engine.steps, self._slots, strict=True) if member]
        return max(steps, default=max((result.last_step for result in self._left.values()), default=0))

    @property
    def model_steps(self) -> int:
        """Optimiser steps of all members in training."""
        return sum(step for step, member in zip(self._engine.steps, self._slots, strict=True) if member)

    @property
    def done(self) -> bool:
        """Whether nobody is left to train."""
        return not any(self._slots)

    @property
    def engine(self) -> str:
        """`packed`, `vmapped` or `solo`."""
        return self._engine.name

    @property
    def diverged(self) -> dict[int, str]:
        """Members that have diverged, by the order in which they came, with the reason."""
        ended = self._left.items()
        return {place: result.error or "" for place, result in ended if result.status == TrialStatus.DIVERGED}

    def __iter__(self) -> Iterator[Snapshot]:
        """Train to the end, yielding every snapshot."""
        while not self.done:
            snapshot = self.advance()
            assert snapshot is not None
            yield snapshot

    def advance(self, max_seconds: float = math.inf) -> Snapshot | None:
        """Train until a member reaches a recorded step or leaves, or return None once about `max_seconds` have passed;
        always trains something.

        Where the trainer is interrupted does not change a bit of what it trains.
        """
        deadline, ahead = time.perf_counter() + max_seconds, self._to_the_next_look()
        left: list[TrialResult] = []
        with reproducible(self.device):
            # Who diverges leaves at once; but what an engine has trained ahead has to be asked for first.
            while ahead and (not left or self._engine.ahead):
                n_steps = min(ahead, self._engine.chunk)
                left += self._train(n_steps)
                ahead -= n_steps
                if time.perf_counter() >= deadline and not self._engine.ahead:
                    break
            if not left and ahead:
                return None
            return self._snapshot(left)

    def _share(self, start: float) -> None:
        """Share the time since `start` among the members."""
        there = self._live().values()
        for member in there:
            member.seconds += (time.perf_counter() - start) / len(there)

    def _live(self) -> dict[int, _Member]:
        return {slot: member for slot, member in enumerate(self._slots) if member}

    def _to_the_next_look(self) -> int:
        """Steps until some member reaches a recorded step."""
        steps = self._engine.steps
        return min(next_recorded(steps[slot], m.config.n_steps) - steps[slot] for slot, m in self._live().items())

    def _train(self, n_steps: int) -> list[TrialResult]:
        """Train everyone; the results of those whose loss became non-finite, who leave."""
        start, before = time.perf_counter(), self._engine.steps
        losses = self._engine.advance(n_steps)
        self._losses.push(losses)
        self._share(start)
        finite = np.isfinite(losses)
        left = []
        for slot in self._live():
            if not finite[:, slot].all():
                step = before[slot] + 1 + int(np.argmin(finite[:, slot]))
                left.append(self._leave(slot, TrialStatus.DIVERGED, f"the loss became non-finite at step {step}", step))
        return left

    def _leave(
        self, slot: int, status: TrialStatus, error: str | None, step: int, metrics: Mapping[str, Any] | None = None
    ) -> TrialResult:
        member = self._slots[slot]
        assert member is not None
        description = description_of(member.config)
        self._left[member.place] = result = TrialResult(
            config=member.config,
            status=status,
            error=error,
            last_step=step,
            metrics=metrics,
            curve=_columns((*names(CurvePoint), *names(description.curve)), member.curve),
            tables={
                table: {name: _joined(member.rows.get(table, {}).get(name, [])) for name in names(record)}
                for table, record in description.tables.items()
            },
            wall_time_s=member.seconds,
        )
        self._slots[slot] = None
        self._engine.put(slot, None)
        return result

    def _snapshot(self, left: list[TrialResult]) -> Snapshot:
        start, step = time.perf_counter(), self.step
        steps = self._engine.steps
        due = [slot for slot, m in self._live().items() if is_recorded(steps[slot], m.config.n_steps)]
        overflowed = self._engine.overflowed() if due else []
        # Whoever is not at a recorded step is not asked: when others are at theirs must not matter.
        left += [self._overflow(slot) for slot in due if overflowed[slot]]
        due = [slot for slot in due if not overflowed[slot]]
        self._run_ahead(due)
        looks = self._look(due, final=False)
        self._share(start)
        points: list[Mapping[str, Any] | None] = [None] * len(self.configs)
        weights: dict[int, Weights] = {}
        for slot, point, look in looks:
            member = self._member(slot)
            points[member.place] = point
            if kept := self._kept(slot, final=steps[slot] == member.config.n_steps):
                weights[steps[slot]] = {**weights.get(steps[slot], {}), **kept}
            if steps[slot] == member.config.n_steps:
                left.append(self._leave(slot, TrialStatus.COMPLETED, None, steps[slot], _metrics(point, look)))
        return Snapshot(step, self.done, points, left, weights)

    def stop(self, trial_id: str, why: str) -> TrialResult:
        """Have a member leave with what it is now, though it has steps left.

        Raises:
            KeyError: if no such member is in training.
            ValueError: if it has not trained a step, so that it has nothing to report; `drop` it.
        """
        slot, start = self._slot_of(trial_id), time.perf_counter()
        step = self._engine.steps[slot]
        if not step:
            raise ValueError(f"trial {trial_id} has not trained a step, and has nothing to report; drop it")
        with reproducible(self.device):
            if self._engine.overflowed()[slot]:
                return self._overflow(slot)
            ((_, point, look),) = self._look([slot], final=True)
            self._member(slot).seconds += time.perf_counter() - start
            return self._leave(slot, TrialStatus.STOPPED, why, step, _metrics(point, look))

    def _overflow(self, slot: int) -> TrialResult:
        step = self._engine.steps[slot]
        why = f"parameters or moments became non-finite by step {step}"
        return self._leave(slot, TrialStatus.DIVERGED, why, step)

    def _look(self, slots: list[int], final: bool) -> list[tuple[int, Mapping[str, Any], Look]]:
        """Record some members as they are now, those at their last step (or all, if `final`) with their metrics."""
        steps, losses, least = self._engine.steps, self._losses.losses(self._slot_configs), self._losses.least
        ending = [slot for slot in slots if final or steps[slot] == self._member(slot).config.n_steps]
        going_on = [slot for slot in slots if slot not in set(ending)]
        found: list[tuple[int, Mapping[str, Any], Look]] = []
        for some, last in ((going_on, False), (ending, True)):
            rows = last or self.record == "log2"
            for tile in _tiles(some, self._slot_configs):
                looks = family_of(self._slot_configs[tile[0]]).look([self._trained(slot) for slot in tile], last, rows)
                for slot, look in zip(tile, looks, strict=True):
                    point = {
                        "step": steps[slot], "loss": float(losses[slot]), "min_loss": float(least[slot]),
                        "lr": lr_at(self._slot_configs[slot], steps[slot]), **look.curve,
                    }  # fmt: skip
                    self._note(self._member(slot), point, look)
                    found.append((slot, point, look))
        return found

    def _note(self, member: _Member, point: Mapping[str, Any], look: Look) -> None:
        if not member.curve or member.curve[-1]["step"] < point["step"]:
            member.curve.append(point)
        for table, columns in look.tables.items():
            kept = member.rows.setdefault(table, {})
            if any(len(steps) and steps[0] == point["step"] for steps in kept.get("step", [])[-1:]):
                continue  # who is stopped where it has just been looked at
            n_rows = len(next(iter(columns.values())))
            for name, values in {"step": np.full(n_rows, point["step"]), **columns}.items():
                kept.setdefault(name, []).append(values)

    def _trained(self, slot: int) -> Trained:
        return Trained(self._slot_configs[slot], self._engine.params(slot), self._engine.fixed(slot))

    def _kept(self, slot: int, final: bool) -> Weights:
        if self.keep_weights == "none" or (self.keep_weights == "final" and not final):
            return {}
        return self.weights(self._slot_configs[slot].trial_id)

    def weights(self, trial_id: str) -> Weights:
        """A member's tensors as they are now, on the host, under its trial_id."""
        slot = self._slot_of(trial_id)
        config = self._slot_configs[slot]
        kept = family_of(config).kept(config, self._engine.params(slot), self._engine.fixed(slot))
        return {trial_id: {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}}

    def _run_ahead(self, due: list[int]) -> None:
        """Have a device of its own train on while the host looks at the weights, if nobody leaves now."""
        steps = self._engine.steps
        ending = any(steps[slot] == self._member(slot).config.n_steps for slot in due)
        if not ending and not self.done:
            self._engine.run_ahead(self._to_the_next_look())

    def _member(self, slot: int) -> _Member:
        member = self._slots[slot]
        assert member is not None
        return member

    def _slot_of(self, trial_id: str) -> int:
        for slot, member in self._live().items():
            if member.config.trial_id == trial_id:
                return slot
        raise KeyError(f"no member {trial_id!r} is in training")

    def take(self, trial_id: str) -> MemberState:
        """A copy of a member: all that it is, and nothing of its neighbours."""
        slot = self._slot_of(trial_id)
        member, (latest, least) = self._member(slot), self._losses.take(slot)
        return replace(
            self._engine.take(slot), latest=latest, least=least, curve=tuple(member.curve), rows=_copied(member.rows),
            seconds=member.seconds,
        )  # fmt: skip

    def drop(self, trial_id: str) -> None:
        """Have a member leave without a result; its work is gone, or goes on elsewhere from what `take` gave."""
        slot = self._slot_of(trial_id)
        self._slots[slot] = None
        self._engine.put(slot, None)

    def put(self, state: MemberState) -> None:
        """Have a trial of the pack's shape join, from where it is.

        Raises:
            ConfigError: if it has another shape, is a member already, or has no steps left; or if the engine trains one
                trial at a time.
        """
        _check_once((*self.members, state.config))
        if state.step >= state.config.n_steps:
            raise ConfigError(f"who joins a pack must have steps left; got step {state.step} of {state.config.n_steps}")
        if shape_of(state.config) != shape_of(self.configs[0]):
            raise ConfigError("who joins a pack must agree with it on all shape fields; put the trial into another")
        free = [slot for slot, member in enumerate(self._slots) if member is None]
        slot = free[0] if free else len(self._slots)
        with reproducible(self.device):
            self._engine.put(slot, state)
        self._losses.put(slot, state.config, state.step, state.latest, state.least)
        self._slot_configs[slot : slot + 1] = [state.config]
        member = _Member(state.config, len(self.configs), list(state.curve), _copied(state.rows), state.seconds)
        self._slots[slot : slot + 1] = [member]
        self.configs = (*self.configs, state.config)

    def results(self) -> list[TrialResult]:
        """The results of all who have left with one, in the order in which they came."""
        return [self._left[place] for place in sorted(self._left)]

    def to_bytes(self) -> bytes:
        """A checkpoint of those in training: `from_bytes` continues bit for bit."""
        members = [self.take(config.trial_id) for config in self.members]
        return to_bytes(members, {"engine": self.engine, "record": self.record, "keep_weights": self.keep_weights})

    @classmethod
    def from_bytes(
        cls, data: bytes, device: str = "auto", only: Collection[str] | None = None, record: Record | None = None,
        keep_weights: Keep | None = None, engine: EngineName | None = None,
    ) -> PackTrainer:  # fmt: skip
        """Continue from a checkpoint.

        Args:
            only: the trial_ids that are to go on, of those in it; left out, all.
            record, keep_weights, engine: left out, as they were.

        Raises:
            ConfigError: if `data` is not a whole checkpoint of this format, or holds none of those trials.
        """
        members, about = from_bytes(data, only)
        if not members:
            raise ConfigError("a checkpoint must hold trials that are to go on; got one with none of them")
        trainer = cls(
            [member.config for member in members], device, record or about["record"], engine or about["engine"],
            keep_weights or about["keep_weights"],
        )  # fmt: skip
        for slot, member in enumerate(members):
            trainer._restore(slot, member)
        return trainer

    def _restore(self, slot: int, state: MemberState) -> None:
        with reproducible(self.device):
            self._engine.put(slot, state)
        self._losses.put(slot, state.config, state.step, state.latest, state.least)
        member = self._member(slot)
        member.curve, member.rows, member.seconds = list(state.curve), _copied(state.rows), state.seconds


def train_pack(configs: Sequence[TrialConfig], device: str = "auto") -> Iterator[Snapshot]:
    """Train a pack to the end, yielding snapshots at steps 1, 2, 4, … and the last.

    >>> from monosweep.model import TwoLayerConfig
    >>> config = TwoLayerConfig(n_features=8, d_embed=4, n_neurons=8, batch_size=16, n_steps=2)
    >>> [(s.step, s.final) for s in train_pack([config], "cpu")]
    [(1, False), (2, True)]
    """
    return iter(PackTrainer(configs, device))


def weights_bytes(weights: Weights, step: int) -> bytes:
    """Members' weights as safetensors, all after so many steps: `{trial_id}/{name}`."""
    tensors = {f"{trial_id}/{name}": t for trial_id, named in weights.items() for name, t in named.items()}
    return serialise(tensors, {"step": str(step)})


def _check_once(configs: Sequence[TrialConfig]) -> None:
    seen: set[str] = set()
    for config in configs:
        if config.trial_id in seen:
            raise ConfigError(f"a trial is a member of a pack once; got {config.trial_id} twice")
        seen.add(config.trial_id)


def _metrics(point: Mapping[str, Any], look: Look) -> dict[str, Any]:
    return {"loss": point["loss"], "min_loss": point["min_loss"], **(look.metrics or {})}


def _tiles(slots: list[int], configs: Sequence[TrialConfig]) -> list[list[int]]:
    """Members whose metrics are computed at once."""
    if not slots:
        return []
    config = configs[slots[0]]
    size = max(1, LOOK_BYTES // max(1, family_of(config).look_bytes(config)))
    return [slots[i : i + size] for i in range(0, len(slots), size)]


def _copied(rows: Rows) -> Rows:
    """To be added to; the arrays are never changed."""
    return {table: {name: list(arrays) for name, arrays in kept.items()} for table, kept in rows.items()}


def _columns(columns: Sequence[str], points: Sequence[Mapping[str, Any]]) -> dict[str, ndarray]:
    return {name: np.array([point[name] for point in points]) for name in columns}


def _joined(arrays: Sequence[ndarray]) -> ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0)

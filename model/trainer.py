"""A pack in, snapshots out: the training loop that every executor, the debugger and the notebook share.

    configs ──engine──> advance ──> snapshot: points of those who reached a recorded step, results of those who left

No files and no Ray here: a trainer turns into bytes and back, and its owner decides where they go.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

from monosweep.model.checkpoint import from_bytes, to_bytes
from monosweep.model.checkpoint_header import CheckpointError
from monosweep.model.config import ConfigError, TrialConfig, unknown_name
from monosweep.model.device import reproducible, resolve
from monosweep.model.engines import EngineName, make_engine
from monosweep.model.look import look, weights
from monosweep.model.member import MemberState
from monosweep.model.records import TrialStatus
from monosweep.model.results import Snapshot, TrialResult, Weights
from monosweep.model.seats import Seats, check_once

Record = Literal["final", "log2"]
Keep = Literal["none", "final", "log2"]


class PackTrainer:
    """Trains a pack from recorded step to recorded step; members may leave it and join it between any two calls.

    Args:
        configs: trials that agree on their shape fields; an optimizer other than Lamb trains alone.
        device: `auto`, `cpu` or `cuda`.
        record: keep the family's tables (`neurons`) at the end only, or at every recorded step.
        engine: `auto` takes the fastest that can train the pack.
        keep_weights: at which recorded steps snapshots hold members' weights.
        process: how this process calls itself; results name all that have trained a member.

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
        process: str = "",
    ) -> None:
        for kind, value, known in (("record", record, Record), ("keep_weights", keep_weights, Keep)):
            if value not in get_args(known):
                raise ConfigError(unknown_name(kind, value, get_args(known)))
        self.device, self.record, self.keep_weights = resolve(device), record, keep_weights
        check_once(configs)
        with reproducible(self.device):
            self.seats = Seats(configs, make_engine(configs, self.device, engine), process)
        """Who is where in the engine."""
        self._left: dict[int, TrialResult] = {}

    @property
    def configs(self) -> tuple[TrialConfig, ...]:
        """All that have ever been members, in the order in which they came."""
        return self.seats.configs

    @property
    def members(self) -> tuple[TrialConfig, ...]:
        """Those in training."""
        return self.seats.members

    @property
    def step(self) -> int:
        """Optimiser steps that the member furthest ahead has done."""
        last = max((result.last_step for result in self._left.values()), default=0)
        return max(self.seats.steps.values(), default=last)

    @property
    def model_steps(self) -> int:
        """Optimiser steps of all members in training."""
        return sum(self.seats.steps.values())

    @property
    def done(self) -> bool:
        """Whether nobody is left to train."""
        return not self.seats.live

    @property
    def engine(self) -> str:
        """`packed`, `vmapped` or `solo`."""
        return self.seats.engine.name

    @property
    def how(self) -> str:
        """The engine, and how it goes about it, as rows say."""
        return self.seats.engine.how

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
        engine, deadline, to_go = self.seats.engine, time.perf_counter() + max_seconds, self.seats.to_the_next_look()
        left: list[TrialResult] = []
        with reproducible(self.device):
            while to_go and not left:  # who diverges leaves at once
                n_steps = min(to_go, engine.chunk)
                for slot, step in self.seats.advance(n_steps).items():
                    why = f"the loss became non-finite at step {step}"
                    left.append(self._leave(slot, TrialStatus.DIVERGED, why, step))
                to_go -= n_steps
                if time.perf_counter() >= deadline:
                    break
            return self._snapshot(left) if left or not to_go else None

    def _leave(
        self, slot: int, status: TrialStatus, error: str | None, step: int, metrics: Mapping[str, Any] | None = None
    ) -> TrialResult:
        notes = self.seats.notes(slot)
        self._left[notes.place] = result = notes.result(status, error, step, metrics)
        self.seats.empty(slot)
        return result

    def _snapshot(self, left: list[TrialResult]) -> Snapshot:
        start, step, due = time.perf_counter(), self.step, self.seats.due()
        overflowed = self.seats.engine.overflowed() if due else []
        # Whoever is not at a recorded step is not asked: when others are at theirs must not matter.
        left += [self._overflow(slot) for slot in due if overflowed[slot]]
        due = [slot for slot in due if not overflowed[slot]]
        looks = look(self.seats, due, final=False, every_row=self.record == "log2")
        self.seats.share(start)
        points: list[Mapping[str, Any] | None] = [None] * len(self.configs)
        kept: dict[int, Weights] = {}
        for found in looks:
            slot, at, notes = found.slot, found.point["step"], self.seats.notes(found.slot)
            final, points[notes.place] = at == notes.config.n_steps, found.point
            if self.keep_weights == "log2" or (self.keep_weights == "final" and final):
                kept[at] = {**kept.get(at, {}), **weights(self.seats, slot)}
            if final:
                left.append(self._leave(slot, TrialStatus.COMPLETED, None, at, found.metrics))
        return Snapshot(step, self.done, points, left, kept)

    def stop_all(self, why: Mapping[str, str]) -> list[TrialResult]:
        """Have members leave with what they are now, though they have steps left; all are looked at together.

        Args:
            why: reasons by trial_id.

        Raises:
            KeyError: if one is no member in training; nobody has left then.
            ValueError: if one has not trained a step, so that it has nothing to report; as before, and `drop` it.
        """
        start, steps = time.perf_counter(), self.seats.steps
        reasons = {self.seats.slot_of(trial_id): reason for trial_id, reason in why.items()}
        for trial_id, slot in zip(why, reasons, strict=True):
            if not steps[slot]:
                raise ValueError(f"trial {trial_id} has not trained a step, and has nothing to report; drop it")
        if not reasons:
            return []
        with reproducible(self.device):
            overflowed = self.seats.engine.overflowed()
            sound = [slot for slot in reasons if not overflowed[slot]]
            looks = {found.slot: found for found in look(self.seats, sound, final=True, every_row=True)}
            each_s = (time.perf_counter() - start) / len(reasons)
            left = []
            for slot, reason in reasons.items():
                if slot not in looks:
                    left.append(self._overflow(slot))
                    continue
                self.seats.notes(slot).seconds += each_s
                left.append(self._leave(slot, TrialStatus.STOPPED, reason, steps[slot], looks[slot].metrics))
        return left

    def _overflow(self, slot: int) -> TrialResult:
        step = self.seats.steps[slot]
        why = f"parameters or moments became non-finite by step {step}"
        return self._leave(slot, TrialStatus.DIVERGED, why, step)

    def weights(self, trial_id: str) -> Weights:
        """A member's tensors as they are now, on the host, under its trial_id."""
        return weights(self.seats, self.seats.slot_of(trial_id))

    def take(self, trial_id: str) -> MemberState:
        """A copy of a member: all that it is, and nothing of its neighbours."""
        return self.seats.take(self.seats.slot_of(trial_id))

    def points(self, trial_id: str) -> list[tuple[Mapping[str, Any], bool]]:
        """A member's curve so far, and of each point whether it has been decided that the member goes on from it."""
        notes = self.seats.notes(self.seats.slot_of(trial_id))
        return [(point, point["step"] <= notes.judged) for point in notes.curve]

    def goes_on(self, trial_id: str) -> None:
        """It has been decided that a member goes on from where it is."""
        slot = self.seats.slot_of(trial_id)
        self.seats.notes(slot).judged = self.seats.steps[slot]

    def drop(self, trial_id: str) -> None:
        """Have a member leave without a result; its work is gone, or goes on elsewhere from what `take` gave."""
        self.seats.empty(self.seats.slot_of(trial_id))

    def put(self, state: MemberState) -> None:
        """Have a trial of the pack's shape join, from where it is; raises as `Seats.join`."""
        with reproducible(self.device):
            self.seats.join(state)

    def results(self) -> list[TrialResult]:
        """The results of all who have left with one, in the order in which they came."""
        return [self._left[place] for place in sorted(self._left)]

    def close(self) -> None:
        """There is nothing to let go of."""

    def to_bytes(self, code: str = "") -> bytes:
        """A checkpoint of those in training: `from_bytes` continues bit for bit, if the `code` is the same."""
        members = [self.take(config.trial_id) for config in self.members]
        about = {"engine": self.engine, "record": self.record, "keep_weights": self.keep_weights}
        return to_bytes(members, about, code)

    @classmethod
    def from_bytes(
        cls, data: bytes, device: str = "auto", only: Collection[str] | None = None, record: Record | None = None,
        keep_weights: Keep | None = None, engine: EngineName | None = None, code: str | None = None, process: str = "",
    ) -> PackTrainer:  # fmt: skip
        """Continue from a checkpoint; what is recorded at the end alone is forgotten of earlier steps.

        Args:
            only: the trial_ids that are to go on, of those in it; left out, all.
            record, keep_weights, engine: left out, as they were.
            code: what `to_bytes` must have been told; left out, anything.
            process: how this process calls itself.

        Raises:
            CheckpointError: if `data` is not a whole checkpoint of this code, holds none of those trials, or lacks what
                should have been recorded before it.
        """
        members, about = from_bytes(data, only, code)
        if not members:
            raise CheckpointError("holds no trial that is to go on")
        for what, wanted, had in (("rows", record, about["record"]), ("weights", keep_weights, about["keep_weights"])):
            if wanted == "log2" != had and any(member.step for member in members):
                raise CheckpointError(f"lacks {what} of the steps so far, which are asked for now")
        trainer = cls(
            [member.config for member in members], device, record or about["record"], engine or about["engine"],
            keep_weights or about["keep_weights"], process,
        )  # fmt: skip
        if trainer.record == "final":
            members = [replace(member, rows={}) for member in members]
        with reproducible(trainer.device):
            for slot, member in enumerate(members):
                trainer.seats.restore(slot, member)
        return trainer


def train_pack(configs: Sequence[TrialConfig], device: str = "auto") -> Iterator[Snapshot]:
    """Train a pack to the end, yielding snapshots at steps 1, 2, 4, … and the last.

    >>> from monosweep.model import TwoLayerConfig
    >>> config = TwoLayerConfig(n_features=8, d_embed=4, n_neurons=8, batch_size=16, n_steps=2)
    >>> [(s.step, s.final) for s in train_pack([config], "cpu")]
    [(1, False), (2, True)]
    """
    return iter(PackTrainer(configs, device))

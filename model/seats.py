"""Who is a member of a pack, and where: each has a slot of the engine, a place among the losses, and notes.

    MemberState ──put──> engine, losses, notes ──take──> MemberState

All that can be told apart by member is here; `train` trains, looks, and says who leaves.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from monosweep.model.config import ConfigError, TrialConfig, shape_of
from monosweep.model.engines.contract import Engine
from monosweep.model.losses import LossRecord
from monosweep.model.member import MemberState
from monosweep.model.notes import Notes, copied
from monosweep.model.schedule import is_recorded, next_recorded


class Seats:
    """The members of a pack.

    Args:
        configs: who is there from the start, in the engine's order.
        engine: trains them.
        process: how this process calls itself, for `MemberState.trained_by`.
    """

    def __init__(self, configs: Sequence[TrialConfig], engine: Engine, process: str = "") -> None:
        self.configs = tuple(configs)
        """All that have ever been members, in the order in which they came."""
        self.engine, self._process = engine, process
        self._losses = LossRecord(self.configs)
        self._notes: list[Notes | None] = [
            Notes.of(MemberState(config=config), place, process) for place, config in enumerate(self.configs)
        ]
        self._slot_configs = list(self.configs)
        self._slots = {config.trial_id: slot for slot, config in enumerate(self.configs)}

    @property
    def members(self) -> tuple[TrialConfig, ...]:
        """Those in training."""
        return tuple(notes.config for notes in self.live.values())

    @property
    def live(self) -> dict[int, Notes]:
        """The notes of those in training, by slot."""
        return {slot: notes for slot, notes in enumerate(self._notes) if notes}

    @property
    def steps(self) -> dict[int, int]:
        """Steps that those in training have done, by slot."""
        return {slot: step for slot, step in enumerate(self.engine.steps) if self._notes[slot]}

    def notes(self, slot: int) -> Notes:
        """Of the member in a slot."""
        notes = self._notes[slot]
        assert notes is not None, "the slot is empty"
        return notes

    def slot_of(self, trial_id: str) -> int:
        """Where a member is; KeyError if it is in no slot."""
        if trial_id not in self._slots:
            raise KeyError(f"no member {trial_id!r} is in training")
        return self._slots[trial_id]

    def due(self) -> list[int]:
        """The slots of those at a recorded step."""
        return [slot for slot, step in self.steps.items() if is_recorded(step, self.notes(slot).config.n_steps)]

    def to_the_next_look(self) -> int:
        """Steps until some member reaches a recorded step."""
        return min(next_recorded(step, self.notes(slot).config.n_steps) - step for slot, step in self.steps.items())

    def advance(self, n_steps: int) -> dict[int, int]:
        """Train everyone; of those whose loss became non-finite, the slot and the step at which it did."""
        start, before = time.perf_counter(), self.steps
        losses = self.engine.advance(n_steps)
        self._losses.push(losses)
        self.share(start)
        finite = np.isfinite(losses)
        bad = (slot for slot in before if not finite[:, slot].all())
        return {slot: before[slot] + 1 + int(np.argmin(finite[:, slot])) for slot in bad}

    def share(self, start: float) -> None:
        """Share the time since `start` among the members."""
        there = self.live.values()
        for notes in there:
            notes.seconds += (time.perf_counter() - start) / len(there)

    def losses(self) -> tuple[Float64[ndarray, " slots"], Float64[ndarray, " slots"]]:
        """Each slot's mean loss over the latest steps, and its least one so far."""
        return self._losses.losses(self._slot_configs), self._losses.least

    def take(self, slot: int) -> MemberState:
        """A copy of a member: all that it is, and nothing of its neighbours."""
        notes, (latest, least) = self.notes(slot), self._losses.take(slot)
        return replace(
            self.engine.take(slot), latest=latest, least=least, curve=tuple(notes.curve), rows=copied(notes.rows),
            seconds=notes.seconds, trained_by=notes.trained_by, judged=notes.judged,
        )  # fmt: skip

    def empty(self, slot: int) -> None:
        """Have the member in a slot leave."""
        del self._slots[self.notes(slot).config.trial_id]
        self._notes[slot] = None
        self.engine.put(slot, None)

    def join(self, state: MemberState) -> None:
        """Have a trial of the pack's shape join, from where it is.

        Raises:
            ConfigError: if it has another shape, is a member already, or has no steps left; or if the engine trains one
                trial at a time.
        """
        check_once((*self.members, state.config))
        if state.step >= state.config.n_steps:
            raise ConfigError(f"who joins a pack must have steps left; got step {state.step} of {state.config.n_steps}")
        if shape_of(state.config) != shape_of(self.configs[0]):
            raise ConfigError("who joins a pack must agree with it on all shape fields; put the trial into another")
        free = [slot for slot, notes in enumerate(self._notes) if notes is None]
        self._put(free[0] if free else len(self._notes), state, len(self.configs))
        self.configs = (*self.configs, state.config)

    def restore(self, slot: int, state: MemberState) -> None:
        """Have a member go on from where it was when `state` was taken."""
        self._put(slot, state, self.notes(slot).place)

    def _put(self, slot: int, state: MemberState, place: int) -> None:
        self.engine.put(slot, state)
        self._losses.put(slot, state.config, state.step, state.latest, state.least)
        self._slot_configs[slot : slot + 1] = [state.config]
        self._notes[slot : slot + 1] = [Notes.of(state, place, self._process)]
        self._slots[state.config.trial_id] = slot


def check_once(configs: Sequence[TrialConfig]) -> None:
    """Whether no trial is a member twice.

    Raises:
        ConfigError: if one is.
    """
    seen: set[str] = set()
    for config in configs:
        if config.trial_id in seen:
            raise ConfigError(f"a trial is a member of a pack once; got {config.trial_id} twice")
        seen.add(config.trial_id)

"""Looking at members as they are now: a point of their curves, metrics, rows of tables, and weights.

engine's tensors ──family.look──> Notes, Looked        ──family.kept──> Weights
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy import ndarray

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families import family_of
from monosweep.model.family import Trained
from monosweep.model.memory import LOOK_BYTES
from monosweep.model.precision import DTYPES
from monosweep.model.results import Weights
from monosweep.model.schedule import lr_at
from monosweep.model.seats import Seats


@dataclass(frozen=True, slots=True)
class Looked:
    """A member as it was found."""

    slot: int
    point: Mapping[str, Any]
    """A row of `curves`."""
    metrics: Mapping[str, Any]
    """Losses, and at its last step the family's metrics."""


def look(seats: Seats, slots: Sequence[int], *, final: bool, every_row: bool) -> list[Looked]:
    """Look at some members, and note what is seen; those at their last step (or all, if `final`) with their metrics.

    Args:
        every_row: whether the family's tables are recorded before the last step too.
    """
    steps = seats.steps
    ending = [slot for slot in slots if final or steps[slot] == seats.notes(slot).config.n_steps]
    going_on = [slot for slot in slots if slot not in set(ending)]
    return [*_looks(seats, going_on, False, every_row), *_looks(seats, ending, True, True)]


def _looks(seats: Seats, slots: Sequence[int], last: bool, rows: bool) -> list[Looked]:
    steps, (losses, least), found = seats.steps, seats.losses(), list[Looked]()
    for tile in _tiles(seats, slots):
        trained = [_trained(seats, slot) for slot in tile]
        for slot, seen in zip(tile, family_of(trained[0].config).look(trained, last, rows), strict=True):
            notes, step = seats.notes(slot), steps[slot]
            numbers = {"loss": float(losses[slot]), "min_loss": float(least[slot])}
            point = {"step": step, **numbers, "lr": lr_at(notes.config, step), **seen.curve}
            notes.add(point, seen)
            found.append(Looked(slot, point, {**numbers, **(seen.metrics or {})}))
    return found


def _tiles(seats: Seats, slots: Sequence[int]) -> list[Sequence[int]]:
    """Members whose metrics are computed at once."""
    if not slots:
        return []
    config = seats.notes(slots[0]).config
    size = max(1, LOOK_BYTES // max(1, family_of(config).look_bytes(config)))
    return [slots[i : i + size] for i in range(0, len(slots), size)]


def _trained(seats: Seats, slot: int) -> Trained:
    return Trained(seats.notes(slot).config, seats.engine.params(slot), seats.engine.fixed(slot))


def weights(seats: Seats, slot: int) -> Weights:
    """A member's tensors as they are now, on the host, under its trial_id."""
    config = seats.notes(slot).config
    kept = family_of(config).kept(config, seats.engine.params(slot), seats.engine.fixed(slot))
    return {config.trial_id: {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}}


def trained_of(config: TrialConfig, kept: Mapping[str, ndarray]) -> Trained:
    """A trial's model from the weights that were kept of it, as its family looks at it.

    Raises:
        ConfigError: if they lack some.
    """
    family, dtype = family_of(config), DTYPES[config.precision]
    names = tuple(family.start(config))
    if lacking := [name for name in names if name not in kept]:
        raise ConfigError(f"the weights of trial {config.trial_id} must hold {', '.join(names)}; lack {lacking}")
    fixed = {
        name: tensor.to(dtype if tensor.is_floating_point() else None) for name, tensor in family.fixed(config).items()
    }
    return Trained(config, {name: torch.from_numpy(kept[name].copy()) for name in names}, fixed)

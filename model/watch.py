"""Trials, watched: what `monosweep trial`, `monosweep replay` and a notebook train with.  No Ray, no files.

The watcher shows progress; `debugging` opens the debugger at a step that goes wrong, or that was named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from torch import Tensor

from monosweep.model.config import ConfigError, TrialConfig, UserError
from monosweep.model.debugging import Debug, debug_slice, post_mortem
from monosweep.model.engines import EngineName
from monosweep.model.families import description_of
from monosweep.model.families.source import in_users_code, one_line
from monosweep.model.family import NETWORK
from monosweep.model.kinds import kind_of
from monosweep.model.kinds.contract import Trainer
from monosweep.model.results import Weights
from monosweep.model.trained import TrainedTrial
from monosweep.model.trainer import PackTrainer, Record

SLICE_S = 0.2
"""Between two looks of the watcher; short enough that a bar moves and Ctrl-C is quick."""


class TrialError(UserError, RuntimeError):
    """Training raised, for instance because the memory did not suffice."""


class Watcher(Protocol):
    """Who looks on while trials train."""

    def step(self, step: int) -> None:
        """So many optimiser steps are done, of all trials together."""

    def point(self, point: Mapping[str, Any]) -> None:
        """A trial has reached a recorded step."""

    def pause(self) -> None:
        """Leave the terminal to the debugger."""


def watch_trial(
    config: TrialConfig, device: str, engine: EngineName, watcher: Watcher, debug: Debug | None = None,
    until: int | None = None,
) -> TrainedTrial:  # fmt: skip
    """Train one trial to its end, or into the debugger.

    Args:
        debug: opens the debugger; left out, none opens.
        until: the recorded step at which it is stopped, as it was in a sweep.

    Raises:
        ConfigError: if the device, engine or optimizer cannot train it.
        TrialError: if training raises; under `debug`, after the debugger is left.
    """
    try:
        ends = {} if until is None else {config.trial_id: until}
        (trained,) = watch_pack([config], device, engine, watcher, debug=debug, until=ends)
    except TrialError as error:
        raise error if debug else TrialError(f"{error}; --pdb opens the debugger there") from error
    return trained


def watch_pack(
    configs: Sequence[TrialConfig], device: str, engine: EngineName, watcher: Watcher, record: Record = "final",
    debug: Debug | None = None, until: Mapping[str, int] = MappingProxyType({}),
) -> list[TrainedTrial]:  # fmt: skip
    """The same for trials that share a pack; `debug` is about one alone, `until` says who is stopped where."""
    try:
        trainer = _begun(configs, device, engine, record, until)
        weights = _train(trainer, watcher, debug, until)
    except UserError:
        raise
    except Exception as error:
        if debug:
            post_mortem(error, watcher.pause)
        if not isinstance(error, (RuntimeError, MemoryError)) and not in_users_code(error):
            raise  # ours to mend, not the user's
        raise TrialError(f"the trial could not be trained: {one_line(error)}") from error
    return [
        TrainedTrial(result, weights.get(result.config.trial_id, {}), trainer.engine, trainer.device)
        for result in trainer.results()
    ]


def _begun(
    configs: Sequence[TrialConfig], device: str, engine: EngineName, record: Record, until: Mapping[str, int]
) -> Trainer:
    """A pack of any kind; an engine is for networks."""
    if description_of(configs[0]).kind == NETWORK:
        return PackTrainer(configs, device, record, engine, keep_weights="final")
    kind = kind_of(configs[0])
    if engine not in ("auto", kind.engine_name(configs[0], device)):
        raise ConfigError(f"trials of {configs[0].family} are no networks, and have no engine {engine}; leave it out")
    return kind.start(configs, device, together=bool(until))


def _train(trainer: Trainer, watcher: Watcher, debug: Debug | None, until: Mapping[str, int]) -> Weights:
    """Train to the end, or to where they are stopped; the weights there, none of those that diverged."""
    kept: dict[str, Mapping[str, Tensor]] = {}
    while not trainer.done:
        before = trainer.take(trainer.members[0].trial_id) if debug and isinstance(trainer, PackTrainer) else None
        snapshot = trainer.advance(SLICE_S)
        watcher.step(trainer.model_steps + sum(result.last_step for result in trainer.results()))
        if debug and before and isinstance(trainer, PackTrainer):
            debug_slice(before, trainer, debug, watcher.pause)
        for point in snapshot.points if snapshot and not (before and trainer.diverged) else ():
            if point is not None:
                watcher.point(point)
        for weights in snapshot.weights.values() if snapshot else ():
            kept |= weights
        if snapshot:
            kept |= _stop(trainer, until)
    return kept


def _stop(trainer: Trainer, until: Mapping[str, int]) -> Weights:
    """Have those leave who are where they are to be stopped, as a judge has them leave; their weights."""
    ids = [config.trial_id for config in trainer.members if config.trial_id in until]
    there = [each for each in ids if (curve := trainer.points(each)) and curve[-1][0]["step"] >= until[each]]
    weights = {trial_id: named for each in there for trial_id, named in trainer.weights(each).items()}
    trainer.stop_all(dict.fromkeys(there, "as its row says"))
    return weights

"""Trials, watched: what `monosweep trial`, `monosweep replay` and a notebook train with.  No Ray, no files.

The watcher shows progress; under `debug` the debugger opens at the step that went wrong, before it happens.
"""

from __future__ import annotations

import bdb
import pdb
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from monosweep.model.config import TrialConfig, UserError
from monosweep.model.device import reproducible
from monosweep.model.engines import EngineName
from monosweep.model.engines.contract import Engine
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.families.source import in_users_code, one_line
from monosweep.model.member import MemberState
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
    config: TrialConfig, device: str, engine: EngineName, watcher: Watcher, debug: bool = False,
    until: int | None = None,
) -> TrainedTrial:  # fmt: skip
    """Train one trial to its end, or into the debugger.

    Args:
        until: the recorded step at which it is stopped, as it was in a sweep.

    Raises:
        ConfigError: if the device, engine or optimizer cannot train it.
        TrialError: if training raises; under `debug`, after the debugger is left.
    """
    try:
        (trained,) = watch_pack([config], device, engine, watcher, debug=debug, until=until)
    except TrialError as error:
        raise error if debug else TrialError(f"{error}; --pdb opens the debugger there") from error
    return trained


def watch_pack(
    configs: Sequence[TrialConfig], device: str, engine: EngineName, watcher: Watcher, record: Record = "final",
    debug: bool = False, until: int | None = None,
) -> list[TrainedTrial]:  # fmt: skip
    """The same for trials that share a pack; `debug` and `until` are about one alone."""
    try:
        trainer = PackTrainer(configs, device, record, engine, keep_weights="final")
        weights = _train(trainer, watcher, debug, until)
    except UserError:
        raise
    except Exception as error:
        if debug:
            _post_mortem(error, watcher)
        if not isinstance(error, (RuntimeError, MemoryError)) and not in_users_code(error):
            raise  # ours to mend, not the user's
        raise TrialError(f"the trial could not be trained: {one_line(error)}") from error
    return [
        TrainedTrial(result, weights.get(result.config.trial_id, {}), trainer.engine, trainer.device)
        for result in trainer.results()
    ]


def _train(trainer: PackTrainer, watcher: Watcher, debug: bool, until: int | None) -> Weights:
    """Train to the end, or to where it is stopped; the weights there, none of those that diverged."""
    kept: dict[str, Mapping[str, Tensor]] = {}
    while not trainer.done:
        before = trainer.take(trainer.members[0].trial_id) if debug else None
        snapshot = trainer.advance(SLICE_S)
        watcher.step(trainer.model_steps + sum(result.last_step for result in trainer.results()))
        if before and trainer.diverged:
            _debug_divergence(before, trainer, watcher)
        for point in snapshot.points if snapshot and not (before and trainer.diverged) else ():
            if point is not None:
                watcher.point(point)
        for weights in snapshot.weights.values() if snapshot else ():
            kept |= weights
        if until is not None and trainer.step >= until and not trainer.done:
            kept |= _stop(trainer)
    return kept


def _stop(trainer: PackTrainer) -> Weights:
    """Have the trial leave as a judge has it leave; its weights."""
    trial_id = trainer.members[0].trial_id
    weights = trainer.weights(trial_id)
    trainer.stop(trial_id, "as its row says")
    return weights


def _debug_divergence(before: MemberState, trainer: PackTrainer, watcher: Watcher) -> None:
    """Train again from a little earlier, and stop in the debugger on entering the step that goes wrong."""
    engine = trainer.seats.engine
    with reproducible(trainer.device):
        engine.put(0, before)
        while _next_step_is_finite(engine):
            pass
        watcher.pause()
        step = engine.steps[0] + 1
        print(f"step {step} makes the loss or a parameter non-finite; the debugger stops on entering it:\n"
              "  n, s     go on by a line, or into a call\n"
              "  self     the engine: self.params(0), self.take(0)\n"
              "  c        to the end of the step", file=sys.stderr)  # fmt: skip
        take_step = engine.train_step if isinstance(engine, SoloEngine) else partial(engine.advance, 1)
        try:
            pdb.Pdb().runcall(take_step)
        except bdb.BdbQuit:
            return


def _next_step_is_finite(engine: Engine) -> bool:
    """Take one step; if it goes wrong, take it back and say no."""
    before = engine.take(0)
    loss = engine.advance(1)
    if np.isfinite(loss).all() and not any(engine.overflowed()):
        return True
    engine.put(0, before)
    return False


def _post_mortem(error: BaseException, watcher: Watcher) -> None:
    watcher.pause()
    print(f"{one_line(error)}; the debugger stands where it was raised", file=sys.stderr)
    pdb.post_mortem(error.__traceback__)

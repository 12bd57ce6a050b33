"""One trial, watched: what `monosweep trial` and `monosweep replay` train with.  No Ray, no files.

The watcher shows progress; under `debug` the debugger opens at the step that went wrong, before it happens.
"""

from __future__ import annotations

import bdb
import pdb
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy import ndarray

from monosweep.model.config import TrialConfig, UserError
from monosweep.model.device import reproducible
from monosweep.model.engines import EngineName
from monosweep.model.engines.contract import Engine
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.families.source import one_line
from monosweep.model.member import MemberState
from monosweep.model.results import TrialResult
from monosweep.model.trainer import PackTrainer

SLICE_S = 0.2
"""Between two looks of the watcher; short enough that a bar moves and Ctrl-C is quick."""


class TrialError(UserError, RuntimeError):
    """Training raised, for instance because the memory did not suffice."""


class Watcher(Protocol):
    """Who looks on while a trial trains."""

    def step(self, step: int) -> None:
        """So many optimiser steps are done."""

    def point(self, point: Mapping[str, Any]) -> None:
        """A recorded step is reached."""

    def pause(self) -> None:
        """Leave the terminal to the debugger."""


@dataclass(frozen=True, slots=True)
class WatchedTrial:
    """What a watched trial leaves behind."""

    result: TrialResult
    weights: Mapping[str, ndarray]
    """The family's tensors by name (`two_layer`: w_in (k, d), bias (k), w_out (n_out, k), embedding (d, N), and
    target_map (d, N) for the reprojector); empty if the trial diverged."""
    engine: str
    """`packed`, `vmapped` or `solo`."""
    device: str
    """`cpu` or `cuda`."""


def watch_trial(
    config: TrialConfig, device: str, engine: EngineName, watcher: Watcher, debug: bool = False,
    until: int | None = None,
) -> WatchedTrial:  # fmt: skip
    """Train one trial to its end, or into the debugger.

    Args:
        until: the recorded step at which it is stopped, as it was in a sweep.

    Raises:
        ConfigError: if the device, engine or optimizer cannot train it.
        TrialError: if training raises; under `debug`, after the debugger is left.
    """
    try:
        trainer = PackTrainer([config], device, engine=engine, keep_weights="final")
        weights = _train(trainer, watcher, debug, until)
    except UserError:
        raise
    except Exception as error:
        if debug:
            _post_mortem(error, watcher)
        if not isinstance(error, (RuntimeError, MemoryError)):
            raise  # ours to mend, not the user's
        hint = "" if debug else "; --pdb opens the debugger there"
        raise TrialError(f"the trial could not be trained: {one_line(error)}{hint}") from error
    (result,) = trainer.results()
    return WatchedTrial(result=result, weights=weights, engine=trainer.engine, device=trainer.device)


def _train(trainer: PackTrainer, watcher: Watcher, debug: bool, until: int | None) -> dict[str, ndarray]:
    """Train to the end, or to where it is stopped; the weights there, none if the trial diverged."""
    weights: dict[str, ndarray] = {}
    while not trainer.done:
        before = trainer.take(trainer.members[0].trial_id) if debug else None
        snapshot = trainer.advance(SLICE_S)
        watcher.step(trainer.step)
        if before and trainer.diverged:
            _debug_divergence(before, trainer, watcher)
        elif snapshot and (point := snapshot.points[0]):
            watcher.point(point)
        for kept in snapshot.weights.values() if snapshot else ():
            (tensors,) = kept.values()
            weights = {name: tensor.numpy() for name, tensor in tensors.items()}
        if until is not None and trainer.step >= until and not trainer.done:
            weights = _stop(trainer)
    return weights


def _stop(trainer: PackTrainer) -> dict[str, ndarray]:
    """Have the trial leave as a judge has it leave; its weights."""
    trial_id = trainer.members[0].trial_id
    weights = trainer.weights(trial_id)[trial_id]
    trainer.stop(trial_id, "as its row says")
    return {name: tensor.numpy() for name, tensor in weights.items()}


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

"""Where the debugger opens under `--pdb`: at a step that was named, at the one that goes wrong, or where code raised.

Steps are found in the engine that trains; the debugger stands in the solo engine's step, which is the readable
definition, unless another was asked for.  What is changed there stays there.
"""

from __future__ import annotations

import pdb
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.device import reproducible
from monosweep.model.engines import EngineName, make_engine
from monosweep.model.engines.contract import Engine
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.families.source import one_line
from monosweep.model.member import MemberState
from monosweep.model.trainer import PackTrainer


@dataclass(frozen=True, kw_only=True, slots=True)
class Debug:
    """What to debug of a trial."""

    break_at: int | None = None
    """The step on entering which the debugger opens, from 1; it opens at one that goes wrong in any case."""
    engine: EngineName = "solo"
    """In whose step it stands."""

    def check(self, config: TrialConfig, until: int | None = None) -> None:
        """Whether the trial comes to that step.

        Raises:
            ConfigError: if it does not.
        """
        last = until or config.n_steps
        if self.break_at is not None and not 1 <= self.break_at <= last:
            raise ConfigError(f"--break-at must lie in 1 … {last}, the steps of the trial; got {self.break_at}")


def debug_slice(before: MemberState, trainer: PackTrainer, debug: Debug, pause: Callable[[], None]) -> None:
    """Open the debugger where it belongs in the steps that a trial alone in its pack has done since `before`.

    Args:
        pause: leaves the terminal to the debugger.

    Raises:
        KeyboardInterrupt: if it is left by `q` at a step that does not go wrong.
    """
    named = debug.break_at is not None and before.step < debug.break_at <= trainer.step
    if not (named or trainer.diverged):
        return
    with reproducible(trainer.device):
        engine = make_engine([before.config], trainer.device, trainer.engine)  # type: ignore[arg-type]
        engine.put(0, before)
        while engine.steps[0] < trainer.step:
            state = engine.take(0)
            goes_wrong = not _steps_well(engine)
            step = engine.steps[0]
            if goes_wrong or step == debug.break_at:
                pause()
                print(_announced(step, trainer, goes_wrong), file=sys.stderr)
                quits = not _step_through(state, trainer.device, debug.engine)
                if quits and not goes_wrong:
                    raise KeyboardInterrupt(f"left in the debugger at step {step}")
            if goes_wrong:
                return


def _steps_well(engine: Engine) -> bool:
    """Take one step; whether all is finite after it."""
    return bool(np.isfinite(engine.advance(1)).all() and not any(engine.overflowed()))


def _announced(step: int, trainer: PackTrainer, goes_wrong: bool) -> str:
    why = f"step {step}"
    if goes_wrong:
        (error,) = trainer.diverged.values()
        why += f" makes the loss or a parameter non-finite (diverged: {error})"
    return (
        f"{why}; the debugger stops on entering it:\n"
        "  n, s     go on by a line, or into a call\n"
        "  self     the engine: self.params(0), self.take(0)\n"
        "  c        to the end of the step"
    )


def _step_through(state: MemberState, device: str, name: EngineName) -> bool:
    """Take the step after `state` in the debugger; False if it was left by `q`."""
    engine = make_engine([state.config], device, name)
    engine.put(0, state)
    take_step = engine.train_step if isinstance(engine, SoloEngine) else partial(engine.advance, 1)
    return pdb.Pdb().runcall(take_step) is not None


def post_mortem(error: BaseException, pause: Callable[[], None]) -> None:
    """Open the debugger where an exception was raised."""
    pause()
    print(f"{one_line(error)}; the debugger stands where it was raised", file=sys.stderr)
    pdb.post_mortem(error.__traceback__)

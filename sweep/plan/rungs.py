"""At which of the recorded steps 1, 2, 4, … and the last a schedule of rungs has something to say."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from monosweep.model.config import ConfigError, TrialConfig


@dataclass(frozen=True, slots=True)
class Rungs:
    """Steps, ascending, at the first recorded one of which or after it members are judged."""

    steps: tuple[float, ...]

    @classmethod
    def of(cls, grace_period: float, factor: float, max_steps: int) -> Rungs:
        """`grace_period`, `factor` times that, … below `max_steps`.

        Raises:
            ConfigError: if there is none.
        """
        steps = []
        step = float(grace_period)
        while step < max_steps:
            steps.append(step)
            step *= factor
        if not steps:
            raise ConfigError(
                f"grace_period must be below the trials' n_steps, {max_steps}; got {grace_period:g}; nothing would be "
                "stopped"
            )
        return cls(tuple(steps))

    @classmethod
    def every(cls) -> Rungs:
        """Every recorded step but the last."""
        return cls(tuple(float(2**k) for k in range(63)))

    def __or__(self, other: Rungs) -> Rungs:
        return Rungs(tuple(sorted({*self.steps, *other.steps})))

    def at(self, config: TrialConfig, step: int) -> int | None:
        """The place of the rung that a trial has just reached at a recorded step, if it has reached one."""
        if step >= config.n_steps:
            return None
        before = step // 2 if step & (step - 1) == 0 else 1 << (step.bit_length() - 1)
        place = bisect_right(self.steps, step) - 1
        return place if place >= 0 and self.steps[place] > before else None

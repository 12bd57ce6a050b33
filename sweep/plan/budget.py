"""What a launch may spend: trials, hours, steps.  When it is spent the sweep ends with what it has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from monosweep.model.config import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Limits of one launch; None is no limit."""

    max_trials: int | None = None
    """Trials that it may begin, those that go on from a checkpoint not counted."""
    max_hours: float | None = None
    max_model_steps: int | None = None
    """Optimiser steps of single trials."""

    def __post_init__(self) -> None:
        for name in ("max_trials", "max_hours", "max_model_steps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                option = f"--{name.replace('_', '-')}"
                raise ConfigError(f"{option} must be above 0; got {value:g}; leave it out for no limit")


@dataclass(slots=True)
class Spending:
    """How much of a budget is spent by now."""

    budget: Budget
    start: float
    """When the launch began, of `time.monotonic`."""
    clock: Callable[[], float] = time.monotonic
    reason: str | None = field(default=None, init=False)
    """Which limit was reached, once one is."""

    def is_over(self, model_steps: int) -> bool:
        """Whether hours or steps are spent, after so many steps."""
        hours, steps = self.budget.max_hours, self.budget.max_model_steps
        if hours is not None and self.clock() - self.start >= 3600 * hours:
            self.reason = f"--max-hours {hours:g}"
        elif steps is not None and model_steps >= steps:
            self.reason = f"--max-model-steps {steps}"
        else:
            return False
        return True

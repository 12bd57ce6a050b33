"""What a family says of its trials where a trial is no network that is trained but a plain function of its config.

    Config ──run(config, effort)──> Outcome: the loss, metrics and rows of tables
                     effort.spend(), effort.note(loss)  ──> curves, where searches are judged and stopped

A budget takes the place of training: `n_steps` is the work that a trial may do, in the unit that its family says, such
as evaluations of a cost.  It is counted and enforced.  No torch is needed to run such trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from monosweep.model.config import OPTIMIZER_KNOBS, ConfigError, TrialConfig
from monosweep.model.family import Description, names, record_reported, reported, short, tables_reported
from monosweep.model.records import Losses, Nothing, Point

if TYPE_CHECKING:
    from monosweep.model.family import Columns

PROCEDURE = "procedure"
"""The kind of such a family, in its description."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcedureConfig(TrialConfig):
    """One trial that is a function's call; it has none of the knobs of training.

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.
    """

    WITHOUT: ClassVar[tuple[str, ...]] = (
        "batch_size", "lr", "lr_schedule", "lr_period", "optimizer", *OPTIMIZER_KNOBS, "precision",
    )  # fmt: skip
    DEVICES: ClassVar[tuple[str, ...]] = ("cpu",)

    n_steps: int = 2**14
    """The work that a trial may do, in its family's unit; what goes beyond is not begun."""
    time_limit_s: float = 600.0
    """A trial that takes longer has failed, in seconds."""

    def check_here(self) -> None:
        """Raise ConfigError if what the trial needs is not installed; asked by whoever launches it."""

    def default_batch_size(self) -> int:
        """There is none; costs are of one unit of work."""
        return 1

    def look_cost(self) -> float:
        """Nothing is measured on the way."""
        return 0.0

    def _check_shared(self) -> None:
        TrialConfig._check_shared(self)
        if not self.time_limit_s > 0:
            raise ConfigError(f"time_limit_s must be above 0; got {self.time_limit_s}")


class Spent(Exception):
    """A trial's budget is used up, or it was stopped; whoever runs catches it and gives what there is."""


class Effort:
    """What a trial may still do, and what it has found so far.

    Args:
        n_steps: its budget.
        reached: is told of each recorded step with a loss, and says whether the trial goes on.

    >>> effort = Effort(3, lambda effort: True)
    >>> for loss in (5.0, 2.0, 4.0):
    ...     effort.spend()
    ...     effort.note(loss)
    >>> effort.step, effort.left, effort.least
    (3, 0, 2.0)
    >>> effort.spend()
    Traceback (most recent call last):
    monosweep.model.procedure.Spent: all 3 steps are spent
    """

    __slots__ = ("_most", "_next", "_reached", "least", "step")

    def __init__(self, n_steps: int, reached: Callable[[Effort], bool]) -> None:
        self._most, self._reached, self._next = n_steps, reached, 1
        self.step = 0
        """Work done."""
        self.least = math.inf
        """The least loss noted so far."""

    @property
    def left(self) -> int:
        """Work that may still be done."""
        return self._most - self.step

    def spend(self, n: int = 1) -> None:
        """Say that so much work is about to be done.

        Raises:
            Spent: if there is less left; it must not be done then.
        """
        if self.step + n > self._most:
            raise Spent(f"all {self._most} steps are spent")
        self.step += n

    def note(self, loss: float) -> None:
        """Say what the work has found; smaller is better.

        Raises:
            Spent: if the trial is stopped here.
        """
        if loss < self.least:
            self.least = loss
        if self.step >= self._next:
            self._next = 1 << self.step.bit_length()
            is_recorded = self.step & (self.step - 1) == 0 and self.step < self._most
            if is_recorded and math.isfinite(self.least) and not self._reached(self):
                self._most = self.step
                raise Spent(f"stopped at step {self.step}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a trial has come to."""

    loss: float
    """Of what it gives."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Metrics`."""
    tables: Mapping[str, Columns] = field(default_factory=dict)
    """Columns of the tables; a table without `step` is of the last one."""


class Procedure:
    """A kind of function; nothing is kept between calls.

    A user's is a subclass in a file of their own, run as `family: mine.py:Guess`:

        import numpy as np
        from dataclasses import dataclass
        from monosweep.model import generator
        from monosweep.model.procedure import Outcome, Procedure, ProcedureConfig, Spent

        class Guess(Procedure):
            @dataclass(frozen=True, kw_only=True)
            class Config(ProcedureConfig):
                width: float = 1.0
                "Guesses are uniform on ±width."

            @classmethod
            def run(cls, config, effort):
                random = np.random.Generator(generator(config.seed, "guesses"))
                try:
                    while True:
                        effort.spend()
                        effort.note(abs(random.uniform(-config.width, config.width)))
                except Spent:
                    return Outcome(effort.least)
    """

    Config: ClassVar[type[TrialConfig]]
    Metrics: ClassVar[type] = Nothing
    Tables: ClassVar[Mapping[str, type]] = {}
    Losses: ClassVar[type] = Losses

    @classmethod
    def run(cls, config: Any, effort: Effort) -> Outcome:
        """The trial: a pure function of its config, as far as that goes until `effort` is spent."""
        raise NotImplementedError

    @classmethod
    def summary(cls, config: Any, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """How a trial ended, losses aside, for people: what stands left and right in each line."""
        return {name: short(metrics[name]) for name in names(cls.Metrics)}

    @classmethod
    def describe(cls) -> Description:
        """The family for those who only read its tables."""
        return Description(
            cls.Config, cls.Metrics, tables=cls.Tables, losses=cls.Losses, point=Point, kind=PROCEDURE
        )  # fmt: skip


def checked(procedure: type[Procedure], outcome: Any, step: int) -> Outcome:
    """What `run` has given, as plain values and arrays.

    Raises:
        ConfigError: if it is not what the procedure says that it gives.
    """
    if not isinstance(outcome, Outcome):
        raise ConfigError(f"{procedure.__name__}.run must give an Outcome; got {str(outcome)[:60]!r}")
    if not step:
        raise ConfigError(f"{procedure.__name__}.run must spend what it does; it has spent nothing")
    loss = reported(f"{procedure.__name__}.run: loss", float, outcome.loss)
    if not math.isfinite(loss):
        raise ConfigError(f"{procedure.__name__}.run: loss must be finite; got {loss}")
    kept = {
        table: columns if "step" in columns else {"step": [step] * len(next(iter(columns.values()), ())), **columns}
        for table, columns in outcome.tables.items()
    }
    metrics = record_reported(f"{procedure.__name__}.run", procedure.Metrics, outcome.metrics)
    return Outcome(loss, metrics, tables_reported(f"{procedure.__name__}.run", procedure.Tables, kept))

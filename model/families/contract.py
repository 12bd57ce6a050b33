"""What a family says of its models, and nothing else does: knobs, tensors, samples, loss, metrics, tables.

    Config ──start──> params ──loss(params, fixed, batch, knobs)──> gradients ──optimizer──> params ──look──> rows
              fixed ──────────────┘                 sampler(step) ──┘

A family that says this much trains in the solo and the vmapped engine (`engines/`).  Its functions see one trial: params
and batches have no pack dimension, and the vmapped engine adds one.  So they are made of torch's operations, and do not
branch on the values of tensors or knobs; they may branch on fields that are `Shape`s.  Torch-free to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from monosweep.model.config import TrialConfig
from monosweep.model.records import Nothing

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

    Tensors = Mapping[str, Tensor]
    Sampler = Callable[[int], Tensors]
    Columns = Mapping[str, ndarray]

Knobs = Mapping[str, Any]
"""Numbers that differ between the members of a pack: floats in the solo engine, tensors without dimensions in packs."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a batch costs, before the step that it leads to."""

    objective: Tensor
    """What is optimised; no dimensions."""
    loss: Tensor
    """What is reported; no dimensions."""
    passed: Tensors = field(default_factory=dict)
    """What `after` wants to know of the batch."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trial's model as it is now."""

    config: Any
    params: Tensors
    fixed: Tensors


@dataclass(frozen=True, slots=True)
class Look:
    """What a trial reports at a recorded step, loss and rate aside."""

    curve: Mapping[str, Any]
    """Fields of `CurveMetrics`."""
    metrics: Mapping[str, Any] | None = None
    """Fields of `Metrics`; at a trial's last step only."""
    tables: Mapping[str, Columns] = field(default_factory=dict)
    """Columns of the tables, without `step`; where they are recorded."""


@dataclass(frozen=True, slots=True)
class Description:
    """What whoever reads tables has to know of a family; torch-free."""

    config: type[TrialConfig]
    metrics: type = Nothing
    """A dataclass: columns of `trials`, null where a trial did not complete."""
    curve: type = Nothing
    """A dataclass: columns of `curves` besides step, losses and rate."""
    tables: Mapping[str, type] = field(default_factory=dict)
    """Tables of the family's own by name: dataclasses with a field `step`, which the trainer fills."""

    @property
    def name(self) -> str:
        """As in the column `family`."""
        return self.config.FAMILY


class Family:
    """A kind of model; every method is called with one trial's config, and none keeps anything.

    A user's family is a subclass in a file of their own, with a nested `Config` and, if it reports more than its losses,
    `Metrics`, `CurveMetrics` and `Tables`: dataclasses whose fields have a docstring each.
    """

    Config: ClassVar[type[TrialConfig]]
    Metrics: ClassVar[type] = Nothing
    CurveMetrics: ClassVar[type] = Nothing
    Tables: ClassVar[Mapping[str, type]] = {}

    @classmethod
    def start(cls, config: Any) -> Tensors:
        """The trained tensors before the first step, by name, in double precision; of any shape that `Shape`s fix."""
        raise NotImplementedError

    @classmethod
    def fixed(cls, config: Any) -> Tensors:
        """Tensors that are not trained, in double precision."""
        return {}

    @classmethod
    def sample(cls, config: Any, step: int) -> Tensors:
        """The batch of step 1, 2, …: a pure function of the seed and the step (`data.random.generator`)."""
        raise NotImplementedError

    @classmethod
    def sampler(cls, config: Any) -> Sampler:
        """`sample` for one trial after another step; a family may draw ahead."""
        return partial(cls.sample, config)

    @classmethod
    def loss(cls, config: Any, params: Tensors, fixed: Tensors, batch: Tensors, knobs: Knobs) -> Loss:
        """What a batch costs."""
        raise NotImplementedError

    @classmethod
    def knobs(cls, config: Any) -> Mapping[str, float]:
        """The numbers that `loss` and `after` are given as `knobs`: all fields that are floats and no `Shape`s, say."""
        return {}

    @classmethod
    def schedule(cls, config: Any, step: int) -> Mapping[str, float]:
        """Knobs that change with the step."""
        return {}

    @classmethod
    def after(cls, config: Any, params: Tensors, before: Tensors, passed: Tensors, knobs: Knobs) -> Tensors:
        """The trained tensors after a step; `before` they were as given, `passed` is what `loss` passed on."""
        return params

    @classmethod
    def metrics(cls, config: Any, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """Fields of `Metrics`."""
        return {}

    @classmethod
    def curve(cls, config: Any, params: Tensors, fixed: Tensors) -> Mapping[str, Any]:
        """Fields of `CurveMetrics`."""
        return {}

    @classmethod
    def rows(cls, config: Any, params: Tensors, fixed: Tensors) -> Mapping[str, Columns]:
        """Columns of the tables, without `step`."""
        return {}

    @classmethod
    def look(cls, members: Sequence[Trained], final: bool, rows: bool) -> list[Look]:
        """What some trials of one shape report now; a family may look at them together.

        Args:
            final: whether this is their last step.
            rows: whether the tables are recorded at this step.
        """
        found = []
        for member in members:
            parts = member.config, member.params, member.fixed
            metrics = cls.metrics(*parts) if final else None
            found.append(Look(cls.curve(*parts), metrics, cls.rows(*parts) if rows else {}))
        return found

    @classmethod
    def kept(cls, config: Any, params: Tensors, fixed: Tensors) -> Tensors:
        """What is kept of a trial where weights are: all its tensors."""
        return {**params, **fixed}

    @classmethod
    def summary(cls, config: Any, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """How a trial ended, losses aside, for people: what stands left and right in each line."""
        return {name: _short(metrics[name]) for name in names(cls.Metrics)}

    @classmethod
    def look_bytes(cls, config: Any) -> int:
        """Temporary memory of one member's `look`."""
        return 2**16

    @classmethod
    def describe(cls) -> Description:
        """The family for those who only read its tables."""
        return Description(cls.Config, cls.Metrics, cls.CurveMetrics, cls.Tables)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def free_floats(config: TrialConfig, names: Sequence[str]) -> dict[str, float]:
    """Some fields as knobs."""
    return {name: float(getattr(config, name)) for name in names}


def names(record: type) -> tuple[str, ...]:
    """A dataclass' fields."""
    return tuple(f.name for f in fields(record))

"""What a family says of its models, and nothing else does: knobs, tensors, samples, loss, metrics, tables.

    Config ──start──> params ──loss(params, fixed, batch, knobs)──> gradients ──optimizer──> params ──look──> rows
              fixed ──────────────┘                 sampler(step) ──┘

A family that says this much trains in the solo and the vmapped engine (`engines/`).  Its functions see one trial:
params and batches have no pack dimension, and the vmapped engine adds one.  So `loss` and `after` are made of torch's
operations, and do not branch on the values of tensors or knobs; they may branch on fields that are `Shape`s, the only
ones that they can read.  Torch-free to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Union, get_args, get_origin

from monosweep.model.config import ConfigError, TrialConfig, field_types, once_a_class, shape_fields
from monosweep.model.records import CurvePoint, Losses, Nothing

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

    Tensors = Mapping[str, Tensor]
    Sampler = Callable[[int], Tensors]
    Columns = Mapping[str, ndarray]

NETWORK = "network"
"""The kind of a family whose trials are networks."""
Knobs = Mapping[str, Any]
"""Numbers that differ between the members of a pack: floats in the solo engine, tensors without dimensions in packs."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a batch costs, before the step that it leads to."""

    objective: Tensor
    """What is optimised; no dimensions."""
    loss: Tensor | None = None
    """What is reported; no dimensions; left out, the same."""
    passed: Tensors = field(default_factory=dict)
    """What `after` wants to know of the batch."""

    @property
    def reported(self) -> Tensor:
        """`loss`, or what is optimised where it is left out."""
        return self.objective if self.loss is None else self.loss


@dataclass(frozen=True, slots=True)
class Trained:
    """A trial's model as it is now."""

    config: Any
    params: Tensors
    fixed: Tensors

    @property
    def parts(self) -> tuple[Any, Tensors, Tensors]:
        """As most methods of a family take them."""
        return self.config, self.params, self.fixed


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
    losses: type = Losses
    """A dataclass of `loss` and `min_loss`: what they mean in `trials`."""
    point: type = CurvePoint
    """A dataclass: what `curves` holds of each recorded step besides `curve`."""
    kind: str = NETWORK
    """How its trials come to their rows: as networks that are trained, or as another of `model.kinds`."""

    @property
    def name(self) -> str:
        """As in the column `family`."""
        return self.config.FAMILY


class Family:
    """A kind of model; every method is called with one trial's config, and none keeps anything.

    A user's family is a subclass in a file of their own, trained as `family: my_toy.py:MyToy`.  This much is needed;
    `tests/families/linear_autoencoder.py` has metrics and a table too:

        import numpy as np
        import torch
        from dataclasses import dataclass
        from monosweep.model import Family, Loss, Shape, TrialConfig, generator

        class MyToy(Family):
            @dataclass(frozen=True, kw_only=True)
            class Config(TrialConfig):
                n_features: Shape[int] = 8
                "How many features there are; a size, so all members of a pack share it."
                noise: float = 0.1
                "Standard deviation of the noise; members of a pack may differ in it."

            @classmethod
            def start(cls, config):
                random = np.random.Generator(generator(config.seed, "my weights"))
                return {"w": torch.from_numpy(random.standard_normal((config.n_features,) * 2))}

            @classmethod
            def sample(cls, config, step):
                random = np.random.Generator(generator(config.seed, "my data", block=step))
                return {"x": torch.from_numpy(random.standard_normal((config.samples_per_step, config.n_features)))}

            @classmethod
            def loss(cls, config, params, fixed, batch, knobs):
                error = batch["x"] @ params["w"] - batch["x"]
                return Loss(error.square().sum(dim=1).mean() + knobs["noise"] * params["w"].square().sum())

    What it reports besides its losses are the fields of nested dataclasses `Metrics` (columns of `trials`),
    `CurveMetrics` (columns of `curves`) and those in `Tables`; knobs and columns have a docstring under each field.
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
        """What a batch costs; all tensors are in the type of the trial's `precision`."""
        raise NotImplementedError

    @classmethod
    def knobs(cls, config: Any) -> Mapping[str, float]:
        """The numbers that `loss` and `after` are given as `knobs`: the family's own that are no `Shape`s, and lr."""
        return own_numbers(config)

    @classmethod
    def schedule(cls, config: Any, step: int) -> Mapping[str, float]:
        """Knobs that change with the step."""
        return {}

    @classmethod
    def after(cls, config: Any, params: Tensors, before: Tensors, passed: Tensors, knobs: Knobs) -> Tensors:
        """The trained tensors after a step, those that change here at least; `before` they were as given, `passed` is
        what `loss` passed on."""
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
        """Columns of the tables, by table and without `step`."""
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
            parts = member.parts
            curve = record_reported(f"{cls.__name__}.curve", cls.CurveMetrics, cls.curve(*parts))
            metrics = record_reported(f"{cls.__name__}.metrics", cls.Metrics, cls.metrics(*parts)) if final else None
            tables = tables_reported(f"{cls.__name__}.rows", cls.Tables, cls.rows(*parts), ("step",)) if rows else {}
            found.append(Look(curve, metrics, tables))
        return found

    @classmethod
    def kept(cls, config: Any, params: Tensors, fixed: Tensors) -> Tensors:
        """What is kept of a trial where weights are: all its tensors."""
        return {**params, **fixed}

    @classmethod
    def responses(cls, config: Any, params: Tensors, fixed: Tensors) -> Tensor:
        """What a model answers to each feature alone at strength 1, (…, n_features); for who looks, not for tables.

        Raises:
            ConfigError: if the family does not say.
        """
        raise ConfigError(f"{config.family} does not say what its models answer to single features; give it responses")

    @classmethod
    def state_dict(cls, config: Any, params: Tensors, fixed: Tensors) -> Tensors:
        """The trained tensors by the names, and in the shapes, that the public code of the field loads; where there is
        none, the family's own."""
        return params

    @classmethod
    def setup(cls, config: Any, params: Tensors, fixed: Tensors) -> Tensors:
        """What such code needs and has in no state dict, by its names."""
        return fixed

    @classmethod
    def summary(cls, config: Any, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """How a trial ended, losses aside, for people: what stands left and right in each line."""
        return {name: short(metrics[name]) for name in names(cls.Metrics)}

    @classmethod
    def look_bytes(cls, config: Any) -> int:
        """Temporary memory of one member's `look`."""
        return 2**16

    @classmethod
    def describe(cls) -> Description:
        """The family for those who only read its tables."""
        return Description(cls.Config, cls.Metrics, cls.CurveMetrics, cls.Tables)


def short(value: Any) -> str:
    """A number or word for people."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def own_numbers(config: TrialConfig) -> dict[str, float]:
    """A family's own fields that are numbers and no `Shape`s, and the peak lr, as knobs."""
    kinds, shapes, base = field_types(type(config)), shape_fields(type(config)), field_types(TrialConfig)
    own = [name for name, kind in kinds.items() if kind in (int, float) and name not in shapes and name not in base]
    return free_floats(config, [*own, "lr"])


def free_floats(config: TrialConfig, names: Sequence[str]) -> dict[str, float]:
    """Some fields as knobs."""
    return {name: float(getattr(config, name)) for name in names}


def shared(config: TrialConfig) -> Any:
    """What `loss` and `after` are given as the config: they run once for all members of a pack, so of its fields they
    may read `Shape`s.

    >>> from monosweep.model.families.two_layer.config import TwoLayerConfig
    >>> shared(TwoLayerConfig(n_neurons=8)).n_neurons
    8
    >>> shared(TwoLayerConfig(l1=0.1)).l1
    Traceback (most recent call last):
    monosweep.model.config.ConfigError: members of a pack may differ in l1; read it as knobs['l1'], or make it a Shape
    """
    kind = _shared_kind(type(config))
    own = object.__new__(kind)
    for name in shape_fields(type(config)):
        object.__setattr__(own, name, getattr(config, name))
    return own


@once_a_class
def _shared_kind(kind: Any) -> Any:
    free = [name for name in field_types(kind) if name not in shape_fields(kind)]
    return type(kind.__name__, (kind,), {"__slots__": (), **{name: property(_Unread(name)) for name in free}})


@dataclass(frozen=True, slots=True)
class _Unread:
    name: str

    def __call__(self, config: Any) -> Any:
        fix = f"read it as knobs[{self.name!r}], or make it a Shape"
        raise ConfigError(f"members of a pack may differ in {self.name}; {fix}")


def record_reported(method: str, record: type, found: Mapping[str, Any]) -> dict[str, Any]:
    """What a family's method, such as `Toy.metrics`, reports of a record, as plain values.

    Raises:
        ConfigError: if it is not what the record says.
    """
    _check_names(f"{method} must give", names(record), found)
    kinds = field_types(record)
    return {name: reported(f"{method}: {name}", kinds[name], found[name]) for name in kinds}


def reported(what: str, kind: Any, value: Any) -> Any:
    """A value that a family reports, as plain Python.

    Raises:
        ConfigError: if it is not of the type that its column has.

    >>> reported("Toy.metrics: share", float, 1)
    1.0
    >>> reported("Toy.metrics: share", float, [0.5])
    Traceback (most recent call last):
    monosweep.model.config.ConfigError: Toy.metrics: share must be of type float; got [0.5]
    """
    found = value.tolist() if hasattr(value, "tolist") else value
    if kind is float and type(found) is int:
        return float(found)
    if not any(type(found) is (get_origin(one) or one) for one in _alternatives(kind)):
        raise ConfigError(f"{what} must be of type {getattr(kind, '__name__', kind)}; got {str(found)[:80]}")
    return found


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if isinstance(kind, UnionType) or get_origin(kind) is Union else (kind,)


def tables_reported(
    method: str, records: Mapping[str, type], found: Mapping[str, Mapping[str, Any]], but: tuple[str, ...] = ()
) -> dict[str, dict[str, ndarray]]:
    """The columns of tables that a family's method reports, as arrays.

    Args:
        but: columns that it leaves to others.

    Raises:
        ConfigError: if it is not what the records say.
    """
    import numpy as np  # whoever looks has it

    _check_names(f"{method} must give the tables", tuple(records), found)
    tables = {}
    for table, record in records.items():
        _check_names(f"{method} must give of {table}", tuple(n for n in names(record) if n not in but), found[table])
        given = found[table].items()
        tables[table] = {name: np.asarray(v.detach().cpu() if hasattr(v, "detach") else v) for name, v in given}
        lengths = {name: len(values) for name, values in tables[table].items()}
        if len(set(lengths.values())) > 1:
            raise ConfigError(f"{method}: columns of {table} must be of one length; got {lengths}")
    return tables


def _check_names(what: str, wanted: tuple[str, ...], found: Mapping[str, Any]) -> None:
    if set(found) != set(wanted):
        given = ", ".join(found) or "nothing"
        raise ConfigError(f"{what} {', '.join(wanted) or 'nothing'}; got {given}")


def names(record: type) -> tuple[str, ...]:
    """A dataclass' fields."""
    return tuple(f.name for f in fields(record))

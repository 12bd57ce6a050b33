"""`TrialConfig`: what the configs of all families share, and what makes any of them typed, checked and hashed.

The way of a parameter starts here: each field is a key in a spec's YAML, a column of `trials` and an option of the
command line.  What only one family has stands in that family's config (`families/`).  Torch-free.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar, cast, get_args, get_type_hints

LrSchedule = Literal["cosine", "constant", "cosine_to_zero"]
Precision = Literal["fp32", "fp64", "bf16", "tf32"]

OPTIMIZERS: Mapping[str, Mapping[str, float]] = {
    "Lamb": {},
    "Adam": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
    "AdamW": {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
    "SGD": {"momentum": 0.0, "weight_decay": 0.0},
}
"""Optimizers that train packs, and their knobs with torch's own defaults.  Any other is a class of torch_optimizer,
which trains alone and has no knobs here."""
OPTIMIZER_KNOBS = tuple(dict.fromkeys(knob for knobs in OPTIMIZERS.values() for knob in knobs))

T = TypeVar("T")
_SHAPE = "all members of a pack share it"
Shape = Annotated[T, _SHAPE]
"""A field on which the sizes of tensors or the form of a step depend: members of a pack agree on it.  All other fields
are numbers that differ freely within a pack."""


class UserError(Exception):
    """Something the user can put right.  The message is one line: rule, value received, fix."""


class DeviceError(Exception):
    """A GPU, or the software that drives it, has failed, which is no trial's fault: the process can train no more."""


class ConfigError(UserError, ValueError):
    """A trial, spec or option that cannot be run."""


class _Named:
    """Where a config keeps its id once that is asked for: no field, so neither a knob nor a column."""

    __slots__ = ("_trial_id",)
    _trial_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialConfig(_Named):
    """One trial of some family; a family's own config adds its knobs.

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.
    """

    FAMILY: ClassVar[str] = ""
    """The family whose config this class is; given by who registers it."""
    DIGEST: ClassVar[str] = ""
    """Of a user's family: of its code, comments aside; part of the trial id."""
    SOURCE: ClassVar[Any] = None
    """Of a user's family: the text that it is made from."""
    BASE: ClassVar[str] = ""
    """Of one of our families with functions of a user's file: which one."""
    ACTIVATIONS: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}
    """Of such a family: the user's own values of the knob `activation`."""
    WITHOUT: ClassVar[tuple[str, ...]] = ()
    """Fields of this class that mean nothing to a family: neither knobs nor columns, and always at their defaults."""
    DEVICES: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    """What a family's trials may be trained on."""

    family: Shape[str] = ""
    """What kind of model the trial trains: `two_layer`, or the file and class of one's own."""
    batch_size: Shape[int | None] = None
    """b, samples per step; left out, the family's own (for `two_layer` the paper's 2^(23 - ceil(log2 n_neurons)))."""
    n_steps: int = 2**17
    """Optimiser steps."""
    lr: float = 0.003
    """Peak learning rate, above 0."""
    lr_schedule: LrSchedule = "cosine"
    """`cosine` has period 2·lr_period (the paper's), `cosine_to_zero` half a wave over n_steps."""
    lr_period: int = 512
    """T_max of the periodic cosine: steps from peak to zero."""
    optimizer: Shape[str] = "Lamb"
    """`Lamb`, torch's own `Adam`, `AdamW` or `SGD`, or another class of torch_optimizer by name, which trains in the
    solo engine with its own defaults."""
    beta1: float | None = None
    """How much of Adam's and AdamW's first moment is kept in a step; left out, 0.9.  Null with other optimizers."""
    beta2: float | None = None
    """The same of the second moment; left out, 0.999."""
    eps: float | None = None
    """What Adam and AdamW add to the root of the second moment; left out, 1e-8."""
    momentum: float | None = None
    """How much of SGD's last step is kept; left out, 0.  Null with other optimizers."""
    weight_decay: float | None = None
    """Adam and SGD add so many times the parameters to their gradients, AdamW takes it times the rate off them; left
    out, 0, and 0.01 with AdamW.  Null with other optimizers."""
    precision: Shape[Precision] = "fp32"
    """Floating-point type; `bf16` and `tf32` round the operands of matrix products to 8 and 11 significant bits and
    keep all else in single precision."""
    seed: int = 0
    """Fixes initial weights, fixed tensors and data."""

    def __post_init__(self) -> None:
        for name, kind in field_types(type(self)).items():
            given = getattr(self, name)
            if (kept := typed(name, kind, given)) is not given:
                self._set(name, kept)
        self._set("family", self.family or self.FAMILY)
        if self.family != self.FAMILY or not self.FAMILY:
            raise ConfigError(f"family must be {self.FAMILY!r} for this config; got {self.family!r}")
        self._check_sizes(AT_LEAST_ONE)
        self.check_sizes()
        if self.batch_size is None:
            self._set("batch_size", self.default_batch_size())
        self._check_shared()
        self._check_optimizer()
        self.check()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def check_sizes(self) -> None:
        """Whether the family's sizes are sizes; before any other value is looked at.

        Raises:
            ConfigError: if not.
        """

    def check(self) -> None:
        """Whether the family's own values lie in their ranges.

        Raises:
            ConfigError: if not.
        """

    def default_batch_size(self) -> int:
        """Samples per step where the user gives none."""
        return 1024

    def step_cost(self) -> float:
        """Multiply-adds of one optimiser step, about: packs are balanced by it."""
        return 4096.0 * self.samples_per_step

    def look_cost(self) -> float:
        """Multiply-adds of the metrics at one recorded step, about."""
        return self.step_cost()

    def stream(self) -> tuple[Any, ...]:
        """All that the trial's data depend on, its shape aside; trials with equal ones share their samples.

        A family that does not say has its samples depend on whatever they may depend on.
        """
        others = ("lr", "lr_schedule", "lr_period", *OPTIMIZER_KNOBS)
        return tuple(value for name, value in self.to_dict().items() if name not in others)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a config of this class from plain values, as read from YAML, the command line or a row.

        Raises:
            ConfigError: if a name is not a field, or as the class itself does.
        """
        known = field_types(cls)
        for name in values:
            if name not in known:
                raise ConfigError(unknown_name("field", name, tuple(known)))
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, in order."""
        return {name: getattr(self, name) for name in field_types(type(self))}

    @property
    def trial_id(self) -> str:
        """Sixteen hexadecimal digits that name this trial in every table.

        A hash of the fields that differ from their defaults (and of batch_size, whose default depends on others; an
        optimizer's knobs from that optimizer's defaults), so
        that a knob added later leaves the ids of older trials as they are; of the family, unless it is `two_layer`, the
        first one; and of the code of a user's own.
        """
        if not hasattr(self, "_trial_id"):
            defaults = {**field_defaults(type(self)), **OPTIMIZERS.get(self.optimizer, {})}
            given = {k: v for k, v in self.to_dict().items() if k == "batch_size" or v != defaults[k]}
            given.pop("family")
            if self.FAMILY != FIRST_FAMILY:
                given |= {"family": self.FAMILY, "family_digest": self.DIGEST}
            digits = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
            object.__setattr__(self, "_trial_id", digits)
        return self._trial_id

    @property
    def samples_per_step(self) -> int:
        """`batch_size` as the integer that it always is after construction."""
        assert self.batch_size is not None
        return self.batch_size

    def _check_sizes(self, names: tuple[str, ...]) -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and not 1 <= value <= _LARGEST:
                raise ConfigError(f"{name} must lie in 1 … 2^31; got {value}")

    def _check_not_negative(self, names: tuple[str, ...]) -> None:
        for name in names:
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or more; got {getattr(self, name)}")

    def _check_shared(self) -> None:
        for name in _float_fields(type(self)):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"{name} must be finite; got {value}")
        self._check_not_negative(("seed",))
        if self.seed >= 2**63:
            raise ConfigError(f"seed must be below 2^63; got {self.seed}")
        if not self.lr > 0:
            raise ConfigError(f"lr must be above 0; got {self.lr}")
        if not self.optimizer.isidentifier():
            raise ConfigError(f"optimizer must be {_OPTIMIZERS}; got {self.optimizer!r}")

    def _check_optimizer(self) -> None:
        """Its knobs, with its own defaults where they are left out."""
        own = OPTIMIZERS.get(self.optimizer, {})
        for name in OPTIMIZER_KNOBS:
            value = getattr(self, name)
            if value is None:
                self._set(name, own.get(name))
            elif name not in own:
                has = [optimizer for optimizer, knobs in OPTIMIZERS.items() if name in knobs]
                raise ConfigError(
                    f"{name} is a knob of {', '.join(has)}; got {value} with optimizer {self.optimizer}; leave it out"
                )
            elif not 0 <= value < _BELOW.get(name, math.inf):
                limit = f"lie in 0 … {_BELOW[name]:g}, and below it" if name in _BELOW else "be 0 or more"
                raise ConfigError(f"{name} must {limit}; got {value}")


FIRST_FAMILY = "two_layer"
"""The family of trials that name none, and of all rows written before there were others."""
_OPTIMIZERS = f"{', '.join(OPTIMIZERS)} or a class of torch_optimizer"
_BELOW = {"beta1": 1.0, "beta2": 1.0, "momentum": 1.0}
AT_LEAST_ONE = ("batch_size", "n_steps", "lr_period")
_LARGEST = 2**31


def once_a_class(function: Callable[[Any], T]) -> Callable[[Any], T]:
    """`function`, called once for each config class; mypy takes a dataclass' `__hash__` for that of the class."""
    return cast("Callable[[Any], T]", cache(function))


@once_a_class
def field_types(config: type[Any]) -> dict[str, Any]:
    """The fields of a family's config, in order, and their types."""
    hints = get_type_hints(config)
    return {f.name: hints[f.name] for f in config_fields(config)}


def config_fields(config: type[Any]) -> list[Field[Any]]:
    """Those that a family has, in order."""
    without = getattr(config, "WITHOUT", ())
    return [f for f in fields(config) if f.name not in without]


@once_a_class
def _float_fields(config: type[Any]) -> tuple[str, ...]:
    return tuple(name for name, kind in field_types(config).items() if kind in (float, float | None))


@once_a_class
def field_defaults(config: type[Any]) -> dict[str, Any]:
    """The fields' defaults.

    Raises:
        ConfigError: if a field of a user's own has none.
    """
    for f in config_fields(config):
        if f.default is MISSING:
            raise ConfigError(f"{config.__name__}.{f.name} must have a default, as every knob has; give it one")
    return {f.name: f.default for f in config_fields(config)}


@once_a_class
def shape_fields(config: type[Any]) -> tuple[str, ...]:
    """Fields that all members of a pack share; the others are vectors over the pack."""
    hints = get_type_hints(config, include_extras=True)
    return tuple(f.name for f in config_fields(config) if _SHAPE in getattr(hints[f.name], "__metadata__", ()))


def shape_of(config: TrialConfig) -> tuple[Any, ...]:
    """What a trial's pack must agree on: the family and the values of its shape fields."""
    return (config.DIGEST, *(getattr(config, name) for name in shape_fields(type(config))))


class Meanings(dict[str, T]):
    """What each value of a knob means.  A value that is not here raises: none silently means another.

    >>> Meanings("task", {"decoder": 1})["encoder"]
    Traceback (most recent call last):
    monosweep.model.config.ConfigError: unknown task 'encoder'; did you mean 'decoder'?
    """

    def __init__(self, knob: str, meanings: Mapping[str, T]) -> None:
        super().__init__(meanings)
        self._knob = knob

    def __missing__(self, value: str) -> T:
        raise ConfigError(unknown_name(self._knob, value, list(self)))


def unknown_name(kind: str, name: str, known: tuple[str, ...] | list[str]) -> str:
    """One line for a name that does not exist, with the nearest that does.

    >>> unknown_name("optimizer", "ADAM", ("RAdam", "Adam"))
    "unknown optimizer 'ADAM'; did you mean 'Adam'?"
    """
    import difflib

    near = [each for each in known if each.lower() == str(name).lower()]
    near = near or difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown {kind} {name!r}; {fix}"


_OPTIONAL: Mapping[Any, type] = {int | None: int, float | None: float}


def typed(name: str, kind: Any, value: Any) -> Any:
    """`value` as the type that field `name` declares: 1 becomes 1.0 where a float is due, and 1e3 1000."""
    if kind is type(value) and (kind is not int or value.bit_length() < 64):
        return value or kind()  # most values are typed as they should be; -0.0 and 0.0 are one trial
    if choices := get_args(kind) if getattr(kind, "__origin__", None) is Literal else ():
        if value not in choices:
            raise ConfigError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
        return value
    if kind in _OPTIONAL:
        if value is None:
            return None
        kind = _OPTIONAL[kind]
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and _fits_float(value)
    if kind is float and number:
        return float(value) or 0.0
    if kind is int and number and float(value).is_integer():
        return int(value)
    if kind is str and isinstance(value, str):
        return value
    noun = {int: "a whole number", float: "a number", str: "a word"}[kind]
    raise ConfigError(f"{name} must be {noun}; got {value!r}{_number_hint(value)}")


def _fits_float(value: float) -> bool:
    """False for an int beyond the range of a float, such as 10**400."""
    try:
        float(value)
    except OverflowError:
        return False
    return True


def _number_hint(value: Any) -> str:
    """What was meant for a number, such as "1e-3" in quotes or 1_000, is a word in YAML 1.2; say how to write it."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return " (a word; numbers are written as 1000, 0.001 or 1e-3, without quotes or underscores)"

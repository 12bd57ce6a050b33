"""`TrialConfig`: every knob of one toy model, typed, checked and hashed.  Torch-free.

The way of a parameter starts here: each field is a key in a spec's YAML, a column of `trials` and an
option of the command line.  Paper: Jermyn, Schiefer and Hubinger, *Engineering Monosemanticity in Toy
Models* (arXiv 2211.09169); section and equation numbers are its own.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

Task = Literal["decoder", "reprojector", "abs"]
Activation = Literal["relu", "gelu", "solu"]
FeatureDist = Literal["uniform", "power_law"]
LrSchedule = Literal["cosine", "constant", "cosine_to_zero"]
BiasDecayMode = Literal["rate", "per_neuron", "tied_to_update"]
Precision = Literal["fp32", "fp64", "bf16", "tf32"]


class UserError(Exception):
    """Something the user can put right.  The message is one line: rule, value received, fix."""


class ConfigError(UserError, ValueError):
    """A trial, spec or option that cannot be run."""


class _Named:
    """Where a config keeps its id once that is asked for: no field, so neither a knob nor a column."""

    __slots__ = ("_trial_id",)
    _trial_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialConfig(_Named):
    """One trial: a two-layer network on sparse features (paper, section 2).

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.

    >>> TrialConfig(n_neurons=1024).batch_size
    8192
    >>> TrialConfig(lr=0.01).trial_id == TrialConfig(lr=0.01, task="decoder").trial_id
    True
    """

    task: Task = "decoder"
    """What the network computes: `decoder` f (eq. 1), `reprojector` Q f (eq. 2), `abs` |f1 - f2| (eq. 3)."""
    activation: Activation = "relu"
    """Nonlinearity; `solu` is the authors' elementwise x·exp(x)."""
    n_features: int = 512
    """N, number of sparse features."""
    d_embed: int = 64
    """m or d, dimension of the embedding that the network reads; at most n_features."""
    n_neurons: int = 1024
    """k, width of the nonlinear layer."""
    feature_prob: float = 1 / 64
    """ε, mean probability that a feature is present, in (0, 1]."""
    feature_dist: FeatureDist = "uniform"
    """How ε_i depends on the feature: all equal, or ∝ i^-1.1 scaled to mean ε and then clipped at 1."""
    batch_size: int | None = None
    """b, samples per step; left out, it is the paper's 2^(23 - ceil(log2 n_neurons))."""
    n_steps: int = 2**17
    """Optimiser steps."""
    lr: float = 0.003
    """Peak learning rate, above 0."""
    lr_schedule: LrSchedule = "cosine"
    """`cosine` has period 2·lr_period (the paper's), `cosine_to_zero` half a wave over n_steps."""
    lr_period: int = 512
    """T_max of the periodic cosine: steps from peak to zero."""
    bias_offset: float = 0.0
    """Added to every initial bias."""
    bias_decay: float = 0.0
    """After each step of the first half of training, bias *= 1 - bias_decay·lr (the peak lr)."""
    bias_decay_mode: BiasDecayMode = "rate"
    """Whose bias decays: `rate` every neuron's; `per_neuron` only that of neurons silent on the whole batch;
    `tied_to_update` each one's the less, the more its input weights move: times max(0, 1 - s_i), where s_i is the
    step's relative change of its row of L1 over the peak lr."""
    bias_reg: float = 0.0
    """Weight of Σ (b_i - bias_reg_target)² in the optimised loss; the reported loss leaves it out."""
    bias_reg_target: float = 0.0
    """Where `bias_reg` pulls the biases."""
    l1: float = 0.0
    """Weight of Σ|h| per sample in the optimised loss; the reported loss leaves it out."""
    connectivity: float = 1.0
    """Density of fixed Erdős–Rényi masks on both layers, in (0, 1]; 1 is dense.  Initial weights are drawn as for
    the dense layers and then masked."""
    mono_threshold: float = 0.999
    """A neuron is monosemantic when r exceeds this (eq. 7)."""
    optimizer: str = "Lamb"
    """A class of torch_optimizer by name; any but Lamb trains in the solo engine with its own defaults."""
    precision: Precision = "fp32"
    """Floating-point type; `bf16` and `tf32` round the operands of matrix products to 8 and 11 significant bits and
    keep all else in single precision."""
    seed: int = 0
    """Fixes initial weights, embedding and data."""

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _typed(field.name, getattr(self, field.name)))
        _check_sizes(self)
        if self.batch_size is None:
            object.__setattr__(self, "batch_size", paper_batch_size(self.n_neurons))
        _check_ranges(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialConfig:
        """Build a config from plain values, as read from YAML, the command line or a row.

        Raises:
            ConfigError: if a name is not a field, or as the class itself does.
        """
        for name in values:
            if name not in FIELD_NAMES:
                raise ConfigError(unknown_name("field", name, FIELD_NAMES))
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, in order."""
        return {name: getattr(self, name) for name in FIELD_NAMES}

    @property
    def trial_id(self) -> str:
        """Sixteen hexadecimal digits that name this trial in every table.

        A hash of the fields that differ from their defaults (and of batch_size, whose default depends on
        n_neurons), so that a knob added later leaves the ids of older trials as they are.
        """
        if not hasattr(self, "_trial_id"):
            given = {k: v for k, v in self.to_dict().items() if k == "batch_size" or v != _DEFAULTS[k]}
            digits = hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]
            object.__setattr__(self, "_trial_id", digits)
        return self._trial_id

    @property
    def samples_per_step(self) -> int:
        """`batch_size` as the integer that it always is after construction."""
        assert self.batch_size is not None
        return self.batch_size


FIELD_NAMES: tuple[str, ...] = tuple(f.name for f in fields(TrialConfig))


def _default(field: Field[Any]) -> Any:
    assert field.default is not MISSING
    return field.default


_DEFAULTS = {f.name: _default(f) for f in fields(TrialConfig)}
_TYPES: dict[str, Any] = get_type_hints(TrialConfig)

SHAPE_FIELDS = (
    "task", "activation", "n_features", "d_embed", "n_neurons", "batch_size", "n_steps",
    "connectivity", "bias_decay_mode", "optimizer", "precision",
)  # fmt: skip
"""Fields that all members of a pack share.  The others are vectors over the pack."""


def paper_batch_size(n_neurons: int) -> int:
    """The paper's batch size: 2^23 / k, rounded down to a power of two (section 2).

    >>> [paper_batch_size(k) for k in (16, 384, 512, 1024, 2048)]
    [524288, 16384, 16384, 8192, 4096]
    """
    return 1 << max(0, 23 - math.ceil(math.log2(n_neurons)))


def unknown_name(kind: str, name: str, known: tuple[str, ...] | list[str]) -> str:
    """One line for a name that does not exist, with the nearest that does."""
    import difflib

    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    return f"unknown {kind} {name!r}; {fix}"


def _typed(name: str, value: Any) -> Any:
    """`value` as the type that field `name` declares: 1 becomes 1.0 where a float is due, and 1e3 1000."""
    kind = _TYPES[name]
    if kind is type(value) and (kind is float or (kind is int and value.bit_length() < 64)):
        return value + kind(0)  # most values are typed as they should be
    if choices := get_args(kind) if getattr(kind, "__origin__", None) is Literal else ():
        if value not in choices:
            raise ConfigError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
        return value
    if kind == int | None:
        if value is None:
            return None
        kind = int
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and _fits_float(value)
    if kind is float and number:
        return float(value) + 0.0  # -0.0 and 0.0 are one trial
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
    """YAML 1.1 reads 1e-3 as a word; say how to write it."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return " (a word: write it with a point, as in 1.0e-3, and without quotes)"


_AT_LEAST_ONE = ("n_features", "d_embed", "n_neurons", "batch_size", "n_steps", "lr_period")
_FINITE = (
    "feature_prob", "lr", "bias_offset", "bias_decay", "bias_reg", "bias_reg_target", "l1", "connectivity",
    "mono_threshold",
)  # fmt: skip
_NOT_NEGATIVE = ("bias_decay", "bias_reg", "l1", "seed")
_LARGEST = 2**31


def _check_sizes(config: TrialConfig) -> None:
    for name in _AT_LEAST_ONE:
        value = getattr(config, name)
        if value is not None and not 1 <= value <= _LARGEST:
            raise ConfigError(f"{name} must lie in 1 … 2^31; got {value}")


def _check_ranges(config: TrialConfig) -> None:
    for name in _FINITE:
        if not math.isfinite(getattr(config, name)):
            raise ConfigError(f"{name} must be finite; got {getattr(config, name)}")
    for name in _NOT_NEGATIVE:
        if getattr(config, name) < 0:
            raise ConfigError(f"{name} must be 0 or more; got {getattr(config, name)}")
    if config.seed >= 2**63:
        raise ConfigError(f"seed must be below 2^63; got {config.seed}")
    if not 0 < config.feature_prob <= 1:
        raise ConfigError(f"feature_prob must lie in (0, 1]; got {config.feature_prob}")
    if not config.lr > 0:
        raise ConfigError(f"lr must be above 0; got {config.lr}")
    if not 0 < config.mono_threshold < 1:
        raise ConfigError(f"mono_threshold must lie between 0 and 1; got {config.mono_threshold}")
    if config.d_embed > config.n_features:
        raise ConfigError(
            f"d_embed must be at most n_features (P is made of orthonormal columns, section 2); "
            f"got d_embed {config.d_embed}, n_features {config.n_features}"
        )
    if not 0 < config.connectivity <= 1:
        raise ConfigError(f"connectivity must lie in (0, 1]; got {config.connectivity}")
    if not config.optimizer.isidentifier():
        raise ConfigError(f"optimizer must name a class of torch_optimizer; got {config.optimizer!r}")

"""A knob's domain: the values that a sweep tries for it.  From `space` in a spec to plain values.

The words are those of Ray Tune's search-space API: grid, choice, uniform, loguniform, randint.  A random
knob's i-th value is a hash of (sample_seed, knob, i) and of nothing else, so that a larger num_samples, more
grid points or another knob extend a sweep and leave the trials that it already has as they were.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from monosweep.model.config import ConfigError, unknown_name

KINDS = ("grid", "choice", "uniform", "loguniform", "randint")
_LISTS = ("grid", "choice")
_SIGNIFICANT_DIGITS = 6
"""Of a random float: as many as one reads, few enough that exp() gives the same value on every machine."""


def check_domain(knob: str, value: Any) -> None:
    """Refuse a value of `space` that is neither a constant nor a domain with sensible bounds.

    Raises:
        ConfigError: naming the knob.
    """
    if isinstance(value, (list, tuple)):
        raise ConfigError(f"space.{knob} is a list; write {{grid: {list(value)}}} to try each of its values")
    if not isinstance(value, Mapping):
        return
    if len(value) != 1:
        raise ConfigError(f"space.{knob} must have exactly one of {', '.join(KINDS)}; got {_keys(value)}")
    ((kind, values),) = value.items()
    if kind not in KINDS:
        raise ConfigError(f"space.{knob}: {unknown_name('domain', str(kind), KINDS)}")
    if not isinstance(values, (list, tuple)):
        raise ConfigError(f"space.{knob}: {kind} takes a list, as in {_EXAMPLES[kind]}; got {values!r}")
    if not values:
        raise ConfigError(f"space.{knob}: {kind} holds no values; give at least one, or leave {knob} out")
    if kind not in _LISTS:
        _check_bounds(knob, kind, list(values))


def is_grid(value: Any) -> bool:
    """Whether a checked value of `space` is a grid."""
    return isinstance(value, Mapping) and "grid" in value


def is_random(value: Any) -> bool:
    """Whether a checked value of `space` draws at random."""
    return isinstance(value, Mapping) and not is_grid(value)


def sample(knob: str, domain: Mapping[str, Any], sample_seed: int, index: int) -> Any:
    """The `index`-th random value of `knob` in `domain`, which `check_domain` has passed.

    >>> sample("lr", {"loguniform": [0.001, 0.1]}, 0, 0) == sample("lr", {"loguniform": [0.001, 0.1]}, 0, 0)
    True
    """
    ((kind, values),) = domain.items()
    u = _uniform(f"{sample_seed}/{knob}/{index}")
    if kind == "choice":
        return values[int(u * len(values))]
    low, high = values
    if kind == "randint":
        return min(int(low) + int(u * (int(high) - int(low))), int(high) - 1)
    value = low + u * (high - low) if kind == "uniform" else low * math.exp(u * math.log(high / low))
    return min(max(float(f"{value:.{_SIGNIFICANT_DIGITS}g}"), low), high)


_EXAMPLES = {
    "grid": "{grid: [0.003, 0.01]}",
    "choice": "{choice: [relu, gelu]}",
    "uniform": "{uniform: [-2, 0]}",
    "loguniform": "{loguniform: [0.001, 0.03]}",
    "randint": "{randint: [16, 257]}",
}


def _check_bounds(knob: str, kind: str, values: list[Any]) -> None:
    example = _EXAMPLES[kind]
    if len(values) != 2 or not all(_is_finite(v) for v in values):
        raise ConfigError(f"space.{knob}: {kind} takes two finite numbers, as in {example}; got {values}")
    low, high = values
    if kind == "randint" and not (float(low).is_integer() and float(high).is_integer()):
        raise ConfigError(f"space.{knob}: randint takes whole numbers, as in {example}; got {values}")
    if not low < high:
        raise ConfigError(f"space.{knob}: {kind} takes [low, high] with low below high; got {values}")
    if kind == "loguniform" and not low > 0:
        raise ConfigError(f"space.{knob}: loguniform takes bounds above 0; got {values}")


def _is_finite(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < 2**63


def _keys(value: Mapping[Any, Any]) -> str:
    return ", ".join(map(str, value)) or "none"


def _uniform(key: str) -> float:
    """A number in [0, 1) that is a function of `key` alone, in every process and version."""
    return (int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 11) / 2**53

"""A knob's domain: the values that a sweep tries for it.  From `space` in a spec to plain values.

The words are those of Ray Tune's search-space API: grid, choice, uniform, loguniform, randint and so on.  A random
domain is its inverse cumulative distribution: a number in [0, 1) in, a value out; where the numbers come from is
`draws`' business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, TypeVar

from monosweep.model.config import ConfigError, unknown_name
from monosweep.sweep.text import shown

N = TypeVar("N", int, float)

_SIGNIFICANT_DIGITS = 6
"""Of a random float: as many as one reads, few enough that exp() gives the same value on every machine."""
_DISTINCT = 10_000
"""A domain of which these digits tell fewer values apart has its values rounded to as many digits of its width."""
_MOST_DIGITS = 17
"""Of a float: with them every one is told from its neighbours."""
_LARGEST_BOUND = 2**63
_LEAST_SHARE = 2**-54
"""In the place of 0, where a normal distribution has no value."""
_FURTHEST_DRAW = 9
"""Standard deviations from the mean, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Random:
    """A kind of random domain over numbers."""

    example: str
    """What an error shows."""
    at: Callable[..., float]
    """u in [0, 1) and the domain's numbers in, a value out."""
    n_numbers: int = 2
    """How many numbers it takes: two bounds, or mean and standard deviation; and the step of a quantised one."""
    bounded: bool = True
    """Whether the first two are bounds."""
    positive: bool = False
    """Whether the lower bound is above 0."""
    whole: bool = False
    """Whether its numbers and values are whole."""


def check_domain(knob: str, value: Any) -> None:
    """Refuse a value of `space` that is neither a constant nor a domain with sensible bounds.

    Raises:
        ConfigError: naming the knob.
    """
    if isinstance(value, (list, tuple)):
        raise ConfigError(f"space.{knob} is a list; write {{grid: {shown(list(value))}}} to try each of its values")
    if not isinstance(value, Mapping):
        return
    if len(value) != 1:
        raise ConfigError(f"space.{knob} must have exactly one of {', '.join(KINDS)}; got {_keys(value)}")
    ((kind, values),) = value.items()
    if kind not in KINDS:
        raise ConfigError(f"space.{knob}: {unknown_name('domain', str(kind), KINDS)}")
    if not isinstance(values, (list, tuple)):
        raise ConfigError(f"space.{knob}: {kind} takes a list, as in {_example(kind)}; got {shown(values)}")
    if not values:
        raise ConfigError(f"space.{knob}: {kind} holds no values; give at least one, or leave {knob} out")
    if kind in _RANDOM:
        _check_numbers(f"space.{knob}: {kind}", _RANDOM[kind], list(values))


def is_grid(value: Any) -> bool:
    """Whether a checked value of `space` is a grid."""
    return isinstance(value, Mapping) and "grid" in value


def is_random(value: Any) -> bool:
    """Whether a checked value of `space` draws at random."""
    return isinstance(value, Mapping) and not is_grid(value)


def value_at(domain: Mapping[str, Any], u: float) -> Any:
    """The value below which lies the share `u` of a random domain that `check_domain` has passed.

    >>> value_at({"uniform": [-2, 0]}, 0.25), value_at({"choice": ["relu", "gelu"]}, 0.5)
    (-1.5, 'gelu')
    """
    ((kind, values),) = domain.items()
    return values[int(u * len(values))] if kind == "choice" else _RANDOM[kind].at(u, *values)


def _uniform(u: float, low: float, high: float) -> float:
    width = high - low
    value = low + u * width if math.isfinite(width) else low * (1 - u) + high * u
    return _clipped(_rounded(value, low, high), low, high)


def _loguniform(u: float, low: float, high: float) -> float:
    return _clipped(_rounded(_between_logs(u, low, high), low, high), low, high)


def _between_logs(u: float, low: float, high: float) -> float:
    ratio = high / low
    if math.isfinite(ratio):
        return low * math.exp(u * math.log(ratio))
    return math.exp(min(math.log(low) * (1 - u) + math.log(high) * u, math.log(high)))


def _randn(u: float, mean: float, sd: float) -> float:
    value = NormalDist(mean, sd).inv_cdf(max(u, _LEAST_SHARE))
    return _rounded(value, mean - sd, mean + sd)


def _randint(u: float, low: float, high: float) -> int:
    return min(int(low) + int(u * (int(high) - int(low))), int(high) - 1)


def _lograndint(u: float, low: float, high: float) -> int:
    return _clipped(int(_between_logs(u, int(low), int(high))), int(low), int(high) - 1)


def _quniform(u: float, low: float, high: float, q: float) -> float:
    first, last = _multiples(low, high, q)
    return _clipped(_times(round(_uniform(u, first * q, last * q) / q), q), low, high)


def _qloguniform(u: float, low: float, high: float, q: float) -> float:
    first, last = _multiples(low, high, q)
    return _clipped(_times(round(_between_logs(u, first * q, last * q) / q), q), low, high)


def _qrandn(u: float, mean: float, sd: float, q: float) -> float:
    return _times(round(_randn(u, mean, sd) / q), q)


def _qrandint(u: float, low: float, high: float, q: float) -> int:
    first, last = _multiples(low, high, q)
    return _randint(u, first, last + 1) * int(q)


def _qlograndint(u: float, low: float, high: float, q: float) -> int:
    first, last = _multiples(low, high, q)
    return _lograndint(u, first, last + 1) * int(q)


_RANDOM = {
    "uniform": _Random(example="[-2, 0]", at=_uniform),
    "quniform": _Random(example="[-2, 0, 0.25]", at=_quniform, n_numbers=3),
    "loguniform": _Random(example="[0.001, 0.03]", at=_loguniform, positive=True),
    "qloguniform": _Random(example="[0.001, 0.03, 0.001]", at=_qloguniform, n_numbers=3, positive=True),
    "randn": _Random(example="[-1, 0.5], mean and standard deviation", at=_randn, bounded=False),
    "qrandn": _Random(example="[-1, 0.5, 0.25], mean, deviation and step", at=_qrandn, n_numbers=3, bounded=False),
    "randint": _Random(example="[16, 257]", at=_randint, whole=True),
    "qrandint": _Random(example="[16, 256, 8]", at=_qrandint, n_numbers=3, whole=True),
    "lograndint": _Random(example="[16, 257]", at=_lograndint, positive=True, whole=True),
    "qlograndint": _Random(example="[16, 256, 8]", at=_qlograndint, n_numbers=3, positive=True, whole=True),
}
KINDS = ("grid", "choice", *_RANDOM)
_LISTS = {"grid": "[0.003, 0.01]", "choice": "[relu, gelu]"}


def _example(kind: str) -> str:
    values, comma, meaning = (_LISTS.get(kind) or _RANDOM[kind].example).partition("], ")
    return f"{{{kind}: {values}{']' * bool(comma)}}}" + (f" ({meaning})" if meaning else "")


def _rounded(value: float, low: float, high: float) -> float:
    """`value` of a domain from `low` to `high` with as many digits as tell values of it apart.

    >>> _rounded(0.0123456789, 0.001, 0.1), _rounded(1000000.123456789, 1000000, 1000001)
    (0.0123457, 1000000.12346)
    """
    return float(f"{value:.{_digits(float(low), float(high))}g}")


def _digits(low: float, high: float) -> int:
    """Significant digits of values between `low` and `high`: those of a value that suffice, or those of the width."""
    width, largest = high - low, max(abs(low), abs(high))
    if not width or width * (1 + 1e-9) >= _DISTINCT * 10.0 ** (_place(largest) - _SIGNIFICANT_DIGITS + 1):
        return _SIGNIFICANT_DIGITS
    return min(_MOST_DIGITS, _place(largest) - _place(width) + _SIGNIFICANT_DIGITS)


def _place(value: float) -> int:
    """Of the first digit: 0 of 1 to 9.99, 1 of 10 to 99.9."""
    return math.floor(math.log10(value))


def _multiples(low: float, high: float, q: float) -> tuple[int, int]:
    """First and last multiple of `q` from `low` to `high`, in steps of q."""
    near_low, near_high = round(low / q), round(high / q)
    return (
        near_low if math.isclose(low / q, near_low) else math.ceil(low / q),
        near_high if math.isclose(high / q, near_high) else math.floor(high / q),
    )


def _times(n: int, q: float) -> float:
    """`n * q` without the dust of the product: 0.3 for 3 times 0.1."""
    return float(f"{n * q:.15g}")


def _clipped(value: N, low: N, high: N) -> N:
    return min(max(value, low), high)


def _check_numbers(what: str, kind: _Random, values: Sequence[Any]) -> None:
    """Raises ConfigError if `kind` has no meaning for these numbers."""
    example, got = _example(what.rpartition(" ")[2]), shown(list(values))
    if len(values) != kind.n_numbers or not all(map(_is_finite, values)):
        number = {2: "two", 3: "three"}[kind.n_numbers]
        raise ConfigError(f"{what} takes {number} finite numbers, as in {example}; got {got}")
    low, high = values[:2]
    if kind.whole and not all(float(value).is_integer() for value in values):
        raise ConfigError(f"{what} takes whole numbers, as in {example}; got {got}")
    if kind.bounded and not low < high:
        raise ConfigError(f"{what} takes [low, high] with low below high; got {got}")
    if kind.positive and not low > 0:
        raise ConfigError(f"{what} takes bounds above 0; got {got}")
    if not kind.bounded and not (high > 0 and math.isfinite(_FURTHEST_DRAW * high + abs(low))):
        raise ConfigError(f"{what} takes a standard deviation above 0, as in {example}; got {got}")
    if kind.n_numbers == 3:
        _check_step(what, kind, low, high, values[2])


def _check_step(what: str, kind: _Random, low: float, high: float, q: float) -> None:
    got = shown([low, high, q])
    if not q > 0:
        raise ConfigError(f"{what} takes a step above 0 as its third number; got {got}")
    largest = max(abs(low), abs(high)) if kind.bounded else _FURTHEST_DRAW * high + abs(low)
    if not (math.isfinite(largest / q) and math.isfinite(2 * (largest + q))):
        raise ConfigError(f"{what} takes a step of about the size of its other numbers; got {got}")
    first, last = _multiples(low, high, q)
    if kind.bounded and (first > last or (kind.positive and first < 1)):
        raise ConfigError(f"{what} takes a step of which some multiple lies between the bounds; got {got}")


def _is_finite(value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < _LARGEST_BOUND


def _keys(value: Mapping[Any, Any]) -> str:
    return shown(", ".join(map(str, value)))[1:-1] or "none"

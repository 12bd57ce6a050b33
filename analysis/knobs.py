"""Which knobs a set of trials sweeps, what NULL means in one, and how to say their values.  Pure; for panels, colours.

The seed is never a knob: trials that differ in nothing else are repeats of one another.  A knob that a row lacks
(NULL, in a part that is older than the knob) is at its default; the views show it so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from monosweep.model.config import OPTIMIZER_KNOBS, UserError, field_defaults, unknown_name
from monosweep.model.families import OURS

_NO_KNOBS = ("seed", "family")
_MANY_DIGITS = 10**15
"""Whole numbers from here on are said by their first digits."""
_WITHOUT_REPEATS = 4
"""So many values tell that a knob goes with another where none of them is there twice."""
Row = dict[str, Any]
Scale = Literal["linear", "log", "symlog"]


class FigureError(UserError):
    """A figure that these tables cannot carry."""


@dataclass(frozen=True, slots=True)
class Knob:
    """A column of `trials` that a spec sets."""

    name: str
    default: Any = None
    """What NULL means; None if NULL means nothing."""


OWN_KNOBS = {
    name: tuple(Knob(knob, default) for knob, default in field_defaults(family.config).items())
    for name, family in OURS.items()
}
"""The knobs of our own families; those of others stand in the root (`tables/columns.py`)."""


def sweepable(knobs: Iterable[Knob]) -> tuple[str, ...]:
    """The names of those that trials may differ in without being repeats of one another."""
    return tuple(knob.name for knob in knobs if knob.name not in _NO_KNOBS)


@dataclass(frozen=True, slots=True)
class Group:
    """Trials that agree in every knob but the one on the axis."""

    knobs: tuple[tuple[str, Any], ...]
    rows: list[Row]

    @property
    def label(self) -> str:
        """Such as `bias offset −1, bias decay 0.12`; empty if nothing else is swept."""
        return ", ".join(said(name, value) for name, value in self.knobs)


def swept(rows: Sequence[Row], knobs: Sequence[str]) -> tuple[str, ...]:
    """Those of `knobs` with more than one value."""
    return tuple(name for name in knobs if len({row[name] for row in rows}) > 1)


def axis(rows: Sequence[Row], knobs: Sequence[str], by: str | None) -> str:
    """The knob to colour by or put on the axis: `by`, or the swept number with most values, or lr.

    Raises:
        FigureError: if `by` is not one of `knobs`.
    """
    if by is not None:
        if by not in knobs:
            raise FigureError(unknown_name("column for --by", by, tuple(knobs)))
        return by
    numbers = [name for name in swept(rows, knobs) if all(is_number(row[name]) for row in rows)]
    fallback = "lr" if "lr" in knobs else knobs[0]
    return max(numbers, key=lambda name: len({row[name] for row in rows}), default=fallback)


def grouped(rows: Sequence[Row], knobs: Sequence[str], by: str) -> list[Group]:
    """One group per combination of the swept knobs other than `by`, in the order of their values."""
    with_it = companions(rows, knobs, by)
    others = [name for name in swept(rows, knobs) if name != by and name not in with_it]
    of_optimizer = OPTIMIZER_KNOBS if "optimizer" in others else ()
    names = [name for name in others if name not in of_optimizer or not _follows(rows, name, "optimizer")]
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return [Group(tuple(zip(names, key, strict=True)), found[key]) for key in ordered(found)]


def companions(rows: Sequence[Row], knobs: Sequence[str], by: str) -> tuple[str, ...]:
    """The knobs that go with the one on the axis, as batch_size may with n_neurons: functions of it that only rise or
    only fall.  Draws at random are such functions too, of which few rise or fall throughout."""
    values = {row[by] for row in rows}
    if len(values) < _WITHOUT_REPEATS and len(rows) == len(values):
        return ()
    return tuple(
        name for name in swept(rows, knobs) if name != by and _follows(rows, name, by) and _monotone(rows, name, by)
    )


def _monotone(rows: Sequence[Row], name: str, by: str) -> bool:
    """Whether one rises or falls with the other; words do with words."""
    if not all(is_number(row[by]) for row in rows):
        return True
    if not all(is_number(row[name]) for row in rows):
        return False
    steps = [b - a for (_, a), (_, b) in pairwise(sorted({(row[by], row[name]) for row in rows}))]
    return all(step >= 0 for step in steps) or all(step <= 0 for step in steps)


def by_value(rows: Iterable[Row], column: str) -> dict[Any, list[Row]]:
    """Rows by their value of `column`, in its order."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return {value: found[value] for value in ordered(found)}


def ordered(values: Iterable[Any]) -> list[Any]:
    """Sorted, whatever they are: numbers before words."""

    def rank(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(rank, value))
        return (0, value, "") if is_number(value) else (1, 0, str(value))

    return sorted(values, key=rank)


def said(name: str, value: Any) -> str:
    """A knob with its value: `lr 0.03`, `feature prob 1/64`."""
    return f"{words(name)} {shown(name, value)}"


def shown(name: str, value: Any) -> str:
    """A knob's value: short, and with a real minus sign."""
    if name == "feature_prob" and value <= 0.5 and (1 / value).is_integer():
        return f"1/{round(1 / value)}"
    return _number(value).replace("-", "−") if is_number(value) else str(value)


def _number(value: float) -> str:
    """Six digits; all of a whole number's, in threes where they are many."""
    whole = math.isfinite(value) and value == int(value) and abs(value) < _MANY_DIGITS
    return f"{int(value):,}" if whole and abs(value) >= 10_000 else f"{value:g}"


_NAMED = {
    "lr": "learning rate", "feature_prob": "feature probability ε", "n_neurons": "number of neurons k",
    "n_features": "number of features N", "d_embed": "embedding dimension d", "l1": "weight of l1",
    "bias_offset": "initial bias offset",
}  # fmt: skip


def named(name: str) -> str:
    """A knob as an axis says it."""
    return _NAMED.get(name, words(name))


def words(name: str) -> str:
    return name.replace("_", " ")


def scale_of(values: Sequence[Any]) -> Scale:
    """What axis suits: `log` if they are spread over decades, `symlog` if all but zeros are."""
    if spread_over_decades(values):
        return "log"
    positive = [v for v in values if is_number(v) and v > 0]
    with_zero = all(is_number(v) and v >= 0 for v in values) and len(positive) < len(values)
    return "symlog" if with_zero and len(positive) > 1 and spread_over_decades(positive) else "linear"


def spread_over_decades(values: Sequence[Any]) -> bool:
    """Whether a logarithmic axis suits: positive numbers whose largest is eight times the least or more."""
    return all(is_number(v) and v > 0 for v in values) and max(values) >= 8 * min(values)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _follows(rows: Sequence[Row], name: str, by: str) -> bool:
    """Whether `name` is but a function of `by`, as batch_size is of n_neurons."""
    return len({(row[by], row[name]) for row in rows}) == len({row[by] for row in rows})

"""What a search wanted: from the spec that its sweep was launched with, or said anew."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monosweep.analysis.knobs import FigureError, words

MODES = ("min", "max")
_SEARCHING = ("search", "scheduler", "objectives", "stop")


@dataclass(frozen=True, slots=True)
class Objective:
    """A number of every trial of which a search wants little or much."""

    expression: str
    """A column of `trials`, or SQL of its columns."""
    mode: str
    """`min` or `max`."""

    @property
    def sign(self) -> int:
        """By which its values are multiplied so that less is better."""
        return 1 if self.mode == "min" else -1

    @property
    def label(self) -> str:
        """As an axis says it."""
        return words(self.expression) if self.expression.isidentifier() else self.expression


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sweep was launched for."""

    sweep: str
    objectives: tuple[Objective, ...]
    constraints: tuple[str, ...]
    is_search: bool
    """Whether its trials were searched for, judged, or held against objectives."""


def wanted_of(spec: bytes) -> Wanted:
    """From a sweep's spec as the root keeps it: the least loss, if it does not say.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: if it is none.
    """
    said: dict[str, Any] = json.loads(spec)
    objectives = said.get("objectives") or {"loss": "min"}
    return Wanted(
        str(said["name"]),
        tuple(Objective(str(expression), _mode(mode)) for expression, mode in objectives.items()),
        tuple(map(str, said.get("constraints") or ())),
        any(said.get(name) for name in _SEARCHING),
    )


def _mode(mode: str) -> str:
    if mode not in MODES:
        raise ValueError(mode)
    return mode


def objectives_in(texts: Sequence[str]) -> tuple[Objective, ...]:
    """What a user says, such as `loss:min`.

    Raises:
        FigureError: if one is not of that form.

    >>> objectives_in(["loss:min", "n_mono / n_features:max"])[1].expression
    'n_mono / n_features'
    """
    found = []
    for text in texts:
        expression, _, mode = text.rpartition(":")
        if not expression.strip() or mode.strip() not in MODES:
            raise FigureError(f"an objective must be like loss:min or mono_per_feature:max; got {text!r}")
        found.append(Objective(expression.strip(), mode.strip()))
    return tuple(found)

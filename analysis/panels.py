"""What a family has the page show of its trials: the contract between `families/` and `report/`.  Pure.

A family that says nothing is shown by its columns alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A column of a family's own table, drawn for the trial that was clicked: one value a neuron or feature."""

    table: str
    column: str
    label: str
    """What its axis says."""
    kind: Literal["ranks", "cdf"] = "ranks"
    """Sorted values against their rank, or the share of them that is no larger."""
    split_by: str | None = None
    """Another column of the table; where it exceeds `split_at`, a column of `trials`, points have another colour."""
    split_at: str | None = None
    split_into: tuple[str, str] = ("", "")
    """What is said of those above, and of the others."""


@dataclass(frozen=True, slots=True)
class Image:
    """A matrix of the clicked trial."""

    values: NDArray[np.float64]
    """By row, the first on top, and column."""
    title: str
    x: str
    y: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Panels:
    """What the page shows of a family."""

    objectives: tuple[str, ...]
    """What loss is held against, such as `loss:min` and `mono_per_feature:max`; the headline is the second."""
    parts: tuple[Part, ...] = ()
    image: Callable[[Mapping[str, NDArray[np.floating]], Mapping[str, Any]], Image] | None = None
    """From a trial's weights and its row."""
    figures: tuple[str, ...] = ()
    """Those of `monosweep figures` that draw one trial."""

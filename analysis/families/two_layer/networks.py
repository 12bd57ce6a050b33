"""Which networks a figure shows one by one: the one asked for, or the most monosemantic of each group."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from monosweep.analysis.figures.data import Data, title_of
from monosweep.analysis.knobs import FigureError, Row, shown

NAMING = {"lr": "lr", "bias_offset": "bias offset", "feature_prob": "ε"}
"""The knobs that tell the trials of several batches apart, and how a title says them."""


def best(rows: Sequence[Row]) -> Row:
    """The most monosemantic trial; of equals the one with the least id."""
    metric: Callable[[Row], tuple[float, str]] = lambda row: (-row["mono_per_feature"], row["trial_id"])  # noqa: E731
    return min(rows, key=metric)


def chosen(data: Data) -> list[tuple[str, Row]]:
    """(title, trial) to show one by one."""
    picked = [("", data.trial)] if data.trial else [(label, best(rows)) for label, rows in data.groups()]
    return [(title_of(label, row, data.by), row) for label, row in picked]


def with_weights(data: Data) -> tuple[str, Row]:
    """(title, trial): the one asked for, or the most monosemantic one whose weights are saved.

    Raises:
        FigureError: if no weights are.
    """
    kept = [data.trial] if data.trial else list(data.with_weights())
    if not kept:
        raise FigureError("its trials left no weights; `monosweep weights OUT --sweep NAME` trains them again")
    row = best(kept)
    # the axis's value alone does not name a trial of several batches
    knobs = ", ".join(f"{words} {shown(name, row[name])}" for name, words in NAMING.items())
    return f"{knobs}, seed {row['seed']}", row

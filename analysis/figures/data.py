"""Which trials a figure shows: a selection of a root's completed trials, and the knob on the axis.

    Root + Selection -> Data -> a figure's info -> its painter -> save.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.knobs import FigureError, Row, axis, grouped, shown, words
from monosweep.analysis.tables.root import Root
from monosweep.model.records import TrialStatus

Array = NDArray[np.float64]
MOST_PANELS = 6
"""Groups beyond this many are left out of a figure; its note says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which trials to draw, and how."""

    where: str | None = None
    """SQL condition on `trials`."""
    by: str | None = None
    """The swept column for colours (traces) or the axis (mono, means, summary)."""
    trial: str | None = None
    """The trial for figures of one network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """A number of every trial that a figure shows."""

    name: str
    """The column of `trials`."""
    label: str
    """What its axis says."""
    from_zero: bool = False
    """Whether its axis starts at zero even among means."""


@dataclass(frozen=True, slots=True)
class Data:
    """The completed trials that a selection admits."""

    root: Root
    rows: list[Row]
    by: str
    trial: Row | None
    notes: list[str] = field(default_factory=list)

    def groups(self) -> list[tuple[str, list[Row]]]:
        """(label, trials) of the first few combinations of knobs other than `by`."""
        groups = grouped(self.rows, self.by)
        if len(groups) > MOST_PANELS:
            self.notes.append(
                f"{MOST_PANELS} of {len(groups)} combinations of "
                f"{', '.join(name for name, _ in groups[0].knobs)} drawn; choose with --where"
            )
        return [(group.label, group.rows) for group in groups[:MOST_PANELS]]

    def only(self, rows: list[Row], by: str | None = None) -> Data:
        """The same of these trials alone, against `by` if that is given; what is noted there is noted here."""
        return replace(self, rows=rows, by=by or self.by)

    def with_weights(self) -> Iterator[Row]:
        """The trials whose weights were saved."""
        saved = self.root.with_weights({row["sweep"] for row in self.rows})
        return (row for row in self.rows if (row["sweep"], row["pack_id"]) in saved)


def load(root: Root, selection: Selection) -> Data:
    """The completed trials of a selection.

    Raises:
        FigureError: if there is none.
        QueryError: if the condition or the trial is at fault.
    """
    chosen = None if selection.trial is None else _completed(root, selection.trial)
    condition = f"({selection.where}) AND " if selection.where else ""
    rows = root.trials(f"{condition}status = '{TrialStatus.COMPLETED}' ORDER BY trial_id").to_pylist()
    if not rows:
        which = f" where {selection.where}" if selection.where else ""
        raise FigureError(f"no completed trial in {root.uri}{which}; `monosweep status {root.uri}` shows all")
    return Data(root, rows, axis(rows, selection.by), chosen)


def _completed(root: Root, trial_id: str) -> Row:
    row = root.trial(trial_id)
    if row["status"] != TrialStatus.COMPLETED:
        raise FigureError(f"trial {row['trial_id']} has no figures: it {row['status']} ({row['error']})")
    return row


def title_of(label: str, row: Row, by: str) -> str:
    """One trial among those of its group."""
    value = "" if by == "seed" else f"{words(by)} {shown(by, row[by])}"
    return ", ".join(filter(None, (label, value, f"seed {row['seed']}")))


def column_of(rows: Sequence[Row], name: str) -> Array:
    """A column of `rows` as numbers."""
    return np.array([row[name] for row in rows], dtype=np.float64)

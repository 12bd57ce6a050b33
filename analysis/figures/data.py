"""Which trials a figure shows: a selection of a root's completed trials, and the knob on the axis.

Root + Selection -> Data -> a figure's info -> its painter -> save.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.knobs import FigureError, Row, axis, grouped, shown, words
from monosweep.analysis.tables.built_in import as_built_in, built_in, of_built_in
from monosweep.analysis.tables.guard import conditions
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.storage import quoted
from monosweep.model.records import TrialStatus

Array = NDArray[np.float64]
MOST_PANELS = 6
"""Groups beyond this many are left out of a figure; its note says so."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which trials to draw, and how."""

    where: str | None = None
    """SQL condition on `trials`."""
    sweep: str | None = None
    """Only trials of this sweep, whoever trained them; for figures of a search, which one."""
    objectives: tuple[str, ...] = ()
    """Of a search, such as `loss:min`; else those of its spec."""
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
    knobs: tuple[str, ...]
    """What specs set for these trials; the seed is none of them."""
    notes: list[str] = field(default_factory=list)

    def groups(self) -> list[tuple[str, list[Row]]]:
        """(label, trials) of the first few combinations of knobs other than `by`."""
        groups = grouped(self.rows, self.knobs, self.by)
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


def load(root: Root, selection: Selection, family: str) -> Data:
    """The completed trials of a family, or with metrics of a user's file, that a selection admits.

    Raises:
        FigureError: if there is none.
        QueryError: if the condition or the trial is at fault.
    """
    chosen = None if selection.trial is None else _completed(root, selection.trial, family)
    completed = conditions(selection.where, f"status = {quoted(TrialStatus.COMPLETED)}")
    ours = f"{completed} AND {of_built_in([family])}"
    trials = "trials" if selection.sweep is None else f"sweep({quoted(selection.sweep)})"
    rows = as_built_in(root.sql(f"SELECT * FROM {trials} WHERE {ours} ORDER BY trial_id").to_pylist())
    if not rows:
        raise FigureError(_nothing(root, selection, family, completed))
    knobs = root.knobs(family)
    return Data(root, rows, axis(rows, knobs, selection.by), chosen, knobs)


def _nothing(root: Root, selection: Selection, family: str, completed: str) -> str:
    """Why a selection is empty; trials of other families may be there."""
    place = root.uri + (f" where {selection.where}" if selection.where else "")
    place = place if selection.sweep is None else f"sweep {selection.sweep} of {place}"
    others = root.sql(f"SELECT DISTINCT family FROM trials WHERE {completed} ORDER BY ALL")["family"].to_pylist()
    if not others:
        return f"no completed trial in {place}; `monosweep status {root.uri}` shows all"
    return f"no completed trial of family {family}, whose figures these are, in {place}; it has {', '.join(others)}"


def _completed(root: Root, trial_id: str, family: str) -> Row:
    row = root.trial(trial_id)
    if built_in(row["family"]) != family:
        raise FigureError(f"trial {row['trial_id']} is of family {row['family']}; these figures are of {family}")
    if row["status"] != TrialStatus.COMPLETED:
        raise FigureError(f"trial {row['trial_id']} has no figures: it {row['status']} ({row['error']})")
    return {**row, "family": family}


def title_of(label: str, row: Row, by: str) -> str:
    """One trial among those of its group."""
    value = "" if by == "seed" else f"{words(by)} {shown(by, row[by])}"
    return ", ".join(filter(None, (label, value, f"seed {row['seed']}")))


def column_of(rows: Sequence[Row], name: str) -> Array:
    """A column of `rows` as numbers."""
    return np.array([row[name] for row in rows], dtype=np.float64)

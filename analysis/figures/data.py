"""Which trials a figure shows: a selection of a root's completed trials, and the knob on the axis.

Root + Selection -> Data -> a figure's info -> its painter -> save.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.knobs import (
    FigureError,
    Group,
    Row,
    axis,
    by_value,
    companions,
    grouped,
    named,
    ordered,
    shown,
    swept,
    words,
)
from monosweep.analysis.tables.built_in import as_built_in, built_in, of_built_in
from monosweep.analysis.tables.guard import conditions
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.storage import identifier, quoted
from monosweep.model.records import TrialStatus

Array = NDArray[np.float64]
T = TypeVar("T")
MOST_PANELS = 24
"""Groups beyond this many are left out of a figure of panels, which says so."""
MOST_SERIES = 6
"""Combinations of knobs in one panel: what colours and marks tell apart."""
MOST_FACETS = 12
"""Panels of series one above the other; what is left out is said."""
MOST_TRIALS = 50_000
"""More are drawn from by their ids, which are as good as random."""
_NAMED = 6
"""Values at which trials are missing that are named."""
_UNSEEN = (
    "error", "engine", "device_name", "code_version", "library_versions", "schema_version", "finished_at",
    "family_digest",
)  # fmt: skip
"""Columns that no figure shows, and that take memory."""


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
    """The swept column, or expression of such, for colours (traces) or the axis (mono, means, summary)."""
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
class Arm:
    """Trials that agree in all knobs but the one on the axis."""

    facet: str
    """The panel that they stand in; empty if one holds all."""
    label: str
    rows: list[Row]
    joined: bool = True
    """Whether a line may join them."""


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
    """What a figure leaves out; it says so itself."""

    @property
    def axis_label(self) -> str:
        """The knob on the axis, and which others go with it."""
        others = companions(self.rows, self.knobs, self.by)
        return named(self.by) + (f"\n({', '.join(map(words, others))} with it)" if others else "")

    def groups(self, most: int = MOST_PANELS) -> list[tuple[str, list[Row]]]:
        """(label, trials) of the combinations of knobs other than `by`; what is left out of too many is noted."""
        groups = grouped(self.rows, self.knobs, self.by)
        return [(group.label, group.rows) for group in self._first(groups, len(groups), most)]

    def arms(self) -> list[Arm]:
        """Every combination of the other knobs, by panels that hold few enough to be told apart.

        Trials that no other matches in all knobs but `by`, as a random search has them, are one arm that no line joins.
        """
        groups = grouped(self.rows, self.knobs, self.by)
        if len(groups) > MOST_SERIES:
            lone = [group for group in groups if len({row[self.by] for row in group.rows}) == 1]
            if len(lone) > MOST_SERIES:
                alone = set(map(id, lone))
                return [*self._facetted([g for g in groups if id(g) not in alone]), _cloud(lone)]
        return self._facetted(groups)

    def _facetted(self, groups: list[Group]) -> list[Arm]:
        facets = _facets(groups)
        shown = self._first(facets, len(groups), MOST_FACETS)
        return [Arm(title, label, group.rows) for title, members in shown for label, group in members]

    def _first(self, found: list[T], n_groups: int, most: int) -> list[T]:
        if len(found) > most:
            names = [name for name in swept(self.rows, self.knobs) if name != self.by]
            self.notes.append(
                f"not drawn: {len(found) - most} of {len(found)} panels, of {n_groups:,} combinations of "
                f"{', '.join(map(words, names))}; choose with --where"
            )
        return found[:most]

    def note_missing(self, metrics: Sequence[Metric]) -> None:
        """Note the trials that are drawn without one of these."""
        for metric in metrics:
            if lacking := int((~np.isfinite(column_of(self.rows, metric.name))).sum()):
                self.notes.append(f"{lacking:,} of {len(self.rows):,} trials have no {words(metric.name)}")

    def only(self, rows: list[Row], by: str | None = None) -> Data:
        """The same of these trials alone, against `by` if that is given; what is noted there is noted here."""
        return replace(self, rows=rows, by=by or self.by)

    def with_weights(self) -> Iterator[Row]:
        """The trials whose weights were saved."""
        saved = self.root.with_weights({row["sweep"] for row in self.rows})
        return (row for row in self.rows if (row["sweep"], row["pack_id"], row["trial_id"]) in saved)


def load(root: Root, selection: Selection, family: str) -> Data:
    """The completed trials of a family, or with metrics of a user's file, that a selection admits.

    Raises:
        FigureError: if there is none.
        QueryError: if the condition or the trial is at fault.
    """
    chosen = None if selection.trial is None else _completed(root, selection.trial, family)
    admitted = f"{conditions(selection.where)} AND {of_built_in([family])}"
    completed = f"{admitted} AND status = {quoted(TrialStatus.COMPLETED)}"
    knobs = root.knobs(family)
    computed = _computed(selection.by, knobs)
    trials = "trials" if selection.sweep is None else f"sweep({quoted(selection.sweep)})"
    unseen = ", ".join(_UNSEEN)
    query = (
        f"SELECT * EXCLUDE ({unseen}){computed} FROM {trials} WHERE {completed} ORDER BY trial_id LIMIT {MOST_TRIALS}"
    )
    rows = as_built_in(root.sql(query).to_pylist())
    if not rows:
        done = conditions(selection.where, f"status = {quoted(TrialStatus.COMPLETED)}")
        raise FigureError(_nothing(root, selection, family, done))
    if computed:
        rows = [{**row, str(selection.by): _float(row[str(selection.by)])} for row in rows]
        knobs = _without_most_varied(rows, knobs, str(selection.by))
    by = str(selection.by) if computed else axis(rows, knobs, selection.by)
    notes = list(_left_out(root, trials, admitted, by, len(rows)))
    if chosen is not None and computed:
        chosen = {**chosen, by: next((row[by] for row in rows if row["trial_id"] == chosen["trial_id"]), None)}
    return Data(root, rows, by, chosen, knobs, [] if chosen else notes)


def _computed(by: str | None, knobs: Sequence[str]) -> str:
    """`by` as a column, if it is an expression.

    Raises:
        FigureError: if no swept column is in it.
        QueryError: if it is none.
    """
    if by is None or by.strip().isidentifier():
        return ""
    conditions(by)
    if not _used(by, knobs):
        raise FigureError(f"--by must be of knobs, such as lr or n_neurons / n_features; got {by!r}")
    return f", (\n{by}\n) AS {identifier(by)}"


def _used(expression: str, knobs: Sequence[str]) -> list[str]:
    return [name for name in knobs if re.search(rf"\b{name}\b", expression, re.IGNORECASE)]


def _without_most_varied(rows: list[Row], knobs: tuple[str, ...], by: str) -> tuple[str, ...]:
    """Of the knobs in an expression one follows from its value and the others: that with most values."""
    varied = max(_used(by, knobs), key=lambda name: len({row[name] for row in rows}))
    return tuple(name for name in knobs if name != varied)


def _float(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _left_out(root: Root, trials: str, admitted: str, by: str, n_drawn: int) -> Iterator[str]:
    """Which trials a figure of the completed ones does not have."""
    value = identifier(by) if by.isidentifier() else f"(\n{by}\n)"
    counts = root.sql(
        f"SELECT status, {value} AS value, count(*) AS n FROM {trials} WHERE {admitted} GROUP BY ALL ORDER BY ALL"
    ).to_pylist()
    for status, found in by_value(counts, "status").items():
        n = sum(row["n"] for row in found)
        if status == TrialStatus.COMPLETED:
            if n > n_drawn:
                yield f"{n_drawn:,} of {n:,} completed trials are drawn, at random"
            continue
        yield f"not drawn: {n:,} that {ENDED[status]} ({at_values(by, [(row['value'], row['n']) for row in found])})"


def at_values(by: str, counts: Sequence[tuple[Any, int]]) -> str:
    """How many of what a note tells there are at which values.

    >>> at_values("lr", [(0.1, 3), (0.3, 1200)])
    'lr 0.1: 3, 0.3: 1,200'
    """
    where = [f"{shown(by, _float(value))}: {n:,}" for value, n in counts[:_NAMED]]
    more = f" and {len(counts) - _NAMED} more values" if len(counts) > _NAMED else ""
    return f"{words(by)} {', '.join(where)}{more}"


ENDED = {
    TrialStatus.DIVERGED: "diverged", TrialStatus.STOPPED: "were stopped early", TrialStatus.FAILED: "failed"
}  # fmt: skip
"""How trials ended of which figures of completed ones say that they are not drawn."""


def _cloud(groups: Sequence[Group]) -> Arm:
    rows = [row for group in groups for row in group.rows]
    names = ", ".join(words(name) for name, _ in groups[0].knobs)
    return Arm("", f"{len(rows):,} trials that differ in {names} too", rows, joined=False)


def _facets(groups: Sequence[Group]) -> list[tuple[str, list[tuple[str, Group]]]]:
    """(title, (label, group)s) of panels that hold few enough: by the knobs with fewest values, then what is left."""
    if len(groups) <= MOST_SERIES:
        return [("", [(group.label, group) for group in groups])]
    values = {name: {dict(g.knobs)[name] for g in groups} for name, _ in groups[0].knobs}
    names = sorted(values, key=lambda name: len(values[name]))
    outer, panels = names[:0], [list(groups)]
    while max(map(len, panels)) > MOST_SERIES and len(outer) < len(names) - 1:
        outer = names[: len(outer) + 1]
        panels = list(_split(groups, outer))
    found = []
    for panel in panels:
        shared = tuple((name, value) for name, value in panel[0].knobs if name in outer)
        rest = [(Group(tuple(k for k in g.knobs if k not in shared), g.rows).label, g) for g in panel]
        for first in range(0, len(rest), MOST_SERIES):
            found.append((Group(shared, []).label, rest[first : first + MOST_SERIES]))
    return found


def _split(groups: Sequence[Group], names: Sequence[str]) -> Iterator[list[Group]]:
    found: dict[tuple[Any, ...], list[Group]] = {}
    for group in groups:
        found.setdefault(tuple(value for name, value in group.knobs if name in names), []).append(group)
    yield from (found[key] for key in ordered(found))


def _nothing(root: Root, selection: Selection, family: str, completed: str) -> str:
    """Why a selection is empty; trials of other families may be there."""
    place = root.uri + (f" where {selection.where}" if selection.where else "")
    place = place if selection.sweep is None else f"sweep {selection.sweep} of {place}"
    others = root.sql(f"SELECT DISTINCT family FROM trials WHERE {completed} ORDER BY ALL")["family"].to_pylist()
    if not others:
        return f"no completed trial in {place}; `monosweep status {root.uri}` shows all"
    return f"no completed trial of family {family}, whose figures these are, in {place}; it has {', '.join(others)}"


def _completed(root: Root, trial_id: str, family: str) -> Row:
    row = root.row(trial_id)
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


class _InFacet(Protocol):
    @property
    def facet(self) -> str: ...


F = TypeVar("F", bound=_InFacet)


def by_facet(series: Sequence[F]) -> dict[str, list[F]]:
    """Series by the panel that they stand in."""
    found: dict[str, list[F]] = {}
    for one in series:
        found.setdefault(one.facet, []).append(one)
    return found


def finite(rows: Sequence[Row], name: str) -> Array:
    """A column of those of `rows` that have it, as numbers."""
    values = column_of(rows, name)
    return values[np.isfinite(values)]

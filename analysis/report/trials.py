"""The trials of one family: their columns, what they are worth, their front, and which knobs matter.

Root + Selection -> trials_of -> Trials -> front, importance -> content.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monosweep.analysis.figures.data import Selection
from monosweep.analysis.knobs import FigureError, Row
from monosweep.analysis.panels import Panels
from monosweep.analysis.report.encode import is_numeric
from monosweep.analysis.report.families import panels_of
from monosweep.analysis.report.sweeps import source
from monosweep.analysis.search.found import Found, Mask
from monosweep.analysis.search.front import front_of
from monosweep.analysis.search.importance import ImportanceInfo, importance_info
from monosweep.analysis.search.objectives import Objective, Wanted, objectives_in
from monosweep.analysis.tables.guard import conditions
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.search import searches, with_best
from monosweep.analysis.tables.storage import identifier, quoted
from monosweep.sweep.store.schema import Key, Provenance

MOST_TRIALS = 100_000
"""Points that a browser brushes in a second or two."""
MOST_WEIGHED = 500
"""Trials by which the importance of knobs is told; it is computed two dozen times."""
OTHERS = (*Key.__dataclass_fields__, *Provenance.__dataclass_fields__, "sweep")
"""Columns that are neither a knob nor a metric."""
_FEASIBLE = "keeps_constraints"


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """Those of a family that the page holds."""

    family: str
    table: pa.Table
    """By trial_id; after the columns of `trials` the objectives that are none of them, under their own words."""
    n: int
    """How many there are; more than the table has if they were sampled."""
    knobs: tuple[str, ...]
    """Those that vary, without the seed."""
    fixed: tuple[str, ...]
    """Those that do not."""
    metrics: tuple[str, ...]
    found: Found
    panels: Panels
    constraints: tuple[str, ...] = ()
    """Of the search that they are of; who breaks one is on no front."""

    @property
    def ids(self) -> list[str]:
        """In the order of the table."""
        ids: list[str] = self.table["trial_id"].to_pylist()
        return ids


def families_in(root: Root, selection: Selection) -> list[str]:
    """Which families have trials in a selection, those with most first."""
    where = conditions(selection.where)
    query = f"SELECT family FROM {source(selection)} WHERE {where} GROUP BY family ORDER BY count(*) DESC, family"
    found: list[str] = root.sql(query)["family"].to_pylist()
    return found


def trials_of(root: Root, selection: Selection, family: str) -> Trials:
    """The trials of a family that a selection admits.

    Raises:
        QueryError: if the condition or an objective is no SQL of the columns of `trials`.
        FigureError: if an objective does not end in :min or :max.
    """
    knobs = root.knobs(family)
    names = [name for name in root.columns().tables["trials"].names if name not in (*OTHERS, *knobs, "seed", "family")]
    ours = conditions(selection.where, f"family = {quoted(family)}")
    n, there = _present(root, selection, names, ours)
    panels = panels_of(family, there)
    search = _search(root, selection)
    aims = _aims(selection, search, panels)
    constraints = () if search is None else search.constraints
    extra = [(i, aim) for i, aim in enumerate(aims) if aim.expression not in (*names, *knobs, *OTHERS)]
    named = "".join(f", CAST((\n{aim.expression}\n) AS DOUBLE) AS objective_{i}" for i, aim in extra)
    kept = " AND ".join(f"(\n{with_best(text, search.sweep, aims)}\n)" for text in constraints) if search else ""
    named += f", coalesce({kept}, false) AS {_FEASIBLE}" if kept else ""
    # An id is a hash, so the first of them are a fair sample.
    table = root.sql(f"SELECT *{named} FROM {source(selection)} WHERE {ours} ORDER BY trial_id LIMIT {MOST_TRIALS}")
    table = table.rename_columns({f"objective_{i}": aim.expression for i, aim in extra})
    feasible = table[_FEASIBLE].to_numpy() if kept else np.ones(len(table), np.bool_)
    table = table.drop_columns(_FEASIBLE) if kept else table
    varied = tuple(knob for knob in knobs if pc.count_distinct(table[knob], mode="all").as_py() > 1)
    varied = tuple(sorted(varied, key=lambda knob: knob == "n_steps"))  # the last to be a colour or an axis
    metrics = (*dict.fromkeys((*(aim.expression for aim in aims), *there)),)
    return Trials(
        family=family, table=table, n=n, knobs=varied, fixed=tuple(k for k in knobs if k not in varied),
        metrics=metrics, found=_found(table, selection.sweep or family, aims, varied, feasible), panels=panels,
        constraints=constraints,
    )  # fmt: skip


def _present(root: Root, selection: Selection, names: Sequence[str], ours: str) -> tuple[int, tuple[str, ...]]:
    """How many trials there are, and in which of the numeric columns any has a value."""
    schema = root.columns().tables["trials"]
    numeric = [name for name in names if is_numeric(schema.field(name).type)]
    counts = "".join(f", count({identifier(name)})" for name in numeric)
    n, *found = root.sql(f"SELECT count(*){counts} FROM {source(selection)} WHERE {ours}").to_pylist()[0].values()
    return n, tuple(name for name, there in zip(numeric, found, strict=True) if there)


def _search(root: Root, selection: Selection) -> Wanted | None:
    """The one sweep that this is about."""
    wanted = [w for w in searches(root.files) if selection.sweep in (None, w.sweep)]
    return wanted[0] if len(wanted) == 1 else None


def _aims(selection: Selection, search: Wanted | None, panels: Panels) -> tuple[Objective, ...]:
    """What the user says; else what the search wanted, if it is more than one thing; else what the family says."""
    if selection.objectives:
        return objectives_in(selection.objectives)
    return search.objectives if search and len(search.objectives) > 1 else objectives_in(panels.objectives)


def _found(table: pa.Table, name: str, aims: tuple[Objective, ...], knobs: tuple[str, ...], feasible: Mask) -> Found:
    columns = ("trial_id", "status", "last_step", *knobs)
    values = [np.asarray(table[aim.expression].cast(pa.float64()).to_numpy(), np.float64) for aim in aims]
    worth = np.stack([np.where(np.isfinite(v), v, np.nan) for v in values], axis=1)
    return Found(name, aims, knobs, table.select(columns).to_pylist(), worth, feasible)


def front(found: Found) -> Mask:
    """Which trials are on the Pareto front; none where none is completed."""
    try:
        return front_of(found)
    except FigureError:
        return np.zeros(len(found.rows), np.bool_)


def importance(found: Found) -> ImportanceInfo:
    """How much the knobs matter, by an even sample of the trials where they are many.

    Raises:
        FigureError: as `importance_info`.
    """
    if len(found.rows) <= MOST_WEIGHED:
        return importance_info(found)
    kept = np.linspace(0, len(found.rows) - 1, MOST_WEIGHED).round().astype(np.intp)
    rows: list[Row] = [found.rows[i] for i in kept]
    return importance_info(replace(found, rows=rows, values=found.values[kept], feasible=found.feasible[kept]))


def plain_importance(found: Found) -> dict[str, Any]:
    """As the page's JSON has it: shares with their ends by objective and knob, or why there are none."""
    try:
        info = importance(found)
    except FigureError as error:
        return {"why": str(error)}
    return {
        "n": len(info.found.rows), "knobs": list(found.knobs), "share": info.share.tolist(), "low": info.low.tolist(),
        "high": info.high.tolist(),
    }  # fmt: skip

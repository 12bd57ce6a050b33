"""Figures of papers' batches by name, drawn from the same evidence as the claims: whoever adds one adds a line here.

Root + Selection -> Evidence of the first size that is there -> an info -> its painter
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from monosweep.analysis.claims.batch import Batch, Size
from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.claims.study import Study
from monosweep.analysis.figures.data import ENDED, Selection, at_values
from monosweep.analysis.figures.style import footed, headed
from monosweep.analysis.knobs import FigureError, Row, by_value
from monosweep.analysis.papers.bhagat2026.claims import BHAGAT2026
from monosweep.analysis.papers.bhagat2026.mixing import mixing, mixing_info
from monosweep.analysis.papers.elhage2022.claims import ELHAGE2022
from monosweep.analysis.papers.elhage2022.phase import phase, phase_info
from monosweep.analysis.papers.elhage2022.sharing import (
    cluster,
    cluster_info,
    geometry,
    geometry_info,
    plateaus_info,
)
from monosweep.analysis.papers.jermyn2017.claims import JERMYN2017
from monosweep.analysis.papers.jermyn2017.trees import couplings, couplings_info, trees, trees_info
from monosweep.analysis.papers.lecomte2023.claims import LECOMTE2023
from monosweep.analysis.papers.lecomte2023.scaling import scaling, scaling_info
from monosweep.analysis.papers.scherlis2022.allocation import allocation, allocation_info
from monosweep.analysis.papers.scherlis2022.claims import SCHERLIS2022
from monosweep.analysis.papers.scherlis2022.planes import planes, planes_info
from monosweep.analysis.papers.schindler2020.claims import SCHINDLER2020
from monosweep.analysis.papers.schindler2020.orders import gaps, gaps_info, orders, orders_info
from monosweep.analysis.tables.built_in import as_built_in, built_in, of_built_in
from monosweep.analysis.tables.guard import conditions
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.storage import identifier, quoted
from monosweep.model.records import TrialStatus


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A way to show a batch: what it shows, and its painter."""

    study: Study
    batch: str
    info: Callable[[Evidence[Any]], Any]
    paint: Callable[[Any], Figure]


PAPER_FIGURES: dict[str, Kind] = {
    "phase": Kind(study=ELHAGE2022, batch="phase", info=phase_info, paint=phase),
    "plateaus": Kind(study=ELHAGE2022, batch="plateaus", info=plateaus_info, paint=geometry),
    "geometry": Kind(study=ELHAGE2022, batch="geometry", info=geometry_info, paint=geometry),
    "cluster": Kind(study=ELHAGE2022, batch="cluster", info=cluster_info, paint=cluster),
    "incidental": Kind(study=LECOMTE2023, batch="scaling", info=scaling_info, paint=scaling),
    "cc": Kind(study=BHAGAT2026, batch="cc", info=mixing_info, paint=mixing),
    "allocation": Kind(study=SCHERLIS2022, batch="fig4", info=allocation_info, paint=allocation),
    "planes": Kind(study=SCHERLIS2022, batch="fig7", info=planes_info, paint=planes),
    "orders": Kind(study=SCHINDLER2020, batch="random10", info=orders_info, paint=orders),
    "gaps": Kind(study=SCHINDLER2020, batch="sizes", info=gaps_info, paint=gaps),
    "trees": Kind(study=JERMYN2017, batch="ising", info=trees_info, paint=trees),
    "couplings": Kind(study=JERMYN2017, batch="square", info=couplings_info, paint=couplings),
}
"""By name; drawn unasked where a root has the trials."""


def info_of(name: str, root: Root, selection: Selection) -> Any:
    """What figure `name` shows of a root.

    Raises:
        FigureError: if the tables lack its batch; one line with the presets that would give it.
        QueryError: if the condition is at fault.
    """
    found = _found(name, root, selection)
    return PAPER_FIGURES[name].info(found.evidence)


def paint(name: str, root: Root, selection: Selection) -> Figure:
    """Figure `name`, headed by its batch, and below it what it leaves out; raises as `info_of` does."""
    kind, found = PAPER_FIGURES[name], _found(name, root, selection)
    figure = kind.paint(kind.info(found.evidence))
    headed(figure, f"{found.size.name}/{kind.batch} ({kind.study.name})")
    notes = list(_notes(kind, found, whole=selection.where is None and selection.sweep is None))
    return footed(figure, notes) if notes else figure


def _notes(kind: Kind, found: _Found, whole: bool) -> Iterator[str]:
    """What a figure of a batch does not have; of `whole` batches also what was never trained."""
    batch, evidence = found.size.batches[kind.batch], found.evidence
    for status, rows in by_value(found.left_out, "status").items():
        yield f"not drawn: {len(rows):,} that {ENDED[TrialStatus(status)]}{_at(batch, rows)}"
    if others := evidence.otherwise(kind.batch):
        yield f"not drawn: {len(others):,} of another precision than {evidence.precision}{_at(batch, others)}"
    wanted = batch.points({})
    lacking = wanted - {batch.point(row) for row in (*evidence.batch(kind.batch), *found.left_out)}
    if whole and lacking:
        where = _at(batch, [dict(point) for point in lacking])
        yield f"without a trial: {len(lacking):,} of the {len(wanted):,} settings that its preset sweeps{where}"


def _at(batch: Batch, rows: Sequence[Row]) -> str:
    """Where rows are on a batch's axis."""
    axis = next(iter(batch.grid), None)
    if axis is None:
        return ""
    return f" ({at_values(axis, [(value, len(some)) for value, some in by_value(rows, axis).items()])})"


def drawable(root: Root, selection: Selection) -> list[str]:
    """The names of those whose batches a root has."""
    return [name for name in PAPER_FIGURES if _size(name, root, selection)]


@dataclass(frozen=True, slots=True)
class _Found:
    """The trials of a figure's batch at one size."""

    size: Size
    evidence: Evidence[Any]
    left_out: list[Row]
    """Those that did not complete."""


def _found(name: str, root: Root, selection: Selection) -> _Found:
    kind = PAPER_FIGURES[name]
    size = _size(name, root, selection)
    if size is None:
        presets = " or ".join(f"{size.name}/{kind.batch}" for size in reversed(_sizes(name)))
        raise FigureError(f"{name} shows a batch of which no trial is here; launch {presets}")
    where = _condition(kind, size, selection)
    rows = as_built_in(root.sql(f"SELECT * FROM {where} ORDER BY trial_id").to_pylist())
    done = [row for row in rows if row["status"] == TrialStatus.COMPLETED]
    if not done:
        raise FigureError(f"{name} shows {size.name}/{kind.batch}, of which no trial has completed")
    return _Found(size, Evidence(root, done, size), [row for row in rows if row["status"] != TrialStatus.COMPLETED])


def _size(name: str, root: Root, selection: Selection) -> Size | None:
    """The first size of which some trial of the batch is here."""
    kind = PAPER_FIGURES[name]
    here = root.sql("SELECT DISTINCT family FROM trials")["family"].to_pylist()
    if not set(map(built_in, here)) & set(kind.study.families):  # nor may its columns be there
        return None
    some = [(size, f"SELECT 1 FROM {_condition(kind, size, selection)} LIMIT 1") for size in _sizes(name)]
    return next((size for size, query in some if root.sql(query).num_rows), None)


def _sizes(name: str) -> list[Size]:
    """Those that have the batch."""
    kind = PAPER_FIGURES[name]
    return [size for size in kind.study.sizes if kind.batch in size.batches]


def _condition(kind: Kind, size: Size, selection: Selection) -> str:
    """What follows FROM for all trials of the batch at a size, however they ended."""
    named = size.batches[kind.batch].base.items()
    base = [of_built_in([value]) if name == "family" else _is(name, value) for name, value in named]
    trials = "trials" if selection.sweep is None else f"sweep({quoted(selection.sweep)})"
    return f"{trials} WHERE {conditions(selection.where, of_built_in(kind.study.families), *base)}"


def _is(name: str, value: Any) -> str:
    """`claims.batch.same` in SQL."""
    column = identifier(name)
    if value is None:
        return f"{column} IS NULL"
    if isinstance(value, float):
        return f"abs({column} - {value!r}) <= {max(1e-5 * abs(value), 1e-12)!r}"
    return f"{column} = {quoted(value) if isinstance(value, str) else value}"

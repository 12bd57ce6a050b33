"""The figures of a search by name; what they show is computed in `analysis.search`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from matplotlib.figure import Figure

from monosweep.analysis.figures.search.front import front
from monosweep.analysis.figures.search.history import history
from monosweep.analysis.figures.search.importance import importance
from monosweep.analysis.figures.search.parallel import parallel
from monosweep.analysis.figures.search.rungs import rungs
from monosweep.analysis.figures.style import footed
from monosweep.analysis.search.rungs import RungsInfo
from monosweep.analysis.tables.search import Search


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure and its numbers."""

    figure: Figure
    table: pa.Table


def _drawn(info: Any, paint: Callable[[Any], Figure], notes: Sequence[str]) -> Drawn:
    figure = paint(info)
    return Drawn(footed(figure, notes) if notes else figure, info.table())


def _points(info: Any, paint: Callable[[Any], Figure]) -> Drawn:
    """Of a figure in which trials are points or lines."""
    return _drawn(info, paint, info.found.left_out)


def _rungs(info: RungsInfo) -> Drawn:
    n = len(info.found.rows) - len(info.curves)
    lacking = f"no curve of {n} of {len(info.found.rows)} trials: without values of {info.found.objectives[0].label}"
    return _drawn(info, rungs, [lacking] if info.curves and n else [])


SEARCH_FIGURES: dict[str, Callable[[Search], Drawn]] = {
    "pareto": lambda search: _points(search.front_info(), front),
    "history": lambda search: _points(search.history_info(), history),
    "rungs": lambda search: _rungs(search.rungs_info()),
    "importance": lambda search: _drawn(search.importance_info(), importance, ()),
    "parallel": lambda search: _points(search.parallel_info(), parallel),
}

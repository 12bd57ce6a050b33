"""The figures of a search by name; what they show is computed in `analysis.search`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from matplotlib.figure import Figure

from monosweep.analysis.figures.search.front import front
from monosweep.analysis.figures.search.history import history
from monosweep.analysis.figures.search.importance import importance
from monosweep.analysis.figures.search.parallel import parallel
from monosweep.analysis.figures.search.rungs import rungs
from monosweep.analysis.tables.search import Search


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure and its numbers."""

    figure: Figure
    table: pa.Table


def _drawn(info: Any, paint: Callable[[Any], Figure]) -> Drawn:
    return Drawn(paint(info), info.table())


SEARCH_FIGURES: dict[str, Callable[[Search], Drawn]] = {
    "pareto": lambda search: _drawn(search.front_info(), front),
    "history": lambda search: _drawn(search.history_info(), history),
    "rungs": lambda search: _drawn(search.rungs_info(), rungs),
    "importance": lambda search: _drawn(search.importance_info(), importance),
    "parallel": lambda search: _drawn(search.parallel_info(), parallel),
}

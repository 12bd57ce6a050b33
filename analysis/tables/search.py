"""A search as tables: which sweep, what it wanted, its trials and their curves; the numbers are `analysis.search`'s.

Root.search -> Search.front, history, rungs, importance, parallel -> pa.Table;  .found -> infos -> figures
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from monosweep.analysis.knobs import FigureError, swept
from monosweep.analysis.search.found import Found
from monosweep.analysis.search.front import FrontInfo, front_info
from monosweep.analysis.search.history import HistoryInfo, history_info
from monosweep.analysis.search.importance import ImportanceInfo, importance_info
from monosweep.analysis.search.objectives import Wanted, objectives_in, wanted_of
from monosweep.analysis.search.parallel import ParallelInfo, parallel_info
from monosweep.analysis.search.rungs import Curves, RungsInfo, rungs_info
from monosweep.analysis.tables.columns import Columns
from monosweep.analysis.tables.guard import QueryError, conditions
from monosweep.analysis.tables.storage import Files, first_line, identifier, quoted
from monosweep.model.config import unknown_name

_BEST = re.compile(r"\bbest_(\w+)\b")
_SPEC = re.compile(r"sweeps/[^/]*(?<!\.progress)\.json")


class Asked(Protocol):
    """Of a root, what is needed here."""

    uri: str
    files: Files

    def sql(self, query: str) -> pa.Table: ...

    def columns(self) -> Columns: ...

    def knobs(self, family: str) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Search:
    """A search of a results root; each table and info is computed when it is asked for."""

    root: Asked
    found: Found
    """Its trials, in the order in which they ended."""

    def front(self, reference: Mapping[str, float] | None = None) -> pa.Table:
        """Its trials, and which are on the Pareto front; raises as `front_info`."""
        return self.front_info(reference).table()

    def hypervolume(self, reference: Mapping[str, float] | None = None) -> float:
        """What the front dominates up to `reference`; raises as `front_info`."""
        return self.front_info(reference).hypervolume

    def history(self) -> pa.Table:
        """Its trials with the steps that were trained by then, and the best so far; raises as `history_info`."""
        return self.history_info().table()

    def rungs(self) -> pa.Table:
        """Steps at which trials were stopped: how many, by whom, of how many; raises as `rungs_info`."""
        return self.rungs_info().table()

    def importance(self) -> pa.Table:
        """What each knob has to do with being among the best tenth; raises as `importance_info`."""
        return self.importance_info().table()

    def parallel(self) -> pa.Table:
        """Its trials with their rank by the first objective; raises as `parallel_info`."""
        return self.parallel_info().table()

    def front_info(self, reference: Mapping[str, float] | None = None) -> FrontInfo:
        """The front as numbers."""
        return front_info(self.found, reference)

    def history_info(self) -> HistoryInfo:
        """The history as numbers."""
        return history_info(self.found)

    def rungs_info(self) -> RungsInfo:
        """The rungs as numbers, with the curves of the first objective."""
        return rungs_info(self.found, _curves(self.root, self.found))

    def importance_info(self) -> ImportanceInfo:
        """The importance of the knobs as numbers."""
        return importance_info(self.found)

    def parallel_info(self) -> ParallelInfo:
        """Parallel coordinates as numbers."""
        return parallel_info(self.found)


def searches(files: Files) -> Iterator[Wanted]:
    """What the sweeps of a root were launched for, by name; what is no spec of ours is left out."""
    for path in sorted(path for path, _, _ in files.files_in("sweeps") if _SPEC.fullmatch(path)):
        try:
            yield wanted_of(files.read(path))
        except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError):
            continue
        except OSError as error:
            raise QueryError(f"cannot read {path}: {first_line(error)}") from None


def searched(root: Asked, sweep: str | None, objectives: Sequence[str], where: str | None) -> Search:
    """As `Root.search` says."""
    wanted = _chosen(root, sweep)
    aims = objectives_in(objectives) or wanted.objectives
    constraints = [with_best(text, wanted.sweep, aims) for text in wanted.constraints]
    named = [f"(\n{aim.expression}\n) AS objective_{i}" for i, aim in enumerate(aims)]
    named += [f"(\n{text}\n) AS constraint_{i}" for i, text in enumerate(constraints)]
    rows = root.sql(
        f"SELECT *, {', '.join(named)} FROM sweep({quoted(wanted.sweep)}) WHERE {conditions(where)} "
        "ORDER BY finished_at, trial_id"
    ).to_pylist()
    if not rows:
        raise FigureError(f"no trial of {wanted.sweep} has its row yet; `monosweep status {root.uri}` shows all")
    families = dict.fromkeys(row["family"] for row in rows)
    knobs = dict.fromkeys(knob for family in families for knob in root.knobs(family))
    values = np.array([[_number(row[f"objective_{i}"]) for i in range(len(aims))] for row in rows])
    feasible = np.array([all(row[f"constraint_{i}"] for i in range(len(constraints))) for row in rows])
    return Search(root, Found(wanted.sweep, aims, swept(rows, tuple(knobs)), rows, values, feasible))


def _chosen(root: Asked, sweep: str | None) -> Wanted:
    known = {wanted.sweep: wanted for wanted in searches(root.files)}
    if sweep is not None:
        if sweep not in known:
            raise QueryError(unknown_name("sweep", sweep, tuple(known)))
        return known[sweep]
    found = [wanted for wanted in known.values() if wanted.is_search] or list(known.values())
    if len(found) != 1:
        names = ", ".join(wanted.sweep for wanted in found) or "none"
        raise QueryError(f"a search must be named where there is not just one; got {names}; name it with --sweep")
    return found[0]


def with_best(text: str, sweep: str, aims: Sequence[Any]) -> str:
    """A constraint whose `best_X` is the best of all trials of the sweep that have ended."""
    most = {aim.expression for aim in aims if aim.mode == "max"}

    def best(match: re.Match[str]) -> str:
        which = "max" if match[1] in most else "min"
        return f"(SELECT {which}({identifier(match[1])}) FROM sweep({quoted(sweep)}))"

    return _BEST.sub(best, text)


def _number(value: Any) -> float:
    return float("nan") if value is None or not np.isfinite(value) else float(value)


def _curves(root: Asked, found: Found) -> Curves:
    """The first objective at every recorded step; none if `curves` does not have what it takes."""
    points = set(root.columns().tables["curves"].names)
    knobs = [identifier(knob) for row in found.rows[:1] for knob in root.knobs(row["family"]) if knob not in points]
    trials = f"SELECT {', '.join(['trial_id', *knobs])} FROM sweep({quoted(found.sweep)})"
    try:
        rows = root.sql(
            f"SELECT trial_id, step, (\n{found.objectives[0].expression}\n) AS value "
            f"FROM curves JOIN ({trials}) USING (trial_id) ORDER BY trial_id, step"
        ).to_pydict()
    except QueryError:
        return {}
    ids, steps = np.array(rows["trial_id"]), np.array(rows["step"], np.float64)
    values = np.array([_number(value) for value in rows["value"]])
    shown = {row["trial_id"] for row in found.rows}
    return {name: (steps[ids == name], values[ids == name]) for name in dict.fromkeys(ids.tolist()) if name in shown}

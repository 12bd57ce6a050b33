"""A results root in a notebook: lazy rows, trials by their ids, the best one, and all of it at a glance.

root = open_root("results")
root, root.sweeps, root.trials.filter("lr < 0.01").df(), root.best("loss"), root.trial("ec4271d1").curve
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monosweep.analysis.families.two_layer.responses import network_config, responses
from monosweep.analysis.search.objectives import Objective, objectives_in
from monosweep.analysis.tables.guard import QueryError, conditions
from monosweep.analysis.tables.opening import opened
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.rows import Rows
from monosweep.analysis.tables.storage import quoted
from monosweep.analysis.tables.text import as_table
from monosweep.model.config import TrialConfig, UserError
from monosweep.model.records import TrialStatus

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_OFFERED = 10_000
"""Ids that a tab completes, of the trials that ended last."""
_REASONS = 5


class Trial(Mapping[str, Any]):
    """One trial of a results root: its row by column name, and all that it has left."""

    def __init__(self, root: Root, row: Mapping[str, Any]) -> None:
        self.root, self._row = root, row

    @property
    def trial_id(self) -> str:
        """As in every table."""
        return str(self["trial_id"])

    @property
    def config(self) -> TrialConfig:
        """What it was trained from; raises as `Root.config`."""
        return self.root.config(self.trial_id)

    @property
    def curve(self) -> Rows:
        """Its rows of `curves`, by step."""
        return self.table("curves").order("step")

    @property
    def neurons(self) -> Rows:
        """Its rows of `neurons`."""
        return self.table("neurons").order("neuron")

    def table(self, name: str) -> Rows:
        """Its rows of any table; raises as `Root.table`."""
        return self.root.table(name).filter(f"trial_id = {quoted(self.trial_id)}")

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The tensors that it has left, float32, by the names that its family gives them; raises as `Root.weights`."""
        return self.root.weights(self.trial_id)

    def response(self) -> NDArray[np.float64]:
        """What each neuron answers to each feature alone at strength 1, (n_neurons, n_features).

        Raises:
            QueryError: if its weights were not kept, or it is no `two_layer` network with an activation of ours.
        """
        config = network_config(self)
        return responses(self.weights, config)

    def __getitem__(self, column: str) -> Any:
        return self._row[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def _rows(self) -> dict[str, str]:
        """Its columns that have a value, as text."""
        return {name: str(value) for name, value in self.items() if value is not None}

    def __repr__(self) -> str:
        rows = self._rows()
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())

    def _repr_html_(self) -> str:
        rows = (f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in self._rows().items())
        return f"<table>{''.join(rows)}</table>"


@dataclass(frozen=True, slots=True)
class Trials:
    """Trials by id: `root.trial("ec4271d1")`, or `root.trial["ec4271d1"]`, where a tab completes ids in IPython."""

    root: Root

    def __call__(self, trial_id: str) -> Trial:
        """A trial by its id, or a beginning of it that no other has.

        Raises:
            QueryError: if there is none, or more than one.
        """
        return Trial(self.root, self.root.row(trial_id))

    __getitem__ = __call__

    def _ipython_key_completions_(self) -> list[str]:
        found = self.root.trials.select("trial_id, finished_at").order("finished_at DESC").limit(_OFFERED)
        return [str(trial_id) for trial_id in found.arrow()["trial_id"].to_pylist()]


class Results(Root):
    """A results root, open for reading.

    >>> root = open_root("results")                                             # doctest: +SKIP
    >>> root.sql("select lr, avg(loss) from trials group by lr").to_pandas()    # doctest: +SKIP
    """

    @property
    def trial(self) -> Trials:
        """A trial by its id, or a beginning of it: `root.trial("ec4271d1").curve`."""
        return Trials(self)

    def best(self, objective: str = "loss", where: str | None = None) -> Trial:
        """The completed trial with the least or greatest value of a column.

        Args:
            objective: `loss`, or a column or SQL of columns with what is wanted of it: `mono_per_feature:max`.
            where: SQL condition on `trials`.

        Raises:
            QueryError: if it is neither, or no completed trial has a value.
            FigureError: if it ends in another word than :min and :max.
        """
        wanted = _objective(objective)
        value = f"CAST(({wanted.expression}) AS DOUBLE)"
        completed = conditions(where, f"status = {quoted(TrialStatus.COMPLETED)}", f"isfinite({value})")
        order = f"{value} {'DESC' if wanted.mode == 'max' else 'ASC'}, trial_id"
        found = self.sql(f"SELECT * FROM trials WHERE {completed} ORDER BY {order} LIMIT 1").to_pylist()
        if not found:
            place = f" where {where}" if where else ""
            raise QueryError(f"no completed trial of {self.uri}{place} has a {wanted.expression}")
        return Trial(self, found[0])

    def __repr__(self) -> str:
        try:
            return "\n".join([self._title, repr(self.sweeps), *self._failed(lambda rows: as_table(rows.arrow()))])
        except UserError as error:  # a root that has gone must not spoil a traceback
            return f"{self._title}: {error}"

    def _repr_html_(self) -> str:
        shown = self._failed(lambda rows: rows._repr_html_())
        return f"<p>{escape(self._title)}</p>{self.sweeps._repr_html_()}{''.join(shown)}"

    @property
    def _title(self) -> str:
        return f"results root {self.uri}"

    def _failed(self, shown: Callable[[Rows], str]) -> list[str]:
        """The most frequent reasons of trials that failed or diverged."""
        rows = self.failures.limit(_REASONS)
        return [shown(rows)] if rows else []


def open_root(root: str | Path, notice: Callable[[str], None] | None = None) -> Results:
    """Open a results root: a folder, or a URI such as `s3://bucket/results`.

    Args:
        notice: is told, once each, about parts that cannot be read; left out, stderr.

    Raises:
        RootError: if there is nothing, it is not a results root, or a newer monosweep made it.
    """
    files = opened(str(root))
    return Results(str(root), files) if notice is None else Results(str(root), files, notice)


def _objective(text: str) -> Objective:
    if ":" in text:
        return objectives_in([text])[0]
    if not text.endswith("loss"):
        raise QueryError(f"which way is {text} best? say {text}:min or {text}:max")
    return Objective(text, "min")

"""Rows of a results root that are asked for when they are looked at: what a notebook shows and goes on from.

Root.trials -> Rows.filter / select / order / limit / aggregate -> df, pl, arrow
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pyarrow as pa

from monosweep.analysis.tables.guard import QueryError, conditions
from monosweep.analysis.tables.text import as_html, fitted

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_SHOWN = 20
"""Rows that are shown of many."""
_WIDTH = 120


@dataclass(frozen=True, slots=True, repr=False)
class Rows:
    """A query that has not been asked yet; each look at it asks anew, and sees what is committed then.

    >>> root.trials.filter("lr < 0.01").order("loss").limit(3).df()             # doctest: +SKIP
    """

    ask: Callable[[str], pa.Table]
    """Answers a query."""
    query: str
    """The SQL."""

    def filter(self, condition: str) -> Rows:
        """Those for which an SQL condition holds.

        Raises:
            QueryError: if it is not one condition.
        """
        return self._then("*", f"WHERE {conditions(condition)}")

    def select(self, columns: str) -> Rows:
        """Some columns, or SQL of them: `"lr, loss / n_features as loss"`."""
        return self._then(columns, "")

    def order(self, by: str) -> Rows:
        """In the order of a column, or of several: `"loss, lr desc"`."""
        return self._then("*", f"ORDER BY\n{by}\n")

    def limit(self, n: int) -> Rows:
        """The first `n`."""
        return self._then("*", f"LIMIT {int(n)}")

    def aggregate(self, columns: str, by: str = "") -> Rows:
        """Over all rows, or over those that agree: `aggregate("lr, avg(loss) as loss", by="lr")`."""
        return self._then(columns, f"GROUP BY\n{by}\n" if by else "")

    def arrow(self) -> pa.Table:
        """As a pyarrow.Table.

        Raises:
            QueryError: as `Root.sql`.
        """
        return self.ask(self.query)

    def df(self) -> pd.DataFrame:
        """As a pandas.DataFrame; raises as `arrow`, and QueryError where pandas is not installed."""
        _needs("pandas", "df")
        return self.arrow().to_pandas()

    def pl(self) -> pl.DataFrame:
        """As a polars.DataFrame; raises as `arrow`, and QueryError where polars is not installed."""
        _needs("polars", "pl")
        import polars  # an extra

        return polars.from_arrow(self.arrow())

    @property
    def columns(self) -> list[str]:
        """Their names."""
        return list(self.limit(0).arrow().column_names)

    def __len__(self) -> int:
        return int(self.aggregate("count(*) AS n").arrow()["n"][0].as_py())

    def __bool__(self) -> bool:
        return len(self) > 0

    def __repr__(self) -> str:
        shown, n_rows = self._first()
        found = fitted(shown, n_rows, _WIDTH)
        more = f"\n{found.left_out}" if found.left_out else ""
        return f"{found.text}{more}" if n_rows else f"no rows ({', '.join(shown.column_names)})"

    def _repr_html_(self) -> str:
        shown, n_rows = self._first()
        names = [name for name in shown.column_names if shown[name].null_count < max(1, shown.num_rows)]
        said = f"{n_rows:,} rows" if n_rows <= _SHOWN else f"{shown.num_rows} of {n_rows:,} rows"
        if empty := len(shown.column_names) - len(names):
            said += f"; {empty} columns without a value in them are not shown"
        return f'<div style="overflow-x: auto">{as_html(shown.select(names))}</div><p>{said}</p>'

    def _first(self) -> tuple[pa.Table, int]:
        """The rows that are shown, and how many there are."""
        shown = self.limit(_SHOWN).arrow()
        return shown, shown.num_rows if shown.num_rows < _SHOWN else len(self)

    def _then(self, columns: str, rest: str) -> Rows:
        return Rows(self.ask, f"SELECT\n{columns}\nFROM (\n{self.query}\n) {rest}")


def _needs(package: str, method: str) -> None:
    if find_spec(package) is None:
        raise QueryError(
            f"{method}() needs {package}, which is not installed; pip install 'monosweep[{package}]', or use arrow()"
        )


def table_of(ask: Callable[[str], pa.Table], source: str) -> Rows:
    """All rows of a view, or of what stands after FROM."""
    return Rows(ask, f"SELECT * FROM {source}")

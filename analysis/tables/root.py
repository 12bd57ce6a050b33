"""A results root as tables: open it, ask SQL, get Arrow.  Neither Ray nor torch is needed to read results.

    open_root(root) -> Root.sql("select ... from trials") -> pa.Table -> cli, figures, claims

The views `trials`, `curves` and `neurons` hide what is not committed and show one row per trial_id, whatever
happened on the way: the best ending wins (completed, diverged, stopped, failed), then the first commit.  `asked` is
what sweeps were asked for, and sweep('NAME') the trials of one.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import pyarrow as pa

from monosweep.analysis.knobs import sweepable
from monosweep.analysis.tables.answer import Answer, Form, collect, distinct
from monosweep.analysis.tables.columns import Columns, columns_of
from monosweep.analysis.tables.faults import FAULTS, accused, of_storage, reason_of
from monosweep.analysis.tables.guard import Parameters, QueryError, check_query
from monosweep.analysis.tables.interrupt import interruptible
from monosweep.analysis.tables.live import create_live, live_points
from monosweep.analysis.tables.opening import opened
from monosweep.analysis.tables.overview import SWEEPS, reasons
from monosweep.analysis.tables.parts import Parts
from monosweep.analysis.tables.rows import Rows, table_of
from monosweep.analysis.tables.search import Search, searched, searches
from monosweep.analysis.tables.spill import spill_settings
from monosweep.analysis.tables.storage import Files, Part, Piece, RootError, first_line, identifier
from monosweep.analysis.tables.views import create_members, create_raw, create_shown, doubled, each_once, hidden_rows
from monosweep.analysis.tables.weights import Holders, last_weights, with_weights
from monosweep.model.config import FIRST_FAMILY, ConfigError, TrialConfig, unknown_name
from monosweep.sweep.store.parts import Beaten, holder_of
from monosweep.sweep.store.schema import ASKED, LIVE, config_in

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
__all__ = ["QueryError", "Root", "RootError", "open_root"]

_TRIES = 10
"""How often a question is asked while parts are merged away under it."""
_TRIES_OF_STORAGE = 3
"""How often while parts cannot be read that are there and not damaged."""
_PAUSE_S = 0.5
CONFIG: dict[str, bool | str] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # a table name must not reach Python variables
}


def _to_stderr(message: str) -> None:
    print(f"monosweep: {message}", file=sys.stderr)


class Root:
    """A results root, open for reading.  Each question sees what is committed at that moment.

    `notice` is told, once each, about parts and descriptions of families that cannot be read.

    >>> root = open_root("results")                                             # doctest: +SKIP
    >>> root.sql("select lr, avg(loss) from trials group by lr").to_pandas()     # doctest: +SKIP
    """

    def __init__(self, uri: str, files: Files, notice: Callable[[str], None] = _to_stderr) -> None:
        self.uri = uri
        self.files = files
        self._told: set[str] = set()
        self._notice = notice
        self._parts = Parts(files, self._tell)
        self._once: tuple[frozenset[Part], bool] | None = None
        self._families: dict[tuple[tuple[str, int, int], ...], Columns] = {}
        self._holders: dict[Part, Holders] = {}

    def __repr__(self) -> str:
        return f"Root(uri={self.uri!r})"

    def sql(self, query: str, parameters: Parameters = ()) -> pa.Table:
        """The answer to one SELECT over the views `trials`, `curves`, `neurons`, `asked` and those of other families.

        `from sweep('NAME')` is the trials of a sweep, whoever trained them; `trials.sweep` says who did.
        `parameters` are the values of `?` in order, or of `$name` by name.
        A part that is damaged is named by `notice` and left out, and a second column of one name is given another.

        >>> root.sql("select * from trials where lr < ?", [0.01])                # doctest: +SKIP

        Raises:
            QueryError: if it is not one SELECT, reaches beyond the views, or DuckDB refuses it; if a part is there
                and cannot be read.
        """
        check_query(query, parameters)
        names, table = self._relation(query, parameters, lambda relation: (relation.columns, relation.to_arrow_table()))
        return table.rename_columns(distinct(names, self._tell))

    def answer(self, query: str, form: Form, most: int | None = None) -> Answer:
        """The answer to one SELECT for writing: it need not fit memory, and each column has the form that `form` gives.

        With `most` no more than the first rows are kept, and all counted.  Close the answer.

        Raises:
            QueryError: as `sql` does, or if there is no space for the answer.
        """
        check_query(query)
        return self._relation(query, (), lambda relation: collect(relation, form, self._tell, most))

    @property
    def trials(self) -> Rows:
        """A row per trial."""
        return table_of(self.sql, "trials")

    @property
    def curves(self) -> Rows:
        """A row per trial and recorded step."""
        return table_of(self.sql, "curves")

    @property
    def neurons(self) -> Rows:
        """A row per neuron of a `two_layer` trial."""
        return table_of(self.sql, "neurons")

    def table(self, name: str) -> Rows:
        """One of the tables of this root, such as `features` of another family.

        Raises:
            QueryError: if there is none of that name.
        """
        known = tuple(self.columns().tables)
        if name not in known:
            raise QueryError(unknown_name("table", name, known))
        return table_of(self.sql, identifier(name))

    @property
    def live_curves(self) -> Rows:
        """A row per recorded step of the trials in training."""
        return table_of(self.sql, LIVE)

    @property
    def sweeps(self) -> Rows:
        """A row per sweep: the trials that it was asked for, and how many of them ended in which way."""
        return Rows(self.sql, SWEEPS)

    @property
    def failures(self) -> Rows:
        """Why trials failed or diverged: a row per first line of a reason, the most frequent first."""
        return Rows(self.sql, reasons())

    def hidden_rows(self) -> dict[str, int]:
        """How many rows of each table the views hide: superseded by a retry, or not committed."""
        columns = self.columns()
        return self._ask(columns, columns.packed, lambda connection: hidden_rows(connection, columns.packed))

    def row(self, trial_id: str) -> dict[str, Any]:
        """The row of one trial; the first digits of its id are enough if they are unambiguous.

        Raises:
            QueryError: if there is no such trial, or more than one.
        """
        listing = f"""`monosweep query {self.uri} "select trial_id from trials"` lists them"""
        if not re.fullmatch(r"\w+", trial_id):
            raise QueryError(f"a trial id is hexadecimal digits; got {trial_id!r}; {listing}")
        ours = "SELECT * FROM trials WHERE starts_with(trial_id, ?) ORDER BY trial_id LIMIT 2"
        rows = self.sql(ours, [trial_id]).to_pylist()
        if len(rows) == 1 or (rows and rows[0]["trial_id"] == trial_id):
            return dict(rows[0])
        if rows:
            raise QueryError(f"{trial_id!r} is the start of several trial ids; give more digits; {listing}")
        raise QueryError(f"no trial {trial_id!r} in {self.uri}; {listing}")

    def config(self, trial_id: str) -> TrialConfig:
        """What the trial was trained from.

        Raises:
            QueryError: as `row` does, or if the trial is of a user's family that this process has not met.
        """
        row = self.row(trial_id)
        try:
            return config_in(row)
        except ConfigError as error:
            knobs = ", ".join(self.knobs(row["family"]))
            raise QueryError(f"trial {row['trial_id']}: {error}; its row has its knobs: {knobs}") from None

    def weights(self, trial_id: str) -> dict[str, np.ndarray]:
        """The last saved weights of a trial, float32, by the names that its family gives them.

        Raises:
            QueryError: if there is no such trial, or its weights were not saved.
        """
        row = self.row(trial_id)
        if found := last_weights(self.files, row):
            return found
        raise QueryError(
            f"no weights saved for trial {row['trial_id']}; `monosweep weights {self.uri} {row['trial_id']}` trains it "
            "again, checks it, and keeps them"
        )

    def with_weights(self, sweeps: Iterable[str]) -> Holders:
        """Who has left weights, of those that `sweeps` have trained.

        Raises:
            QueryError: if a file of them is damaged.
        """
        return with_weights(self.files, sweeps, self._holders)

    def searches(self) -> list[str]:
        """The sweeps whose trials were searched for, judged, or held against objectives, by name."""
        return [wanted.sweep for wanted in searches(self.files) if wanted.is_search]

    def search(self, sweep: str | None = None, objectives: Sequence[str] = (), where: str | None = None) -> Search:
        """What came of a search: its front, history, rungs, importance of the knobs.

        Args:
            sweep: its name; left out, the only one that there is.
            objectives: such as `loss:min` and `n_mono / n_features:max`; left out, those of its spec.
            where: SQL condition on `trials`.

        >>> root.search("pareto").front().to_pandas()                            # doctest: +SKIP

        Raises:
            QueryError: if there is no such sweep, or an objective is no expression of the columns of `trials`.
            FigureError: if an objective does not end in :min or :max, or the sweep has no trials.
        """
        return searched(self, sweep, objectives, where)

    def columns(self) -> Columns:
        """The tables of this root with their columns, and the knobs of each family."""
        here = tuple(sorted(file for file in self.files.files_in("families") if file[0].endswith(".json")))
        if here not in self._families:
            try:
                declared = {path: self.files.read(path) for path, _, _ in here}
            except OSError as error:
                raise QueryError(f"cannot read the families of {self.uri}: {first_line(error)}") from None
            self._families = {here: columns_of(declared, self._tell)}
        return self._families[here]

    def knobs(self, family: str = FIRST_FAMILY) -> tuple[str, ...]:
        """The columns of `trials` that specs set for trials of a family, without the seed."""
        return sweepable(self.columns().knobs.get(family, ()))

    def _relation(self, query: str, values: Parameters, use: Callable[[duckdb.DuckDBPyRelation], T]) -> T:
        """What `use` makes of the answer to a query that has been checked."""
        columns = self.columns()
        tables = _mentioned(query, tuple(columns.tables))
        return self._ask(columns, tables, lambda connection: use(connection.sql(query, params=values or None)))

    def _ask(self, columns: Columns, tables: Sequence[str], question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """The answer from a fresh connection with these views; without the parts that are damaged."""
        unexplained = 0
        for _ in range(_TRIES):
            used: list[Part] = []
            try:
                with spill_settings() as spill:
                    prepare = partial(self._prepare, columns, tables, used)
                    return interruptible({**CONFIG, **spill}, prepare, question)
            except FAULTS as error:
                failure = reason_of(error, tuple(columns.tables))
                if not of_storage(error):
                    break
                if not isinstance(error, FileNotFoundError) and not self._explained(error, tables, used):
                    unexplained += 1
                    if unexplained == _TRIES_OF_STORAGE:
                        break
                    time.sleep(_PAUSE_S)
        raise QueryError(failure)

    def _explained(self, error: BaseException, tables: Sequence[str], used: Sequence[Part]) -> bool:
        """Whether an error of storage is of parts that are asked no more: merged away or replaced since, or damaged."""
        try:
            return self._has_changed(tables, used) or self._parts.leave_out_damaged(accused(error, used))
        except OSError:
            return False

    def _has_changed(self, tables: Sequence[str], used: Sequence[Part]) -> bool:
        """Whether a part that a question needed has been merged away or replaced since."""
        return not self._parts.here(_with_trials(tables)).issuperset(used)

    def _prepare(
        self, columns: Columns, tables: Sequence[str], used: list[Part], connection: duckdb.DuckDBPyConnection
    ) -> None:
        """Have a connection read this root alone: views named as the tables, all rows in `raw`.

        The parts that it reads are added to `used`.
        """
        connection.execute("SET TimeZone = 'UTC'")
        self.files.prepare(connection)
        connection.execute("CREATE SCHEMA raw; CREATE SCHEMA committed")
        stored = _with_trials(tables)
        committed: dict[str, set[str]] | None = None
        lost: Beaten = {}
        # trials are listed before curves and neurons, which are written first: what is shown is complete.
        for table in stored:
            pieces = self._parts.pieces(table, None if table == ASKED else committed)
            committed = self._parts.units(pieces) if table == "trials" else committed
            used += [piece.part for piece in pieces]
            pieces = [_but(piece, lost) for piece in pieces]
            create_raw(connection, self.files, table, columns.tables[table], pieces)
            if table == "trials" and {*stored} - {"trials", ASKED} and self._parts.in_several(pieces):
                lost = self._parts.beaten(pieces, doubled(connection))
        once = self._each_once(connection, used)
        for table in tables:
            if table != LIVE:
                create_shown(connection, table, columns.knobs, once)
        if LIVE in tables:
            create_live(connection, live_points(self.files, columns.tables[LIVE]))
        if {"trials", ASKED}.issubset(tables):
            create_members(connection)

    def _each_once(self, connection: duckdb.DuckDBPyConnection, used: Sequence[Part]) -> bool:
        """Whether no trial has two rows; looked up once for the same parts, since choosing among a million is slow."""
        parts = frozenset(part for part in used if part.path.startswith("trials/"))
        if self._once is None or self._once[0] != parts:
            self._once = (parts, each_once(connection))
        return self._once[1]

    def _tell(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            self._notice(message)


def open_root(root: str | Path, notice: Callable[[str], None] = _to_stderr) -> Root:
    """Open a results root: a folder, or a URI such as `s3://bucket/results`.

    Raises:
        RootError: if there is nothing, it is not a results root, or a newer monosweep made it.
    """
    return Root(str(root), opened(str(root)), notice)


def _but(piece: Piece, lost: Beaten) -> Piece:
    """A piece that does not show what others of its pack do."""
    return replace(piece, beaten=lost.get((piece.part.sweep, holder_of(piece.part.path)), frozenset()))


def _with_trials(tables: Sequence[str]) -> tuple[str, ...]:
    """The tables that are parts, `trials` first."""
    return tuple(dict.fromkeys(("trials", *(table for table in tables if table != LIVE))))


def _mentioned(query: str, tables: Sequence[str]) -> tuple[str, ...]:
    """The views that a query needs: opening a view reads the footers of its parts."""
    members = ("trials", ASKED) if re.search(r"\bsweep\W*\(", query, re.IGNORECASE) else ()
    named = tuple(table for table in tables if table in members or re.search(rf"\b{table}\b", query, re.IGNORECASE))
    return named or tuple(tables)

"""A results root as tables: open it, ask SQL, get Arrow.  Neither Ray nor torch is needed to read results.

    open_root(root) -> Root.sql("select ... from trials") -> pa.Table -> cli, figures, claims

The views `trials`, `curves` and `neurons` hide what is not committed and show one row per trial_id, whatever
happened on the way: the best ending wins (completed, diverged, stopped, failed), then the first commit.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
import pyarrow as pa

from monosweep.analysis.tables.guard import USERS_FAULT, QueryError, check_select, interruptible, reason_of
from monosweep.analysis.tables.storage import Files, LocalFiles, Part, Piece, RootError, first_line, open_files, quoted
from monosweep.model.config import TrialConfig
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.parts import current, damage, packs_of
from monosweep.sweep.store.schema import SCHEMA_VERSION, TABLES, arrow_schema, config_in

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")
__all__ = ["QueryError", "Root", "RootError", "open_root"]

MARKER = "monosweep.json"
_TRIES = 10
"""How often a question is asked again while parts are merged away under it."""
PREFERENCE = (TrialStatus.COMPLETED, TrialStatus.DIVERGED, TrialStatus.STOPPED, TrialStatus.FAILED)
"""Which row of a trial is shown if it has several."""
CONFIG = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # a table name must not reach Python variables
}


def _to_stderr(message: str) -> None:
    print(f"monosweep: {message}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class Root:
    """A results root, open for reading.  Each question sees what is committed at that moment.

    >>> root = open_root("results")                                             # doctest: +SKIP
    >>> root.sql("select lr, avg(loss) from trials group by lr").to_pandas()     # doctest: +SKIP
    """

    uri: str
    files: Files = field(repr=False)
    notice: Callable[[str], None] = field(default=_to_stderr, repr=False)
    """Told, once each, about parts that cannot be read."""
    _left_out: set[Part] = field(default_factory=set, repr=False)
    _known: dict[Part, int | frozenset[str] | None] = field(default_factory=dict, repr=False)
    """Of parts that were looked into: the fingerprint of a single one's columns, the packs of a merged one."""

    def sql(self, query: str) -> pa.Table:
        """The answer to one SELECT over the views `trials`, `curves` and `neurons`.

        A part that cannot be read is named by `notice` and left out.

        Raises:
            QueryError: if it is not one SELECT, reaches outside the root, or DuckDB refuses it.
        """
        check_select(query)
        tables = _mentioned(query)
        return self._ask(tables, lambda connection: connection.sql(query).to_arrow_table())

    def trials(self, where: str | None = None) -> pa.Table:
        """Rows of `trials` for which the SQL condition `where` holds; raises as `sql` does."""
        return self._rows("trials", where)

    def curves(self, where: str | None = None) -> pa.Table:
        """Rows of `curves`, as `trials`."""
        return self._rows("curves", where)

    def neurons(self, where: str | None = None) -> pa.Table:
        """Rows of `neurons`, as `trials`."""
        return self._rows("neurons", where)

    def hidden_rows(self) -> dict[str, int]:
        """How many rows of each table the views hide: superseded by a retry, or not committed."""
        return self._ask(TABLES, lambda connection: {table: _hidden(connection, table) for table in TABLES})

    def trial(self, trial_id: str) -> dict[str, Any]:
        """The row of one trial; the first digits of its id are enough if they are unambiguous.

        Raises:
            QueryError: if there is no such trial, or more than one.
        """
        listing = f"""`monosweep query {self.uri} "select trial_id from trials"` lists them"""
        if not re.fullmatch(r"\w+", trial_id):
            raise QueryError(f"a trial id is hexadecimal digits; got {trial_id!r}; {listing}")
        rows = self.trials(f"starts_with(trial_id, {quoted(trial_id)}) ORDER BY trial_id LIMIT 2").to_pylist()
        if len(rows) == 1 or (rows and rows[0]["trial_id"] == trial_id):
            return dict(rows[0])
        if rows:
            raise QueryError(f"{trial_id!r} is the start of several trial ids; give more digits; {listing}")
        raise QueryError(f"no trial {trial_id!r} in {self.uri}; {listing}")

    def config(self, trial_id: str) -> TrialConfig:
        """What the trial was trained from; raises as `trial` does."""
        return config_in(self.trial(trial_id))

    def weights(self, trial_id: str) -> dict[str, np.ndarray]:
        """The last saved weights of a trial, float32.

        `w_in` (n_neurons, d_embed), `bias` (n_neurons), `w_out` (n_out, n_neurons), `embedding`
        (d_embed, n_features) and, for the reprojector, `target_map` (d_embed, n_features).

        Raises:
            QueryError: if there is no such trial, or its weights were not saved.
        """
        row = self.trial(trial_id)
        for part in self._weights_parts(row):
            if found := self._tensors(part, row["trial_id"]):
                return found
        raise QueryError(
            f"no weights saved for trial {row['trial_id']}; train it again with `monosweep replay {self.uri} "
            f"{row['trial_id']} --plot response.png`, or launch with `save_weights: final`"
        )

    def with_weights(self, sweeps: Iterable[str]) -> set[tuple[str, str]]:
        """(sweep, pack_id) of the packs in `sweeps` that saved weights."""
        wanted = set(sweeps)
        parts = (p for p in self.files.parts("weights", ".safetensors") if p.sweep in wanted)
        return {(p.sweep, _pack_and_step(p)[0]) for p in parts}

    def _weights_parts(self, row: dict[str, Any]) -> list[Part]:
        """The weights files of a trial's pack, the latest step first."""
        parts = [p for p in self.files.parts("weights", ".safetensors") if p.sweep == row["sweep"]]
        ours = [p for p in parts if _pack_and_step(p)[0] == row["pack_id"]]
        return sorted(ours, key=lambda p: _pack_and_step(p)[1], reverse=True)

    def _tensors(self, part: Part, trial_id: str) -> dict[str, np.ndarray]:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            tensors = load(self.files.read(part.path))
        except SafetensorError as error:
            raise QueryError(f"cannot read the weights in {part.path}: {first_line(error)}") from None
        prefix = f"{trial_id}/"
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    def _rows(self, table: str, where: str | None) -> pa.Table:
        return self.sql(f"SELECT * FROM {table}" + (f" WHERE {where}" if where else ""))

    def _ask(self, tables: Sequence[str], question: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """The answer from a fresh connection with these views; without the parts that cannot be read."""
        for _ in range(_TRIES):
            used: list[Part] = []
            try:
                return interruptible(self._connect(tables, used), question)
            except USERS_FAULT as error:
                raise QueryError(reason_of(error)) from None
            except (duckdb.Error, OSError) as error:
                failure = first_line(error) if isinstance(error, OSError) else reason_of(error)
            if not self._has_changed(tables, used):
                self._leave_out_unreadable(used)
        raise QueryError(failure)

    def _has_changed(self, tables: Sequence[str], used: Sequence[Part]) -> bool:
        """Whether a part that a question needed has been merged away or replaced since."""
        now = {part for table in _with_trials(tables) for part in self.files.parts(table, ".parquet")}
        return not now.issuperset(used)

    def _connect(self, tables: Sequence[str], used: list[Part]) -> duckdb.DuckDBPyConnection:
        """A connection that can read this root alone: views named as the tables, all rows in `raw`.

        The parts that it reads are added to `used`.
        """
        connection = duckdb.connect(config=CONFIG)
        connection.execute("SET TimeZone = 'UTC'")
        self.files.prepare(connection)
        connection.execute("CREATE SCHEMA raw")
        # trials are listed before curves and neurons, which are written first: what is shown is complete.
        for table in _with_trials(tables):
            pieces = self._pieces(table)
            used += [piece.part for piece in pieces]
            connection.execute(f"CREATE VIEW raw.{table} AS {self._union(connection, table, pieces)}")
        for table in tables:
            connection.execute(f"CREATE VIEW {table} AS {_SHOWN.get(table, _SHOWN_OF.format(table))}")
        return connection

    def _pieces(self, table: str) -> list[Piece]:
        """What the parts of a table show: each pack once, nothing from those that cannot be read."""
        parts = {part.path: part for part in self.files.parts(table, ".parquet")}
        packs = {path: self._packs(part) for path, part in parts.items() if part not in self._left_out}
        sweeps: dict[str, dict[str, frozenset[str]]] = {}
        for path, held in packs.items():
            if held is not None:
                sweeps.setdefault(parts[path].sweep, {})[path] = held
        shown = {path: elsewhere for held in sweeps.values() for path, elsewhere in current(held).items()}
        pieces = [Piece(parts[path], self._columns(parts[path]), shown[path]) for path in sorted(shown)]
        return [piece for piece in pieces if piece.part not in self._left_out]

    def _packs(self, part: Part) -> frozenset[str] | None:
        """The packs in a part; None, and left out, if it cannot say."""
        if not part.merged:
            return packs_of(part.path, None)
        if part not in self._known:
            footer = self.files.footer(part.path)
            if isinstance(footer, str):
                self._leave_out(part, footer)
                return None
            self._known[part] = packs_of(part.path, footer)
        packs = self._known[part]
        assert isinstance(packs, frozenset)
        return packs

    def _columns(self, part: Part) -> int | None:
        """The fingerprint of a single part's columns; the part is left out if it is damaged."""
        if part.merged:
            return None
        if part not in self._known:
            found = self.files.check(part) if part.size else "it is empty"
            if isinstance(found, str):
                self._leave_out(part, found)
                return None
            self._known[part] = found
        columns = self._known[part]
        assert not isinstance(columns, frozenset)
        return columns

    def _union(self, connection: duckdb.DuckDBPyConnection, table: str, pieces: list[Piece]) -> str:
        """SQL for all rows of `pieces`, with every column of the schema and the sweep in front."""
        schema = arrow_schema(table)
        columns = ", ".join(f"CAST(NULL AS {_sql_type(f.type)}) AS {f.name}" for f in schema)
        branches = [f"SELECT CAST(NULL AS VARCHAR) AS sweep, {columns} WHERE false"]
        for i, sweep in enumerate(sorted({piece.part.sweep for piece in pieces})):
            ours = [piece for piece in pieces if piece.part.sweep == sweep]
            for rows in self.files.scan(connection, ours, f"raw_{table}_{i}", schema):
                branches.append(f"SELECT {quoted(sweep)} AS sweep, * FROM ({rows})")
        names = ", ".join(["sweep", *schema.names])
        return f"SELECT {names} FROM ({' UNION ALL BY NAME '.join(branches)})"

    def _leave_out_unreadable(self, parts: Sequence[Part]) -> None:
        for part in parts:
            with suppress(FileNotFoundError):
                if reason := damage(self.files.read(part.path)):
                    self._leave_out(part, reason)

    def _leave_out(self, part: Part, reason: str) -> None:
        if part not in self._left_out:
            self._left_out.add(part)
            self.notice(f"left out {part.path}, which cannot be read: {reason}")


def open_root(root: str, notice: Callable[[str], None] = _to_stderr) -> Root:
    """Open a results root: a folder, or a URI such as `s3://bucket/results`.

    Raises:
        RootError: if there is nothing, it is not a results root, or a newer monosweep made it.
    """
    files = open_files(root)
    try:
        marker = files.read(MARKER)
    except FileNotFoundError:
        raise RootError(_not_a_root(root, files)) from None
    except OSError as error:
        raise RootError(f"cannot read {MARKER} in {root!r}: {first_line(error)}") from None
    _check_marker(root, marker)
    return Root(root, files, notice)


def _not_a_root(root: str, files: Files) -> str:
    if isinstance(files, LocalFiles):
        if not files.exists():
            return f"no such folder: {root}; `monosweep launch quick --out {root}` makes one"
        if inside := _root_above(files.root):
            return f"{root} lies inside the results root {inside}; give that one"
    return f"{root} is not a results root: it has no {MARKER}; give the folder that `launch --out` wrote to"


def _root_above(path: str) -> str | None:
    """The results root that `path` lies in, such as `results` for `results/trials`."""
    from pathlib import Path

    return next((str(p) for p in Path(path).parents[:3] if (p / MARKER).is_file()), None)


def _check_marker(root: str, data: bytes) -> None:
    try:
        marker = json.loads(data)
        version = int(marker["schema_version"])
    except (ValueError, TypeError, KeyError):
        raise RootError(f"{MARKER} in {root} must hold a schema_version; got {data[:60]!r}") from None
    if version > SCHEMA_VERSION:
        raise RootError(
            f"{root} was written by a newer monosweep: its schema version is {version}, this one reads up to "
            f"{SCHEMA_VERSION}; upgrade monosweep"
        )


_ONE_PER_TRIAL = (
    "QUALIFY row_number() OVER (PARTITION BY trial_id ORDER BY CASE status "
    + " ".join(f"WHEN {quoted(status)} THEN {i}" for i, status in enumerate(PREFERENCE))
    + f" ELSE {len(PREFERENCE)} END, finished_at, pack_id, sweep) = 1"
)
_SHOWN = {"trials": f"SELECT * FROM raw.trials {_ONE_PER_TRIAL}"}
_SHOWN_OF = (
    "SELECT * FROM raw.{} SEMI JOIN "
    f"(SELECT sweep, trial_id, pack_id FROM raw.trials {_ONE_PER_TRIAL}) USING (sweep, trial_id, pack_id)"
)


def _hidden(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    query = f"SELECT (SELECT count(*) FROM raw.{table}) - (SELECT count(*) FROM {table})"
    ((count,),) = connection.execute(query).fetchall()
    return int(count)


def _with_trials(tables: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("trials", *tables)))


def _mentioned(query: str) -> tuple[str, ...]:
    """The views that a query needs: opening a view reads the footers of its parts."""
    named = tuple(table for table in TABLES if re.search(rf"\b{table}\b", query, re.IGNORECASE))
    return named or TABLES


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return _SQL_TYPES[str(kind)]


_SQL_TYPES = {
    "string": "VARCHAR", "int64": "BIGINT", "int32": "INTEGER", "double": "DOUBLE", "float": "FLOAT",
    "bool": "BOOLEAN", "timestamp[us, tz=UTC]": "TIMESTAMPTZ",
}  # fmt: skip


def _pack_and_step(part: Part) -> tuple[str, int]:
    """`part-PACKID-step0000015872.safetensors` as (PACKID, 15872)."""
    match = re.search(r"part-(.+)-step(\d+)\.safetensors$", part.path)
    return (match.group(1), int(match.group(2))) if match else ("", -1)

"""The SQL of the views: all rows of the parts in `raw`, and of these one per trial, whatever happened on the way.

Piece -> raw.TABLE (every column of the schema) -> committed.TABLE -> TABLE (the best ending of each trial)
         -> sweep('NAME'), trials by what was asked for
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from monosweep.analysis.knobs import Knob
from monosweep.analysis.tables.storage import Files, Piece, identifier, quoted
from monosweep.model.config import FIRST_FAMILY
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.schema import ASKED

PREFERENCE = (TrialStatus.COMPLETED, TrialStatus.DIVERGED, TrialStatus.STOPPED, TrialStatus.FAILED)
"""Which row of a trial is shown if it has several."""


def create_raw(
    connection: duckdb.DuckDBPyConnection, files: Files, table: str, schema: pa.Schema, pieces: list[Piece]
) -> None:
    """The view raw.TABLE: all rows of `pieces`, with every column of `schema` and the sweep in front; and the view
    committed.TABLE: those of the pieces whose trials are in `trials`, of each member of a pack from one unit."""
    there = [piece for piece in pieces if piece.committed]
    pieces = [replace(piece, beaten=frozenset()) for piece in pieces]
    _create(connection, files, ("raw", table), schema, pieces)
    if there != pieces:
        _create(connection, files, ("committed", table), schema, there)
    else:
        connection.execute(f"CREATE VIEW committed.{identifier(table)} AS SELECT * FROM raw.{identifier(table)}")


def _create(
    connection: duckdb.DuckDBPyConnection, files: Files, name: tuple[str, str], schema: pa.Schema, pieces: list[Piece]
) -> None:
    """A view of all rows of `pieces`."""
    columns = ", ".join(f"CAST(NULL AS {_sql_type(f.type)}) AS {identifier(f.name)}" for f in schema)
    branches = [f"SELECT CAST(NULL AS VARCHAR) AS sweep, {columns} WHERE false"]
    for i, sweep in enumerate(sorted({piece.part.sweep for piece in pieces})):
        ours = [piece for piece in pieces if piece.part.sweep == sweep]
        for rows in files.scan(connection, ours, f"{'_'.join(name)}_{i}", schema):
            branches.append(f"SELECT {quoted(sweep)} AS sweep, * FROM ({rows})")
    names = ", ".join(map(identifier, ("sweep", *schema.names)))
    union = " UNION ALL BY NAME ".join(branches)
    connection.execute(f"CREATE VIEW {'.'.join(map(identifier, name))} AS SELECT {names} FROM ({union})")


def each_once(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether raw.trials has one row of each trial, so that there is none to choose."""
    rows = connection.execute("SELECT count(*) = count(DISTINCT trial_id) FROM raw.trials").fetchall()
    return bool(rows[0][0])


def create_shown(
    connection: duckdb.DuckDBPyConnection, table: str, knobs: Mapping[str, tuple[Knob, ...]], once: bool
) -> None:
    """The view TABLE over committed.TABLE and raw.trials; `knobs` by family; `once` as `each_once` says."""
    chosen = "" if once else _ONE_PER_TRIAL
    if table == "trials":
        shown = f"SELECT * REPLACE ({_with_defaults(knobs)}) FROM raw.trials {chosen}"
    elif table == ASKED:
        shown = _SHOWN_ASKED
    else:
        shown = _SHOWN_OF.format(identifier(table), chosen)
    connection.execute(f"CREATE VIEW {identifier(table)} AS {shown}")


def doubled(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str, str]]:
    """The members of packs (sweep, pack_id, trial_id) that have several rows in raw.trials."""
    query = "SELECT sweep, pack_id, trial_id FROM raw.trials GROUP BY ALL HAVING count(*) > 1"
    return [(sweep, pack_id, trial_id) for sweep, pack_id, trial_id in connection.execute(query).fetchall()]


def create_members(connection: duckdb.DuckDBPyConnection) -> None:
    """The table macro `sweep(name)` over the views trials and asked: the trials of a sweep, whoever trained them."""
    connection.execute(f"CREATE MACRO sweep(name) AS TABLE {_MEMBERS}")


_ONE_PER_TRIAL = (
    "QUALIFY row_number() OVER (PARTITION BY trial_id ORDER BY CASE status "
    + " ".join(f"WHEN {quoted(status)} THEN {i}" for i, status in enumerate(PREFERENCE))
    + f" ELSE {len(PREFERENCE)} END, finished_at, pack_id, sweep) = 1"
)
_SHOWN_ASKED = "SELECT * FROM raw.asked QUALIFY row_number() OVER (PARTITION BY sweep, trial_id ORDER BY asked_at) = 1"
"""A sweep may be asked for the same trial again, and parts repeat rows while they are merged."""
_SHOWN_OF = (
    "SELECT * FROM committed.{} SEMI JOIN "
    "(SELECT sweep, trial_id, pack_id FROM raw.trials {}) USING (sweep, trial_id, pack_id)"
)

_FAMILY = f"coalesce(family, {quoted(FIRST_FAMILY)})"


def _with_defaults(knobs: Mapping[str, tuple[Knob, ...]]) -> str:
    """What stands for the columns of `trials` that may be NULL in older parts: the family, and each family's knobs."""
    defaults: dict[str, dict[str, str]] = {}
    for family, theirs in knobs.items():
        for knob in theirs:
            if knob.name != "family" and (value := _literal(knob.default)) is not None:
                defaults.setdefault(knob.name, {})[family] = value
    return ", ".join([f"{_FAMILY} AS family", *(_or_default(name, values) for name, values in defaults.items())])


def _or_default(name: str, values: Mapping[str, str]) -> str:
    cases = " ".join(f"WHEN {quoted(family)} THEN {value}" for family, value in values.items())
    return f"coalesce({identifier(name)}, CASE {_FAMILY} {cases} END) AS {identifier(name)}"


def _literal(value: Any) -> str | None:
    """A knob's default in SQL; None if it is no plain value."""
    if isinstance(value, str):
        return quoted(value)
    return json.dumps(value) if isinstance(value, (bool, int, float)) and math.isfinite(value) else None


_MEMBERS = """
SELECT * FROM trials WHERE trial_id IN (
    SELECT trial_id FROM asked WHERE replace(sweep, '/', '-') = replace(name, '/', '-')
    QUALIFY (sweep = name) = max(sweep = name) OVER ()
) OR (
    replace(sweep, '/', '-') = replace(name, '/', '-')
    AND NOT EXISTS (FROM asked WHERE replace(sweep, '/', '-') = replace(name, '/', '-'))
)
"""
"""By what was asked for, where the root says that; else by who trained them.  Until version 2 of the schema a name's
slashes were dashes everywhere, so `a-b` is found as `a/b` and the reverse, unless a sweep has just the name given."""


def hidden_rows(connection: duckdb.DuckDBPyConnection, tables: Sequence[str]) -> dict[str, int]:
    """How many rows of raw.TABLE are not in TABLE, for each of `tables`."""
    found = {}
    for table in tables:
        name = identifier(table)
        query = f"SELECT (SELECT count(*) FROM raw.{name}) - (SELECT count(*) FROM {name})"
        ((found[table],),) = connection.execute(query).fetchall()
    return found


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"{_sql_type(kind.value_type)}[]"
    return _SQL_TYPES[str(kind)]


_SQL_TYPES = {
    "string": "VARCHAR", "int64": "BIGINT", "int32": "INTEGER", "double": "DOUBLE", "float": "FLOAT",
    "bool": "BOOLEAN", "timestamp[us, tz=UTC]": "TIMESTAMPTZ",
}  # fmt: skip

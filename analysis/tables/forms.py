"""In which type a column of an answer is written: its own, or text where Arrow, Python or Parquet would spoil it.

    relation.types -> for_people | for_programs | for_parquet -> SQL -> answer.collect

Arrow has no type for some of DuckDB's (BIT, BIGNUM, TIMETZ, UHUGEINT), Python none for infinite dates, years before 1
and nanoseconds, Parquet none for intervals and unions.  DuckDB's own text of them is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from duckdb.sqltypes import DuckDBPyType

_TIMESTAMPS = {"timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"}
_DATES = {*_TIMESTAMPS, "date", "time", "time_ns"}
_SPOILT = {"interval", "bit", "bignum", "varint", "uhugeint", "time with time zone", "union", "variant", "geometry"}
_NESTED = {"list", "array", "struct", "map"}


def for_people(place: str, kind: DuckDBPyType) -> str:
    """A table's cell: as `for_programs`, without fractions of a second in the time of a day in a year."""
    whole = kind.id in _TIMESTAMPS - {"timestamp_ns"}
    return for_programs(f"date_trunc('second', {place})" if whole else place, kind)


def for_programs(place: str, kind: DuckDBPyType) -> str:
    """CSV and JSON: dates and times as ISO 8601 has them, UTC as Z."""
    if kind.id in _TIMESTAMPS:
        text = f"regexp_replace(CAST({place} AS VARCHAR), '^([^ ]+) ([0-9])', '\\1T\\2')"
        return f"regexp_replace({text}, '\\+00( |$)', 'Z\\1')"
    return _cast(place, kind, _SPOILT | _DATES)


def for_parquet(place: str, kind: DuckDBPyType) -> str:
    """Dates and times are themselves there."""
    return _cast(place, kind, _SPOILT)


def _cast(place: str, kind: DuckDBPyType, spoilt: set[str]) -> str:
    sound = _sound(kind, spoilt)
    return place if str(sound) == str(kind) else f"CAST({place} AS {sound})"


def _sound(kind: DuckDBPyType, spoilt: set[str]) -> DuckDBPyType:
    """`kind` with VARCHAR in the place of all that is spoilt, however deep."""
    if kind.id in spoilt:
        return duckdb.sqltype("VARCHAR")
    if kind.id not in _NESTED:
        return kind
    inner = {name: child if isinstance(child, int) else _sound(child, spoilt) for name, child in kind.children}
    if kind.id == "struct":
        return duckdb.struct_type(inner)
    if kind.id == "map":
        return duckdb.map_type(inner["key"], inner["value"])
    return duckdb.list_type(inner["child"]) if kind.id == "list" else duckdb.array_type(inner["child"], inner["size"])

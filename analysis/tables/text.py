"""An Arrow table as text: aligned for people, CSV and JSON for programs.  Neither pandas nor pyarrow.dataset.

Root.sql -> pa.Table -> as_table | as_csv | as_json -> stdout or a file
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

SIGNIFICANT = 6
"""Digits of a number in a table for people; the other formats keep all."""
CELL = 40
"""Widest cell on a terminal."""
GAP = "  "


@dataclass(frozen=True, slots=True)
class Fitted:
    """What of a table fits a terminal."""

    text: str
    left_out: str | None
    """Which rows and columns are not shown; nothing if all are."""


def as_table(table: pa.Table) -> str:
    """Every row and column, aligned; numbers to the right, NULL spelt out.

    >>> print(as_table(pa.table({"task": ["abs", None], "lr": [0.003, 0.01]})))
    task     lr
    ----  -----
    abs   0.003
    NULL  0.010
    """
    return _plan_in(table) or "\n".join(_lines(_columns(table)))


def fitted(table: pa.Table, width: int, rows: int) -> Fitted:
    """As much of `as_table` as a terminal of `width` columns shows without wrapping; at most `rows` rows."""
    if plan := _plan_in(table):
        return Fitted(plan, None)
    columns = _columns(table.slice(0, rows), CELL)
    shown = list(_that_fit(columns, width))
    missing = []
    if table.num_rows > rows:
        missing.append(f"{rows} of {table.num_rows} rows")
    if len(shown) < len(columns):
        missing.append(f"{len(shown)} of {len(columns)} columns")
    return Fitted("\n".join(_lines(shown)), " and ".join(missing) or None)


def as_csv(table: pa.Table) -> str:
    """A header and one line per row; numbers in full, NULL empty, lists as JSON."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(table.column_names)
    columns = [["" if v is None else _plain_text(v) for v in _values(column)] for column in table.columns]
    writer.writerows(zip(*columns, strict=True))
    return sink.getvalue().removesuffix("\n")


def as_json(table: pa.Table) -> str:
    """An array with one object per line; NaN and infinities, which JSON lacks, are null."""
    names = [json.dumps(name) for name in table.column_names]
    columns = [[json.dumps(_jsonable(v), ensure_ascii=False) for v in _values(c)] for c in table.columns]
    pairs = (zip(names, row, strict=True) for row in zip(*columns, strict=True))
    objects = ("{" + ", ".join(f"{name}: {value}" for name, value in row) + "}" for row in pairs)
    return "[" + ",\n ".join(objects) + "]"


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cells: list[str]
    right: bool
    width: int

    def aligned(self, text: str) -> str:
        return text.rjust(self.width) if self.right else text.ljust(self.width)


def _plan_in(table: pa.Table) -> str | None:
    """The drawing that EXPLAIN answers with; None if `table` is another answer."""
    if table.column_names != ["explain_key", "explain_value"]:
        return None
    return "\n".join(_printable(line) for text in table["explain_value"].to_pylist() for line in str(text).splitlines())


def _columns(table: pa.Table, widest: int | None = None) -> list[_Column]:
    made = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        cells = [_clip(cell, widest) for cell in _cells(_values(column))]
        head = _printable(name)
        made.append(_Column(head, cells, _is_number(column.type), max(map(len, [head, *cells]))))
    return made


def _lines(columns: Sequence[_Column]) -> Iterator[str]:
    yield GAP.join(c.aligned(c.name) for c in columns).rstrip()
    yield GAP.join("-" * c.width for c in columns)
    for row in zip(*(c.cells for c in columns), strict=True):
        yield GAP.join(c.aligned(cell) for c, cell in zip(columns, row, strict=True)).rstrip()


def _that_fit(columns: Sequence[_Column], width: int) -> Iterator[_Column]:
    used = -len(GAP)
    for i, column in enumerate(columns):
        used += len(GAP) + column.width
        if used > width and i:
            return
        yield column


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python values; a float32 becomes the shortest decimal that means it, a whole decimal an int."""
    values: list[Any] = column.to_pylist()
    if pa.types.is_float32(column.type):
        return [None if v is None else float(str(np.float32(v))) for v in values]
    if pa.types.is_decimal(column.type):
        return [v if v is None else int(v) if v == v.to_integral_value() else float(v) for v in values]
    return values


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _cells(values: list[Any]) -> list[str]:
    floats = [v for v in values if isinstance(v, float)]
    decimals = _decimals(floats)
    return [_cell(v, decimals) for v in values]


def _decimals(values: list[float]) -> int | None:
    """How many decimals line all values up; nothing if their sizes differ too much for that."""
    finite = [v for v in values if math.isfinite(v)]
    texts = [f"{v:.{SIGNIFICANT}g}" for v in finite]
    decimals = max((len(t.partition(".")[2]) for t in texts), default=0)
    largest = max(map(abs, finite), default=0.0)
    digits = decimals + max(0.0, math.log10(largest or 1))
    return None if any("e" in t for t in texts) or digits > SIGNIFICANT + 2 else decimals


def _cell(value: Any, decimals: int | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, float):
        fixed = decimals is not None and math.isfinite(value)
        return f"{value:.{decimals}f}" if fixed else f"{value:.{SIGNIFICANT}g}"
    if isinstance(value, datetime):
        value = value.replace(microsecond=0)
    return _printable(_plain_text(value))


def _plain_text(value: Any) -> str:
    plain = _jsonable(value)
    if isinstance(value, float):
        return repr(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _jsonable(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime, date, time)):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, (list, tuple)):
        return [_jsonable(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _jsonable(v) for k, v in value.items()}
    if isinstance(value, Decimal):
        return float(value)
    return value.hex() if isinstance(value, bytes) else str(value)


def _printable(text: str) -> str:
    """`text` on one line, with control characters (also those that steer a terminal) spelt out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _clip(text: str, widest: int | None) -> str:
    return text if widest is None or len(text) <= widest else text[: widest - 1] + "…"

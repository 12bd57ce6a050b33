"""Arrow tables as text: aligned for people, CSV and JSON for programs, batch by batch.  pandas has no part in it.

Root.answer -> batches of forms.py's types -> csv_lines | json_lines | as_table -> stdout or a file
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from html import escape
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

SIGNIFICANT = 6
"""Digits of a number in a table for people; the other formats keep all."""
CELL = 40
"""Widest cell on a terminal."""
GAP = "  "
_NAMED = 6
"""Columns without room that are named."""
_NEEDS_QUOTES = '^$|[",\r\n]'


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


def fitted(table: pa.Table, n_rows: int, width: int) -> Fitted:
    """As much of `as_table` as a terminal of `width` columns shows without wrapping; `table` has the first rows."""
    if plan := _plan_in(table):
        return Fitted(plan, None)
    columns = _columns(table, CELL)
    shown = list(_that_fit(columns, width))
    missing = []
    if n_rows > table.num_rows:
        missing.append(f"{table.num_rows:,} of {n_rows:,} rows")
    if rest := [column.name for column in columns[len(shown) :]]:
        more = f" and {len(rest) - _NAMED} more" if len(rest) > _NAMED else ""
        missing.append(f"{len(shown)} of {len(columns)} columns shown, without {', '.join(rest[:_NAMED])}{more}")
    elif missing:
        missing[0] += " shown"
    return Fitted("\n".join(_lines(shown)), " and ".join(missing) or None)


def as_html(table: pa.Table) -> str:
    """`as_table` for a notebook.

    >>> as_html(pa.table({"lr": [0.01]}))
    '<table><tr><th>lr</th></tr><tr><td style="text-align: right">0.01</td></tr></table>'
    """
    columns = _columns(table, CELL)
    lines = ["".join(f"<th>{escape(column.name)}</th>" for column in columns)]
    tags = ['<td style="text-align: right">' if column.right else "<td>" for column in columns]
    for row in zip(*(column.cells for column in columns), strict=True):
        lines.append("".join(f"{tag}{escape(text)}</td>" for tag, text in zip(tags, row, strict=True)))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def as_csv(table: pa.Table) -> str:
    """`csv_lines` of a table, without the end of the last line."""
    return b"".join(csv_lines(table.schema, table.to_batches())).decode().removesuffix("\n")


def csv_lines(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """A header and one line per row; numbers in full, NULL empty, an empty text in quotes, lists as JSON."""
    header = pa.record_batch([pa.array([name]) for name in schema.names], names=schema.names)
    for batch in chain([header] if schema.names else [], batches):
        if batch.num_rows:
            yield "".join(f"{line}\n" for line in _joined([_csv_cells(column) for column in batch.columns])).encode()


def as_json(table: pa.Table) -> str:
    """`json_lines` of a table, without the end of the last line."""
    return b"".join(json_lines(table.schema, table.to_batches())).decode().removesuffix("\n")


def json_lines(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """An array with one object per line; NaN and infinities, which JSON lacks, are null."""
    names = [json.dumps(name, ensure_ascii=False) for name in schema.names]
    before = "["
    for batch in batches:
        columns = [[_json(value) for value in _values(column)] for column in batch.columns]
        pairs = (zip(names, row, strict=True) for row in zip(*columns, strict=True))
        objects = ["{" + ", ".join(f"{name}: {value}" for name, value in row) + "}" for row in pairs]
        if objects:
            yield (before + ",\n ".join(objects)).encode()
            before = ",\n "
    yield (before.replace(",\n ", "") + "]\n").encode()


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    cells: list[str]
    right: bool
    width: int

    def aligned(self, text: str) -> str:
        gap = " " * (self.width - _cells_of(text))
        return gap + text if self.right else text + gap


def _plan_in(table: pa.Table) -> str | None:
    """The drawing that EXPLAIN answers with; None if `table` is another answer."""
    if table.column_names != ["explain_key", "explain_value"]:
        return None
    return "\n".join(_printable(line) for text in table["explain_value"].to_pylist() for line in str(text).splitlines())


def _columns(table: pa.Table, widest: int | None = None) -> list[_Column]:
    made = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        cells = [_clip(cell, widest) for cell in _texts(_values(column))]
        head = _printable(name)
        made.append(_Column(head, cells, _is_number(column.type), max(map(_cells_of, [head, *cells]))))
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


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Python values; a float32 becomes the shortest decimal that means it, however deep."""
    return [_shortest(value, column.type) for value in column.to_pylist(maps_as_pydicts="strict")]


def _shortest(value: Any, kind: pa.DataType) -> Any:
    if value is None or not pa.types.is_nested(kind):
        return float(str(np.float32(value))) if value is not None and pa.types.is_float32(kind) else value
    if isinstance(value, list):
        return [_shortest(v, kind.value_type) for v in value]
    if pa.types.is_map(kind):
        return {k: _shortest(v, kind.item_type) for k, v in value.items()}
    return {k: _shortest(v, kind.field(k).type) for k, v in value.items()}


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _csv_cells(column: pa.Array) -> pa.Array:
    """Text, in quotes where a comma, a quote or the end of a line is in it, or nothing at all."""
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_decimal(kind):
        texts = pa.array([None if v is None else _plain_text(v) for v in _values(column)], pa.string())
    else:
        texts = column.cast(pa.string())
    if not (_is_number(kind) or pa.types.is_boolean(kind)):
        quotes = pc.match_substring_regex(texts, _NEEDS_QUOTES)
        doubled = pc.replace_substring(texts, '"', '""')
        texts = pc.if_else(quotes, pc.binary_join_element_wise('"', doubled, '"', ""), texts)
    return texts.fill_null("")


def _joined(columns: Sequence[pa.Array]) -> list[str]:
    import pyarrow.compute as pc

    lines: list[str] = pc.binary_join_element_wise(*columns, ",").to_pylist()
    return lines


def _texts(values: list[Any]) -> list[str]:
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
    return _printable(_plain_text(value))


def _plain_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    """As JSON has it; a decimal with its own digits."""
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_json(_plain_text(k))}: {_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "null"
    if isinstance(value, Decimal):
        return f"{value:f}"
    return json.dumps(value.hex() if isinstance(value, bytes) else value, ensure_ascii=False)


def _printable(text: str) -> str:
    """`text` on one line, with control characters (also those that steer a terminal) spelt out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _clip(text: str, widest: int | None) -> str:
    if widest is None or _cells_of(text) <= widest:
        return text
    while _cells_of(text) > widest - 1:
        text = text[:-1]
    return f"{text}…"


def _cells_of(text: str) -> int:
    """How many cells of a terminal it takes: an ideograph two, an accent of its own none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)

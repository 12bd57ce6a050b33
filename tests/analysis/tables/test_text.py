"""Tables as text."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from monosweep.analysis.tables.text import as_csv, as_json, as_table, fitted

AT = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
MIXED = pa.table(
    {
        "lr": [0.003, 0.01, None],
        "n": pa.array([5, None, 12], pa.int32()),
        "task": ["abs", "a, b", None],
        "r": pa.array([0.1, float("nan"), 1.0], pa.float32()),
        "by_n": pa.array([[1, 2], [], None], pa.list_(pa.int64())),
        "total": pa.array([Decimal(3), Decimal(4), None], pa.decimal128(38, 0)),
        "at": pa.array([AT, None, None], pa.timestamp("us", "UTC")),
    }
)


def test_a_table_is_aligned_and_null_is_spelt_out() -> None:
    assert as_table(MIXED).splitlines() == [
        "   lr     n  task    r  by_n    total  at",
        "-----  ----  ----  ---  ------  -----  --------------------",
        "0.003     5  abs   0.1  [1, 2]      3  2026-01-02T03:04:05Z",
        "0.010  NULL  a, b  nan  []          4  NULL",
        " NULL    12  NULL  1.0  NULL     NULL  NULL",
    ]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1e-7, 0.5], ["1e-07", "0.5"]),
        ([123456.789, 0.00012], ["123457", "0.00012"]),
        ([2.0, 3.0], ["2", "3"]),
        ([0.1 + 0.2, 1.0], ["0.3", "1.0"]),
        ([float("inf"), -0.25], ["inf", "-0.25"]),
        ([0.0, 0.0], ["0", "0"]),
    ],
)
def test_numbers_line_up_without_invented_digits(values: list[float], shown: list[str]) -> None:
    cells = [line.strip() for line in as_table(pa.table({"x": values})).splitlines()[2:]]
    assert cells == shown


def test_control_characters_cannot_reach_the_terminal() -> None:
    text = as_table(pa.table({"error": ["line one\nline two\x1b[31m"]}))
    assert text.splitlines()[2] == r"line one\nline two\x1b[31m"


def test_csv_keeps_every_digit() -> None:
    header, first, second, third = csv.reader(io.StringIO(as_csv(MIXED)))
    assert header == MIXED.column_names
    assert first == ["0.003", "5", "abs", "0.1", "[1, 2]", "3", "2026-01-02T03:04:05.000678Z"]
    assert second == ["0.01", "", "a, b", "nan", "[]", "4", ""]
    assert third == ["", "12", "", "1.0", "", "", ""]
    (_, value) = csv.reader(io.StringIO(as_csv(pa.table({"x": [0.1 + 0.2]}))))
    assert float(value[0]) == 0.1 + 0.2


def test_json_is_json() -> None:
    first, second, _ = json.loads(as_json(MIXED), parse_constant=pytest.fail)
    assert first == {
        "lr": 0.003, "n": 5, "task": "abs", "r": 0.1, "by_n": [1, 2], "total": 3,
        "at": "2026-01-02T03:04:05.000678Z",
    }  # fmt: skip
    assert second["r"] is None
    assert json.loads(as_json(MIXED.slice(0, 0))) == []


def test_a_terminal_gets_what_fits() -> None:
    table = pa.table({"a": ["x" * 100] * 5, "b": [1] * 5, "c": ["y" * 30] * 5})
    shown = fitted(table, width=60, rows=3)
    assert shown.left_out == "3 of 5 rows and 2 of 3 columns"
    assert shown.text.splitlines()[2] == "x" * 39 + "…" + "  1"
    assert fitted(table, width=200, rows=5).left_out is None


def test_a_first_column_wider_than_the_terminal_is_shown_all_the_same() -> None:
    assert fitted(pa.table({"a": ["x" * 30], "b": [1]}), width=10, rows=5).left_out == "1 of 2 columns"

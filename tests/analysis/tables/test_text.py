"""Tables as text."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pyarrow as pa
import pytest

from monosweep.analysis.tables.text import as_csv, as_json, as_table, fitted

MIXED = pa.table(
    {
        "lr": [0.003, 0.01, None],
        "n": pa.array([5, None, 12], pa.int32()),
        "task": ["abs", "a, b", None],
        "r": pa.array([0.1, float("nan"), 1.0], pa.float32()),
        "by_n": pa.array([[1, 2], [], None], pa.list_(pa.int64())),
        "total": pa.array([Decimal(3), Decimal(4), None], pa.decimal128(38, 0)),
        "at": pa.array([b"\xaa", None, None]),
    }
)


def test_a_table_is_aligned_and_null_is_spelt_out() -> None:
    assert as_table(MIXED).splitlines() == [
        "   lr     n  task    r  by_n    total  at",
        "-----  ----  ----  ---  ------  -----  ----",
        "0.003     5  abs   0.1  [1, 2]      3  aa",
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
    assert first == ["0.003", "5", "abs", "0.1", "[1, 2]", "3", "aa"]
    assert second == ["0.01", "", "a, b", "nan", "[]", "4", ""]
    assert third == ["", "12", "", "1", "", "", ""]
    (_, value) = csv.reader(io.StringIO(as_csv(pa.table({"x": [0.1 + 0.2]}))))
    assert float(value[0]) == 0.1 + 0.2


def test_json_is_json() -> None:
    first, second, _ = json.loads(as_json(MIXED), parse_constant=pytest.fail)
    assert first == {
        "lr": 0.003, "n": 5, "task": "abs", "r": 0.1, "by_n": [1, 2], "total": 3, "at": "aa",
    }  # fmt: skip
    assert second["r"] is None
    assert json.loads(as_json(MIXED.slice(0, 0))) == []


def test_what_a_program_reads_is_what_was_said() -> None:
    said = ["a,b", 'a "b"', "", None, "line\nline\r", " x ", "日本"]
    text = as_csv(pa.table({'the "name", long': said, "n": range(7)}))
    assert text.splitlines()[0] == '"the ""name"", long",n'
    assert '\n"",2\n,3\n' in text  # an empty text is not NULL
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [row[0] for row in rows[1:]] == [value or "" for value in said]
    shown = [row['the "name", long'] for row in json.loads(as_json(pa.table({'the "name", long': said})))]
    assert shown == said


def test_nested_values_keep_their_digits() -> None:
    kind = pa.list_(pa.struct([("r", pa.float32()), ("by", pa.map_(pa.int32(), pa.float32()))]))
    table = pa.table({"x": pa.array([[{"r": 0.1, "by": [(3, 0.2)]}, None]], kind)})
    assert json.loads(as_json(table)) == [{"x": [{"r": 0.1, "by": {"3": 0.2}}, None]}]
    assert as_table(table).splitlines()[2] == '[{"r": 0.1, "by": {"3": 0.2}}, null]'


def test_batches_are_one_text() -> None:
    table = pa.table({"n": range(5), "s": ["a"] * 5})
    cut = pa.concat_tables([table.slice(0, 2), table.slice(2, 0), table.slice(2)])
    assert len(cut.to_batches()) > 1
    assert as_json(cut) == as_json(table) and as_csv(cut) == as_csv(table)
    assert as_csv(table.slice(0, 0)) == "n,s"


def test_wide_and_combining_characters_align() -> None:
    text = as_table(pa.table({"s": ["日本語", "abc", "e\u0301te\u0301"], "n": [1, 2, 3]}))
    assert text.splitlines() == ["s       n", "------  -", "日本語  1", "abc     2", "e\u0301te\u0301     3"]
    shown = fitted(pa.table({"s": ["語" * 50], "n": [1]}), 1, width=80).text.splitlines()[2]
    assert shown == "語" * 19 + "…  1"


def test_a_terminal_gets_what_fits() -> None:
    table = pa.table({"a": ["x" * 100] * 3, "b": [1] * 3, **{f"c{i}": ["y" * 30] * 3 for i in range(8)}})
    shown = fitted(table, 5000, width=60)
    assert shown.left_out == (
        "3 of 5,000 rows and 2 of 10 columns shown, without c0, c1, c2, c3, c4, c5 and 2 more"
    )  # fmt: skip
    assert shown.text.splitlines()[2] == "x" * 39 + "…" + "  1"
    assert fitted(table, 3, width=400).left_out is None
    assert fitted(table, 4, width=400).left_out == "3 of 4 rows shown"


def test_a_first_column_wider_than_the_terminal_is_shown_all_the_same() -> None:
    table = pa.table({"a": ["x" * 30], "b": [1]})
    assert fitted(table, 1, width=10).left_out == "1 of 2 columns shown, without b"

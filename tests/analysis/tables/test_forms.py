"""Every type of DuckDB's in every format: a value that the format has no place for is DuckDB's own text of it."""

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from monosweep.analysis.cli import FORMS, WRITERS
from monosweep.analysis.tables.answer import Answer, collect
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.root import Root, open_root

from ..conftest import Made

TYPES: list[tuple[str, str, Any]] = [
    ("INTERVAL '14 months 3 days'", "1 year 2 months 3 days", ...),
    ("TIMESTAMP_NS '2020-01-02 03:04:05.123456789'", "2020-01-02T03:04:05.123456789", ...),
    ("TIMESTAMP_MS '2020-01-02 03:04:05'", "2020-01-02T03:04:05", ...),
    ("TIMESTAMP_S '2020-01-02 03:04:05'", "2020-01-02T03:04:05", ...),
    ("TIMESTAMP '2020-01-02 03:04:05'", "2020-01-02T03:04:05", ...),
    ("TIMESTAMPTZ '2020-01-02 03:04:05+00'", "2020-01-02T03:04:05Z", ...),
    ("TIMESTAMP 'infinity'", "infinity", ...),
    ("TIMESTAMPTZ '-infinity'", "-infinity", ...),
    ("DATE 'infinity'", "infinity", ...),
    ("DATE '2020-01-02'", "2020-01-02", ...),
    ("DATE '0044-03-15 (BC)'", "0044-03-15 (BC)", ...),
    ("TIME '10:11:12.5'", "10:11:12.5", ...),
    ("TIMETZ '10:11:12+02'", "10:11:12+02", ...),
    ("'10101'::BIT", "10101", ...),
    ("'\\xAA\\x0B'::BLOB", "aa0b", ...),
    ("'a'::ENUM('a', 'b')", "a", ...),
    ("'00000000-0000-0000-0000-000000000001'::UUID", "00000000-0000-0000-0000-000000000001", ...),
    ("'{\"a\": 1}'::JSON", '{"a": 1}', ...),
    ("union_value(k := 1)", "1", ...),
    ("170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727", 2**127 - 1),
    ("340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455", ...),
    ("18446744073709551615::UBIGINT", "18446744073709551615", 2**64 - 1),
    ("(-128)::TINYINT", "-128", -128),
    ("1.5::DECIMAL(38, 9)", "1.500000000", 1.5),
    ("0.000000001::DECIMAL(18, 9)", "0.000000001", 1e-9),
    ("0.1::FLOAT", "0.1", 0.1),
    ("'nan'::DOUBLE", "nan", None),
    ("'-inf'::FLOAT", "-inf", None),
    ("true", "true", True),
    ("[INTERVAL '1 day', NULL]", '["1 day", null]', ["1 day", None]),
    ("[1.5::DECIMAL(3, 1)]::DECIMAL(3, 1)[1]", "[1.5]", [1.5]),
    ("{'a b': DATE 'infinity', 'c': [1]}", '{"a b": "infinity", "c": [1]}', {"a b": "infinity", "c": [1]}),
    ("MAP {'a': 0.1::FLOAT}", '{"a": 0.1}', {"a": 0.1}),
]
"""SQL, its text, and its value in JSON if that is no text."""


def answered(query: str, form: str) -> Answer:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return collect(connection.sql(query), FORMS[form], pytest.fail)


def text(query: str, form: str) -> str:
    file = io.BytesIO()
    with closing(answered(query, form)) as answer:
        WRITERS[form](answer, file)
    return file.getvalue().decode()


@pytest.mark.parametrize(("value", "shown", "in_json"), TYPES, ids=[sql for sql, _, _ in TYPES])
def test_a_type_in_text(value: str, shown: str, in_json: Any) -> None:
    assert text(f"select {value} x", "table").splitlines()[2].strip() == shown
    assert list(csv.reader(io.StringIO(text(f"select {value} x", "csv"))))[1] == [shown]
    found = json.loads(text(f"select {value} x", "json"), parse_constant=pytest.fail)
    assert found == [{"x": shown if in_json is ... else in_json}]


@pytest.mark.parametrize("value", [sql for sql, _, _ in TYPES])
def test_a_type_in_parquet(value: str, tmp_path: Any) -> None:
    with closing(answered(f"select {value} x, NULL y", "parquet")) as answer, (tmp_path / "x.parquet").open("wb") as to:
        WRITERS["parquet"](answer, to)
    there = duckdb.sql(f"select x::VARCHAR, y from '{tmp_path}/x.parquet'").fetchall()
    assert there == duckdb.sql(f"select ({value})::VARCHAR, NULL").fetchall()


def test_fractions_of_a_second_are_for_programs() -> None:
    query = "select TIMESTAMPTZ '2020-01-02 03:04:05.678+00' x"
    assert "03:04:05Z" in text(query, "table") and "03:04:05.678Z" in text(query, "csv")


def test_a_large_answer_is_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosweep.analysis.tables.spill._IN_MEMORY", 1000)
    with closing(answered("select range n, hash(range) h from range(25000)", "csv")) as answer:
        assert answer._stream._rolled  # type: ignore[attr-defined]
        assert answer.n_rows == 25000 and [batch.num_rows for batch in answer.batches()] == [10000, 10000, 5000]
        assert answer.table() == answer.table()
        assert answer.table()["n"].to_pylist() == list(range(25000))


def test_no_space_for_an_answer_is_said(quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any, /) -> int:
            if self.tell():
                raise OSError(28, "No space left on device")
            return super().write(data)

    monkeypatch.setattr("monosweep.analysis.tables.answer.spooled", Full)
    with pytest.raises(QueryError, match=r"no space for the answer: .*No space left.*; select fewer"):
        open_root(str(quick.path)).answer("select * from trials", FORMS["csv"])


@pytest.fixture
def root(quick: Made) -> tuple[Root, list[str]]:
    told: list[str] = []
    return open_root(str(quick.path), told.append), told


LATE = "from range(100000) r, (select count(*) from trials)"


@pytest.mark.parametrize(
    ("slip", "message"),
    [
        ("case when range = 90000 then error('late') else range end", "^SQL: Invalid Input Error: late$"),
        ("case when range = 90000 then 9223372036854775807 + range else range end", "^SQL: Out of Range Error: Over"),
    ],
)
def test_a_slip_midway_is_told_as_one_at_the_start(root: tuple[Root, list[str]], slip: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        root[0].answer(f"select {slip} {LATE}", FORMS["csv"])


def test_the_first_rows_are_kept_and_all_counted(root: tuple[Root, list[str]]) -> None:
    with closing(root[0].answer(f"select range n {LATE}", FORMS["table"], most=3)) as answer:
        assert (answer.n_rows, answer.table()["n"].to_pylist()) == (100000, [0, 1, 2])


def test_columns_of_one_name_are_named_apart_and_that_is_told(root: tuple[Root, list[str]]) -> None:
    ours, told = root
    query = "select 1 a, 2 a, 3 a_1, 4 a, 5 b from trials limit 1"
    names = ["a", "a_2", "a_1", "a_3", "b"]
    assert ours.sql(query).to_pylist() == [dict(zip(names, [1, 2, 3, 4, 5], strict=True))]
    with closing(ours.answer(query, FORMS["json"])) as answer:
        assert answer.table() == pa.table({name: pa.array([i + 1], pa.int32()) for i, name in enumerate(names)})
    assert told == ["columns of one name are named apart: the second a is a_2, the second a is a_3; name them with AS"]

"""What a query may be: any way of reading the views, with parameters, and nothing else; conditions stay conditions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from monosweep.analysis.claims.verdict import check
from monosweep.analysis.cli import claims, figures, query
from monosweep.analysis.figures.data import Selection, load
from monosweep.analysis.tables.guard import _REFUSED, conditions
from monosweep.analysis.tables.root import QueryError, Root, open_root

from ..conftest import Made


@pytest.fixture
def root(quick: Made) -> Root:
    return open_root(str(quick.path))


# -- reading


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("with a as (select * from trials) select count(*) from a;", 1),
        ("describe curves", 10),
        ("summarize select lr from trials", 1),
        ("show tables", 5),
        ("from trials limit 3", 3),
        ("values (1), (2)", 2),
        ("select lr as \"copy\", 'insert' as x -- update\n from trials", 16),
        ("select 'read_text(' || lr, $$ glob('x') $$ /* query('x') */ from trials", 16),
        ("pivot trials on bias_offset using avg(loss) group by lr", 4),
        ("pivot trials on bias_offset in (0, -1) using avg(loss) group by lr", 4),
        ("with p as (pivot trials on bias_offset using avg(loss) group by lr) select * from p where lr > 0.01", 2),
        ("unpivot (select lr, loss from trials) on lr, loss into name what value x", 32),
        ("explain select * from trials", 1),
        ("EXPLAIN ANALYZE select count(*) from trials", 1),
        ("explain (format json) /* analyze */ from trials", 1),
        ("explain pivot trials on bias_offset using avg(loss) group by lr", 1),
    ],
)
def test_any_way_of_reading_is_admitted(root: Root, query: str, rows: int) -> None:
    assert root.sql(query).num_rows == rows


def test_a_pivot_has_a_column_for_each_value(root: Root) -> None:
    wide = root.sql("pivot trials on bias_offset using count(*) as n group by lr order by lr")
    assert wide.column_names == ["lr", "-1.0_n", "0.0_n"]
    assert wide["0.0_n"].to_pylist() == [2, 2, 2, 2]


def test_a_plan_is_drawn_and_no_cell(quick: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert query([str(quick.path), "explain select lr from trials where seed = 0"]) == 0
    drawn = capsys.readouterr().out.splitlines()
    assert len(drawn) > 5 and "──" in drawn[0] and not any("\\n" in line for line in drawn)


# -- parameters


@pytest.mark.parametrize(
    ("query", "parameters", "rows"),
    [
        ("select * from trials where lr = ? and seed = ?", [0.01, 0], 2),
        ("select * from trials where lr = $2 and seed = $1", (0, 0.01), 2),
        ("select * from trials where lr = $lr", {"lr": 0.01}, 4),
        ("from sweep($name)", {"name": "quick"}, 16),
        ("pivot (from trials where lr < ?) on bias_offset in (0, -1) using avg(loss) group by lr", [0.02], 2),
        ("explain select * from trials where lr = ?", [0.01], 1),
    ],
)
def test_values_take_the_place_of_parameters(root: Root, query: str, parameters: Any, rows: int) -> None:
    assert root.sql(query, parameters).num_rows == rows


def test_a_value_is_a_value_and_no_sql(root: Root) -> None:
    assert root.sql("select trial_id from trials where error = ?", ["x' or true --"]).num_rows == 0


@pytest.mark.parametrize(
    ("query", "parameters", "message"),
    [
        ("select ? + $b from trials", [], "Mixing named and positional|needs a value"),
        ("select lr + ? from trials", [], r"^the query needs a value for \$1; got none; give them from Python: root"),
        ("select ?, ?", [1], r"a value for \$1, \$2; got \$1; give them"),
        ("select ?", [1, 2], r"a value for \$1; got \$1, \$2"),
        ("select $lr", {"Lr": 1}, r"a value for \$lr; got \$Lr"),
        ("select lr from trials", [1], r"no parameters; got \$1"),
        ("explain select ?", [], r"a value for \$1; got none"),
    ],
)  # fmt: skip
def test_a_missing_value_is_told(root: Root, query: str, parameters: Any, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        root.sql(query, parameters)


# -- nothing else


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("copy trials to 'x.csv'", "must be a SELECT, it can only read; got COPY"),
        ("drop view trials", "got DROP"),
        ("install httpfs", "must be a SELECT"),
        ("load json", "got LOAD"),
        ("attach 'x.db'", "got ATTACH"),
        ("set threads = 1", "got SET"),
        ("reset threads", "got SET"),
        ("use raw", "got SET"),
        ("pragma version", "got PRAGMA"),
        ("pragma threads = 3", "must be a SELECT|got PRAGMA|got SET"),
        ("call glob('*')", "got CALL"),
        ("checkpoint", "must be a SELECT"),
        ("export database '{root}/x'", "got EXPORT"),
        ("create table x as from trials", "got CREATE"),
        ("prepare x as from trials", "got PREPARE"),
        ("truncate trials", "must be a SELECT"),
        ("select 1; drop view trials", "one SELECT; got 2 statements"),
        ("explain select 1; drop view trials", "one SELECT; got 2 statements"),
        ("  -- nothing", "one SELECT; got 0 statements"),
        ("explain analyze copy trials to '{root}/x.csv'", "can only read; got COPY"),
        ("explain (analyze, format json) copy trials to '{root}/x.csv'", "can only read; got COPY"),
        ("EXPLAIN ANALYZE with a as (copy (select 1) to '{root}/x.csv') select * from a", "only read; got COPY"),
        ("copy (pivot trials on seed) to '{root}/x.csv'", "can only read; got COPY"),
        ("create table x as pivot trials on seed", "can only read; got CREATE"),
        ("prepare x as pivot trials on seed", "can only read; got PREPARE"),
        ("set variable x = (pivot trials on seed)", "can only read; got SET"),
        ("with a as (copy (pivot trials on seed) to '{root}/x.csv') pivot trials on lr", "got COPY"),
        ("with a as (copy (select 1) to '{root}/x.csv') select * from a", "can only read; got COPY"),
        ("with a as (truncate raw.trials) select * from a", "can only read; got TRUNCATE"),
        ("WITH é AS (select 'éé'), a AS (\nCoPy (select 1) to '{root}/x.csv') from a", "only read; got COPY"),
        ("select * from json_execute_serialized_sql('{{}}')", "cannot call json_execute_serialized_sql"),
        ("select * from \"JSON_execute_serialized_sql\"('{{}}')", "cannot call json_execute_serialized_sql"),
        ("from query('copy trials to ''{root}/x.csv''')", "cannot call query;"),
        ("from query_table('{root}/trials/sweep=quick/part-p0.parquet')", "cannot call query_table;"),
        ("select * from read_text('/etc/hosts')", "may read only the views and cannot call read_text; select from"),
        ("from system.main.\"read_text\" /* ( */ -- (\n ('/etc/hosts')", "cannot call read_text;"),
        ("select * from read_csv('{root}/monosweep.json')", "cannot call read_csv;"),
        ("select * from glob('/etc/*')", "cannot call glob;"),
        ("pivot (from read_text('/etc/hosts')) on filename", "cannot call read_text;"),
        ("from sniff_csv('{root}/monosweep.json')", "cannot call sniff_csv;"),
        ("from enable_logging(storage = 'file', storage_path = '{root}/log')", "cannot call enable_logging;"),
        ("select * from '/etc/hosts.csv'", "may read only the views trials, .*; it reached for /etc/hosts.csv"),
        ("select * from 's3://bucket/x.parquet'", "reached for s3://bucket/x.parquet|httpfs"),
        ("select * from '/etc/hosts'", "does not exist"),
        ("select * from os", "Table with name os does not exist"),
        ("selec 1", 'syntax error at or near "selec"'),
        ("select lrr from trials", 'column "lrr" not found .*"lr".*`describe trials` lists all columns'),
        ("select * from trails", "The tables are trials, curves, neurons"),
        ("select lr + 'x' from trials", "^SQL: .*Could not convert string 'x'"),
    ],
)
def test_a_query_can_only_read(quick: Made, query: str, message: str) -> None:
    before = sorted(quick.path.rglob("*"))
    with pytest.raises(QueryError, match=f"(?s){message}") as error:
        open_root(str(quick.path)).sql(query.format(root=quick.path))
    assert "\n" not in str(error.value)
    assert sorted(quick.path.rglob("*")) == before


HARMLESS = {
    "generate_series", "range", "repeat", "repeat_row", "unnest", "json_each", "json_tree", "summary",
    "test_all_types", "test_vector_types", "icu_calendar_names", "pg_timezone_names",
}  # fmt: skip
"""Table functions that make rows of what they are given."""
CATALOGUE = ("duckdb_", "pragma_")
"""How those begin that tell of this connection."""


def test_every_function_of_this_duckdb_is_known() -> None:
    """A newer DuckDB may have others that read files or have effects."""
    listed = "select distinct function_name from duckdb_functions() where function_type = 'table'"
    names = {name for (name,) in duckdb.connect().execute(listed).fetchall()}
    assert {n for n in names - HARMLESS if not n.startswith(CATALOGUE) and not _REFUSED.fullmatch(n)} == set()
    assert not {name for name in HARMLESS if _REFUSED.fullmatch(name)}


# -- conditions


SIX = "lr = 0.01 or (bias_offset = 0 and seed = 1 and lr < 0.02)"


def test_a_condition_is_in_parentheses_of_its_own(root: Root) -> None:
    assert len(root.trials.filter(SIX)) == 5
    assert len(root.trials.filter(f"{SIX} -- all that")) == 5
    assert root.sql(f"from trials where {conditions(SIX, 'seed = 1')}").num_rows == 3
    assert len(root.trials.filter("trial_id in (select trial_id from curves where lr > 0.02) and error is null")) == 4
    assert len(root.trials.filter("error = ')' or true")) == 16


ESCAPES = [
    "1=1) or (status is not null", "lr = 1) union select * from (trials", "lr = 1; drop view trials", "lr = 1;",
    "lr = 1 order by lr", "lr = 1 limit 1", "lr = 1) --", "lr = 1 /*", "select true", "lr, seed", "from trials", "",
    "lr = 1 union all from trials", "with a as (select true) from a",
]  # fmt: skip


@pytest.mark.parametrize("where", ESCAPES)
def test_a_condition_cannot_leave_them(root: Root, where: str) -> None:
    asked = [
        lambda: root.trials.filter(where),
        lambda: root.curves.filter(where),
        lambda: load(root, Selection(where=where), "two_layer"),
        lambda: check(root, [], where),
    ]
    for ask in asked:
        with pytest.raises(QueryError, match=r"(?s)^where must be one condition; got .* \(SQL: .*\); give one such as"):
            ask()


def test_what_a_condition_reads_is_guarded_too(root: Root) -> None:
    with pytest.raises(QueryError, match="cannot call read_text"):
        root.trials.filter("exists (from read_text('/etc/hosts'))").arrow()
    with pytest.raises(QueryError, match="got COPY"):
        root.trials.filter("exists (with a as (copy (select 1) to 'x.csv') from a)").arrow()


def test_the_verbs_say_so(quick: Made, tmp_path: Path) -> None:
    for verb in (figures, claims):
        with pytest.raises(QueryError, match="where must be one condition"):
            verb([str(quick.path), "--where", ESCAPES[0]])

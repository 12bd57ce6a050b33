"""What sweeps were asked for: the view `asked`, `sweep('NAME')`, and names as their users gave them.

Parts are written with pyarrow alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monosweep.analysis.tables.root import QueryError, open_root

from ..conftest import Made, quick_trials, trial

START = datetime(2026, 1, 1, tzinfo=UTC)


def ask(root: Path, folder: str, trial_ids: Sequence[str], part: str = "0", hours: float = 0) -> None:
    """One part of what a sweep was asked for; `folder` is its name as it stands in paths."""
    place = root / "asked" / f"sweep={folder}"
    place.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "trial_id": pa.array(trial_ids, pa.string()),
            "config": [json.dumps({"lr": 0.01})] * len(trial_ids),
            "asked_at": pa.array([START + timedelta(hours=hours)] * len(trial_ids), pa.timestamp("us", tz="UTC")),
        }
    )
    pq.write_table(table, place / f"part-{part}.parquet")


def ids(root: Path | str, query: str) -> list[str]:
    return sorted(row["trial_id"] for row in open_root(str(root)).sql(query).to_pylist())


@pytest.fixture
def shared(made: Made) -> tuple[Made, list[str]]:
    """Two sweeps that share trials: `quick` trained all four, `paper/LR1` was asked for two of them and two more, of
    which one has a row."""
    rows = [trial("p0", lr=lr) for lr in (0.003, 0.01, 0.02, 0.03)]
    more = [trial("p1", lr=lr) for lr in (0.05, 0.07)]
    made.write("trials", "quick", "p0", rows)
    made.write("trials", "paper.LR1", "p1", more[:1])
    found = [row["trial_id"] for row in (*rows, *more)]
    ask(made.path, "quick", found[:4])
    ask(made.path, "paper.LR1", found[2:])
    return made, found


# -- the view


def test_a_root_without_it_has_the_view_and_its_columns(quick: Made) -> None:
    answer = open_root(str(quick.path)).sql("select * from asked")
    assert answer.num_rows == 0
    assert answer.schema == pa.schema(
        [("sweep", pa.string()), ("trial_id", pa.string()), ("config", pa.string()),
         ("asked_at", pa.timestamp("us", tz="UTC"))]
    )  # fmt: skip


def test_one_row_per_sweep_and_trial_the_first_time_it_was_asked_for(made: Made) -> None:
    ask(made.path, "s", ["a", "b"], "later", hours=2)
    ask(made.path, "s", ["a"], "first")
    ask(made.path, "t", ["a"], hours=5)
    rows = open_root(str(made.path)).sql("select sweep, trial_id, asked_at from asked order by all").to_pylist()
    assert [(r["sweep"], r["trial_id"], (r["asked_at"] - START).total_seconds() / 3600) for r in rows] == [
        ("s", "a", 0), ("s", "b", 2), ("t", "a", 5),
    ]  # fmt: skip


def test_what_was_asked_for_needs_no_row(made: Made) -> None:
    ask(made.path, "s", ["a"])
    (row,) = open_root(str(made.path)).sql("select config ->> 'lr' as lr from asked").to_pylist()
    assert row["lr"] == "0.01"


def test_a_damaged_part_is_named_and_left_out(shared: tuple[Made, list[str]]) -> None:
    made, _ = shared
    (made.path / "asked" / "sweep=quick" / "part-1.parquet").write_bytes(b"PAR1 nonsense PAR1")
    said: list[str] = []
    assert open_root(str(made.path), said.append).sql("select * from asked where sweep = 'quick'").num_rows == 4
    assert [text.split(",")[0] for text in said] == ["left out asked/sweep=quick/part-1.parquet"]


# -- sweep('NAME')


def test_the_trials_of_a_sweep_whoever_trained_them(shared: tuple[Made, list[str]]) -> None:
    made, found = shared
    assert ids(made.path, "select * from sweep('paper/LR1')") == sorted(found[2:5])
    assert ids(made.path, "from sweep('quick')") == sorted(found[:4])
    counts = "select sweep, count(*) n from sweep('paper/LR1') group by all order by all"
    trained = open_root(str(made.path)).sql(counts).to_pylist()
    assert {row["sweep"]: row["n"] for row in trained} == {"paper/LR1": 1, "quick": 2}
    assert ids(made.path, "from trials where sweep = 'paper/LR1'") == [found[4]]


def test_it_is_a_table_like_any_other(shared: tuple[Made, list[str]]) -> None:
    made, found = shared
    sql = open_root(str(made.path)).sql
    joined = "select count(*) as n from sweep('quick') q join SWEEP ('paper/LR1') p using (trial_id)"
    assert sql(joined).to_pylist() == [{"n": 2}]
    assert sql("select * from sweep('quick')").schema == sql("select * from trials").schema
    within = "with s as (from \"sweep\"('quick') where lr > 0.01) select count(*) as n from s, curves"
    assert sql(within).to_pylist() == [{"n": 0}]
    named = "from asked a join sweep(name := 'quick') q using (trial_id)"
    assert ids(made.path, named) == sorted(found[:4] + found[2:4])


def test_rows_of_a_sweep_are_shown_as_trials_are(troubled: Made) -> None:
    """One row per trial: superseded ones stay hidden."""
    again = [row["trial_id"] for row in quick_trials("p1")[:2]]
    ask(troubled.path, "again", again)
    rows = open_root(str(troubled.path)).sql("from sweep('again')").to_pylist()
    assert {row["trial_id"]: row["pack_id"] for row in rows} == dict.fromkeys(again, "p0") and len(rows) == 2


def test_a_sweep_that_nothing_is_asked_for_has_no_trials(shared: tuple[Made, list[str]]) -> None:
    made, _ = shared
    assert ids(made.path, "from sweep('nothing')") == []
    assert ids(made.path, "from sweep(NULL)") == []


def test_an_old_root_goes_by_who_trained(troubled: Made) -> None:
    """Also where a new sweep was asked for beside the old ones."""
    for _ in range(2):
        assert len(ids(troubled.path, "from sweep('quick')")) == 16
        assert len(ids(troubled.path, "from sweep('older')")) == 2
        ask(troubled.path, "new", ["a"])


@pytest.mark.parametrize("name", ["paper/LR1", "paper-LR1"])
def test_an_old_partition_spells_a_slash_as_a_dash(made: Made, name: str) -> None:
    rows = [trial("p0", lr=lr) for lr in (0.01, 0.02)]
    made.write("trials", "paper-LR1", "p0", rows)
    assert open_root(str(made.path)).sql("select distinct sweep from trials").to_pylist() == [{"sweep": "paper-LR1"}]
    assert ids(made.path, f"from sweep('{name}')") == sorted(row["trial_id"] for row in rows)


def test_either_spelling_finds_what_was_asked_for_unless_both_are_names(made: Made) -> None:
    rows = [trial("p0", lr=lr) for lr in (0.01, 0.02)]
    one, two = (row["trial_id"] for row in rows)
    made.write("trials", "trainer", "p0", rows)
    ask(made.path, "a.b", [one])
    assert ids(made.path, "from sweep('a/b')") == ids(made.path, "from sweep('a-b')") == [one]
    ask(made.path, "a-b", [two])
    assert ids(made.path, "from sweep('a/b')") == [one]
    assert ids(made.path, "from sweep('a-b')") == [two]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("from sweep('/etc/hosts'), read_text('/etc/hosts')", "cannot call read_text"),
        ("create macro sweep(name) as table select 1", "must be a SELECT"),
        ("from sweep()", "SQL: .*sweep"),
        ("from sweep", "The tables are trials, curves, neurons, asked"),
    ],
)
def test_the_guard_stands(shared: tuple[Made, list[str]], query: str, message: str) -> None:
    made, _ = shared
    with pytest.raises(QueryError, match=message):
        open_root(str(made.path)).sql(query)


def test_on_a_filesystem_of_pyarrow(shared: tuple[Made, list[str]], tmp_path: Path) -> None:
    """As a folder whose name DuckDB would take for a pattern is read."""
    made, found = shared
    shutil.copytree(made.path, tmp_path / "what?")
    assert ids(tmp_path / "what?", "from sweep('paper/LR1')") == sorted(found[2:5])
    rows = "select sweep, trial_id, asked_at from asked order by all"
    assert open_root(str(tmp_path / "what?")).sql(rows).equals(open_root(str(made.path)).sql(rows))


# -- names, and what is read


def test_names_are_shown_as_they_were_given(made: Made) -> None:
    row = trial("p0")
    made.commit("paper.LR1", "p0", [row])
    made.weights("paper.LR1", "p0", [row])
    root = open_root(str(made.path))
    for table in ("trials", "curves", "neurons"):
        assert root.sql(f"select distinct sweep from {table}").to_pylist() == [{"sweep": "paper/LR1"}]
        assert root.sql(f"select * from {table} where sweep = 'paper.LR1'").num_rows == 0
    assert root.with_weights(["paper/LR1"]) == {("paper/LR1", "p0", row["trial_id"])}
    assert root.weights(row["trial_id"])["w_in"].shape == (128, 16)


def scans(made: Made, query: str) -> int:
    """How many Parquet scans a query's plan has."""
    (plan,) = open_root(str(made.path)).sql(f"explain {query}")["explain_value"].to_pylist()
    return int(plan.count("READ_PARQUET"))


def test_a_condition_on_the_sweep_reads_its_parts_alone(shared: tuple[Made, list[str]]) -> None:
    made, _ = shared
    for sweep, pack in (("x", "p8"), ("y.z", "p9")):
        made.commit(sweep, pack, [trial(pack, lr=0.5, seed=int(pack[1]))])
    trials = scans(made, "select count(*) from trials")
    assert trials == 4  # which row of a trial is shown depends on all sweeps
    assert scans(made, "select count(*) from curves") == 2 + trials
    assert scans(made, "select count(*) from curves where sweep = 'y/z'") == 1 + trials
    assert scans(made, "select count(*) from asked") == 2
    assert scans(made, "select count(*) from asked where sweep = 'paper/LR1'") == 1
    # its members, and whether it has any
    assert scans(made, "select count(*) from sweep('paper/LR1')") == trials + 2

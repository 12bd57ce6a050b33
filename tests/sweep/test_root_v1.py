"""A root of schema version 1 is read, counted, extended and compacted; see tests/fixtures/README.md."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monosweep.analysis.tables.root import open_root
from monosweep.sweep.__main__ import main
from monosweep.sweep.drive import LaunchOptions, LaunchReport, launch
from monosweep.sweep.plan.members import members
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.store.compact import compact
from monosweep.sweep.store.root import MARKER, Store
from monosweep.sweep.store.schema import TABLES, config_in
from monosweep.sweep.view.status import read_status

FIXTURE = Path(__file__).parents[1] / "fixtures" / "root-v1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURE, tmp_path / "old"))


def spec_of(old: Path, sweep: str) -> SweepSpec:
    return SweepSpec.from_json(Store.open(str(old)).read_spec(sweep))


def launched(old: Path, spec: SweepSpec) -> tuple[LaunchReport, str]:
    said = io.StringIO()
    options = LaunchOptions(executor="inline", device="cpu")
    return launch(spec, str(old), options, Console(file=said, width=300)), said.getvalue()


def tables(old: Path) -> list[list[dict[str, Any]]]:
    return [open_root(str(old)).sql(f"select * from {table} order by all").to_pylist() for table in TABLES]


def version(old: Path) -> int:
    return int(json.loads((old / MARKER).read_text())["schema_version"])


def test_it_is_a_root_of_version_1() -> None:
    assert version(FIXTURE) == 1
    assert [path.parent.name for path in FIXTURE.glob("trials/*/*")] == ["sweep=old-lr"] * 2


def test_its_rows_are_there(old: Path) -> None:
    store = Store.open(str(old))
    index = store.index()
    assert sorted(index.statuses.values()) == ["completed", "completed", "diverged", "diverged"]
    assert (index.n_hidden, index.unreadable) == (0, ())
    counted = "select count(distinct trial_id) as n from {}"
    root = open_root(str(old))
    assert [root.sql(counted.format(table)).to_pylist()[0]["n"] for table in TABLES] == [4, 4, 2]
    for trial_id in index.statuses:
        row = store.trial_row(trial_id)
        assert config_in(row).trial_id == trial_id
        n_points = 4 if row["status"] == "completed" else 0
        assert len(store.curve_rows(trial_id, row["pack_id"])) >= n_points
        assert set(store.pack_rows("old-lr", row["pack_id"])) > {trial_id}


@pytest.mark.parametrize("name", ["old-lr", "old/lr"])
def test_its_status_is_known_under_both_names(old: Path, name: str) -> None:
    (status,) = read_status(str(old), name)
    assert (status.sweep, status.counts.completed, status.counts.diverged) == ("old-lr", 2, 2)
    assert (status.counts.total, status.updated_at is not None) == (4, True)
    assert [s.sweep for s in read_status(str(old))] == ["cut", "old-lr"]
    assert version(old) == 1, "who only looks changes nothing"


def test_the_verbs(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial_id = next(i for i, status in Store.open(str(old)).index().statuses.items() if status == "completed")
    assert main(["status", str(old)]) == main(["list", str(old)]) == 0
    assert main(["query", str(old), "select sweep, status from trials"]) == 0
    assert main(["replay", str(old), trial_id]) == 0
    assert "trained by other code (0.1.0; this is " in capsys.readouterr().out.splitlines()[-1]


def test_launching_the_same_again_trains_nothing(old: Path) -> None:
    before = tables(old)
    report, said = launched(old, spec_of(old, "old-lr"))
    assert (report.plan, report.after.total, report.after.missing, said) == (None, 4, 0, "")
    assert tables(old) == before
    assert version(old) == 2
    assert [(s.sweep, s.counts.ended, s.counts.total) for s in read_status(str(old))] == [
        ("cut", 0, 2), ("old-lr", 4, 4), ("old/lr", 4, 4),
    ]  # fmt: skip


def test_a_smaller_launch_remembers_what_was_asked_before(old: Path) -> None:
    spec = spec_of(old, "cut").model_copy(update={"repeats": 1})
    report, _ = launched(old, spec)
    assert (report.n_wanted, report.after.total, report.after.completed) == (1, 2, 1)
    assert set(members(Store.open(str(old)), "cut").values()) == set(expand(spec_of(FIXTURE, "cut")))


def test_a_pack_goes_on_or_starts_over_with_one_line(old: Path) -> None:
    report, said = launched(old, spec_of(old, "cut"))
    assert (report.trained, report.after.completed, report.after.missing) == (2, 2, 0)
    assert said.count("starts over") <= 1
    assert Store.open(str(old)).list_checkpoints("cut") == []


def test_it_is_compacted_with_newer_parts(old: Path) -> None:
    launched(old, spec_of(old, "old-lr").model_copy(update={"name": "old-lr", "repeats": 3}))
    before = tables(old)
    done = compact(Store.open(str(old)), grace_s=0)
    # Two old parts, and two of the new pack: who diverges leaves before the others.
    assert (done.damaged, done.n_merged) == ((), 3 * 4)
    assert tables(old) == before
    assert len(Store.open(str(old)).index().statuses) == 6
    assert version(old) == 2

"""Whose fault an error is: a slip in the query is told at once; parts may go, be damaged, or not be readable."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from monosweep.analysis.tables import root as questions
from monosweep.analysis.tables.local import LocalFiles
from monosweep.analysis.tables.root import QueryError, Root
from monosweep.analysis.tables.storage import Piece
from monosweep.sweep.store.compact import compact
from monosweep.sweep.store.root import Store

from ..conftest import Made, quick_trials

FIXTURE = Path(__file__).parents[2] / "fixtures" / "root-v1"


class Watched(LocalFiles):
    """A folder that counts what is asked of it, and on which reading may fail on a schedule."""

    def __init__(self, root: str, failing: int = 0) -> None:
        super().__init__(root)
        self.read_paths: list[str] = []
        self.n_questions = 0
        self.failing = failing
        """How many more readings of a part fail."""
        self.meanwhile: tuple[str, Callable[[], object]] | None = None
        """What happens once, when a question knows the parts of a table and has not read them yet."""

    def read(self, path: str) -> bytes:
        self.read_paths.append(path)
        if path.endswith(".parquet") and self.failing:
            self.failing -= 1
            raise OSError(errno.EIO, "Input/output error", path)
        return super().read(path)

    def prepare(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.n_questions += 1
        super().prepare(connection)

    def scan(
        self, connection: duckdb.DuckDBPyConnection, pieces: list[Piece], name: str, schema: pa.Schema
    ) -> list[str]:
        scans = super().scan(connection, pieces, name, schema)
        if self.meanwhile is not None and pieces[0].part.path.startswith(self.meanwhile[0]):
            (_, happens), self.meanwhile = self.meanwhile, None
            happens()
        return scans


def opened(root: Path, failing: int = 0) -> tuple[Root, Watched, list[str]]:
    """A root, its storage, and what is said about parts."""
    files, said = Watched(str(root), failing), list[str]()
    return Root(str(root), files, said.append), files, said


# -- slips


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    """A root of one merged part and one single one a table."""
    shutil.copytree(FIXTURE, tmp_path / "old")
    compact(Store.open(str(tmp_path / "old")), grace_s=0)
    return tmp_path / "old"


SLIPS = [
    ("select 9223372036854775807 + seed from trials where seed > 0 or lr > 0", "Out of Range Error: Overflow"),
    ("select regexp_matches(trial_id, '(') from trials", r"missing \)"),
    ("select regexp_matches(trial_id, '(' || status) from trials", r"missing \)"),
    ("select (status || 'x')::int from trials", "Could not convert string"),
    ("select strptime(status, '%Q') from trials", "Unrecognized format"),
    ("select (select step from curves) from trials", "More than one row returned by a subquery"),
    ("select error('part of ' || status) from trials", "part of "),
    ("select repeat(status, 10 ** 12) from trials", "Cannot create a string|No function matches"),
    ("select printf('%d', status) from trials", "Invalid type specifier"),
]


@pytest.mark.parametrize(("query", "message"), SLIPS)
def test_a_slip_is_told_at_once(merged: Path, query: str, message: str) -> None:
    root, files, said = opened(merged)
    assert root.sql("select 1 from trials, curves").num_rows
    files.n_questions, files.read_paths = 0, []
    with pytest.raises(QueryError, match=f"^SQL: .*{message}"):
        root.sql(query)
    assert (files.n_questions, files.read_paths, said) == (1, [], [])


# -- parts


@pytest.mark.parametrize("table", ["trials", "curves"])
def test_a_part_that_is_merged_away_under_a_question_is_asked_for_anew(
    tmp_path: Path, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "_TRIES_OF_STORAGE", 1)
    query = f"select count(*) n, max(trial_id) m from {table}"
    shutil.copytree(FIXTURE, tmp_path / "old")
    root, files, said = opened(tmp_path / "old")
    before = root.sql(query).to_pylist()
    files.n_questions = 0
    files.meanwhile = (table, lambda: compact(Store.open(str(tmp_path / "old")), grace_s=0))
    assert root.sql(query).to_pylist() == before
    assert (files.n_questions, said) == (2, [])


def test_a_merged_part_that_goes_under_a_question_is_asked_for_anew(merged: Path) -> None:
    root, files, said = opened(merged)
    (part,) = (merged / "curves").rglob("part-merged-*.parquet")

    def replaced() -> None:
        shutil.copy(part, part.with_name("part-merged-ffffffffffffffff.parquet"))
        part.unlink()

    before = root.sql("select count(*) n from curves").to_pylist()
    files.n_questions, files.meanwhile = 0, ("curves", replaced)
    assert root.sql("select count(*) n from curves").to_pylist() == before
    assert (files.n_questions, said) == (2, [])


def test_a_merged_part_that_is_damaged_is_left_out_and_the_question_asked_again(merged: Path) -> None:
    (part,) = (merged / "curves").rglob("part-merged-*.parquet")
    data = bytearray(part.read_bytes())
    data[60] ^= 255
    part.write_bytes(data)
    root, files, said = opened(merged)
    assert root.sql("select sum(loss), sum(min_loss), sum(lr), sum(step), max(trial_id) from curves").num_rows == 1
    assert files.n_questions == 2
    assert [s.split(", which")[0] for s in said] == [f"left out {part.relative_to(merged)}"]


def test_reading_that_fails_for_a_moment_is_tried_again(quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "_PAUSE_S", 0.01)
    root, _, said = opened(quick.path, failing=2)
    assert len(root.trials) == 16
    assert said == []


def test_what_cannot_be_read_is_named_and_not_left_out(quick: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "_PAUSE_S", 0.01)
    root, files, said = opened(quick.path, failing=10**6)
    with pytest.raises(QueryError, match=r"^\[Errno 5\] Input/output error: 'trials/sweep=quick/part-p0.parquet'$"):
        root.trials.arrow()
    assert (files.n_questions, said) == (3, [])
    files.failing = 0
    assert len(root.trials) == 16


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may look into."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be another user")
def test_another_user_who_may_not_read_a_part_is_told_which(public: Path) -> None:
    made = Made(public / "results")
    made.write("trials", "s", "p0", quick_trials("p0"))
    hidden = made.write("trials", "s", "p1", quick_trials("p1", seeds=[9]))
    hidden.chmod(0o600)
    code = (
        "import os, sys, pyarrow.parquet; from monosweep.analysis.tables.root import QueryError, open_root\n"
        "os.setgroups([]); os.setgid(54321); os.setuid(54321)\n"
        "try: open_root(sys.argv[1]).trials.arrow()\n"
        "except QueryError as error: sys.exit(str(error))"
    )
    argv = [sys.executable, "-c", code, str(made.path)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=300, cwd="/")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"[Errno 13] Permission denied: '{hidden}'\n"

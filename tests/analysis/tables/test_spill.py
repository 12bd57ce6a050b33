"""Where DuckDB puts what does not fit memory: private, bounded, not in the working directory, gone afterwards."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monosweep.analysis.tables import root as questions
from monosweep.analysis.tables.root import QueryError, Root, open_root
from monosweep.analysis.tables.spill import PREFIX, spill_settings

from ..conftest import Made

LARGE = """select count(*) n from (select repeat('x', 99) || hash(i) s, count(*) n
           from range(600000) r(i), (select count(*) from trials) group by s) where n = 1"""
"""Needs 100 MB."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TMPDIR, while a query that needs more than 40 MB cannot have it, and the working directory is elsewhere."""
    for name in ("tmp", "cwd"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setitem(questions.CONFIG, "memory_limit", "40MB")
    monkeypatch.setitem(questions.CONFIG, "threads", "2")
    return tmp_path / "tmp"


def folders(place: Path) -> list[Path]:
    return list(place.glob(f"{PREFIX}*"))


def watched(place: Path, question: Callable[[], object]) -> tuple[set[int], int]:
    """The modes of the folders in `place` while a question is answered, and the most that lies in them."""
    modes, most = set[int](), 0
    ended = threading.Event()

    def look() -> None:
        nonlocal most
        while not ended.wait(0.01):
            for folder in folders(place):
                try:
                    modes.add(stat.S_IMODE(folder.stat().st_mode))
                    most = max(most, sum(file.stat().st_blocks * 512 for file in folder.iterdir()))
                except FileNotFoundError:
                    pass

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        question()
    finally:
        ended.set()
        watcher.join()
    return modes, most


def test_it_is_private_and_gone_afterwards(quick: Made, place: Path) -> None:
    root = open_root(str(quick.path))
    modes, most = watched(place, lambda: root.sql(LARGE))
    assert modes == {0o700}
    assert most > 2**20
    assert (folders(place), os.listdir()) == ([], [])


def test_it_is_bounded(quick: Made, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = 20 * 2**20
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Free(2 * bound))
    root = open_root(str(quick.path))

    def refused() -> None:
        with pytest.raises(QueryError, match=r"needs more memory and temporary space than there is: .*; select fewer"):
            root.sql(LARGE)

    _, most = watched(place, refused)
    assert 2**20 < most < 1.5 * bound
    assert folders(place) == []


class Free:
    """A disk with little room."""

    def __init__(self, free: int) -> None:
        self.free = free


def test_sql_cannot_look_into_it(quick: Made, place: Path) -> None:
    root = open_root(str(quick.path))
    (folder,) = root.sql("select current_setting('temp_directory') t").to_pylist()
    assert Path(folder["t"]).parent == place
    for call in ("glob", "read_text", "read_blob"):
        with pytest.raises(QueryError, match=f"cannot call {call}"):
            root.sql(f"from {call}(current_setting('temp_directory') || '/*')")


def test_where_nothing_can_be_made_all_must_fit_memory(
    quick: Made, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", os.getcwd())  # what Python takes where there is no other
    root = open_root(str(quick.path))
    assert len(root.trials) == 16
    with pytest.raises(QueryError, match="needs more memory and temporary space"):
        root.sql(LARGE)
    assert os.listdir() == []


ASKING = """
import sys, tempfile
from monosweep.analysis.tables.root import CONFIG, open_root
CONFIG["memory_limit"] = "40MB"
open_root(sys.argv[1]).sql(sys.argv[2])
"""


@pytest.fixture
def asking(quick: Made, place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is in the middle of a long question."""
    endless = LARGE.replace("600000", "1000000000")
    process = subprocess.Popen([sys.executable, "-c", ASKING, str(quick.path), endless])
    try:
        deadline = time.monotonic() + 60
        while not any(list(folder.iterdir()) for folder in folders(place)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_what_a_killed_process_left_goes_with_the_next_question(
    quick: Made, place: Path, asking: subprocess.Popen[bytes]
) -> None:
    (theirs,) = folders(place)
    root: Root = open_root(str(quick.path))
    assert len(root.trials) == 16
    assert folders(place) == [theirs]  # it is at work
    asking.send_signal(signal.SIGKILL)
    asking.wait()
    assert list(theirs.iterdir())
    assert len(root.trials) == 16
    assert folders(place) == []


def test_folders_of_many_questions_at_once_do_not_clear_each_other(place: Path) -> None:
    failed: list[str] = []

    def many() -> None:
        for _ in range(100):
            with spill_settings() as settings:
                if not Path(settings["temp_directory"]).is_dir():
                    failed.append(settings["temp_directory"])

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failed, folders(place)) == ([], [])

"""What is ended with a driver: what it has started, however it ended; not what merely has its files open."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from monosweep.sweep.executors.reaper import marks, reaped

_DRIVER = """
import subprocess, sys
from pathlib import Path
from monosweep.sweep.executors.reaper import marks, reaped
folder = Path(sys.argv[1])
with reaped(folder):
    print(subprocess.Popen(["sleep", "300"], env=marks(folder), stdout=subprocess.DEVNULL).pid, flush=True)
    sys.stdin.read()
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a log file in it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "log").write_text("words\n")
    return folder


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that end with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str, **options: object) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(command, **options))  # type: ignore[call-overload]
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_who_reads_a_log_of_ours_goes_on(folder: Path, start: Start) -> None:
    with reaped(folder):
        reader = start("tail", "-f", str(folder / "log"), stdout=subprocess.PIPE)
        assert reader.stdout and reader.stdout.readline() == b"words\n"
        ours = start("sleep", "300", env=marks(folder))
        theirs = start("sleep", "300", env=os.environ | marks(folder / "another"))
    assert ours.wait(10) == -signal.SIGKILL
    assert not folder.exists()
    assert reader.poll() is None and theirs.poll() is None


def test_what_a_killed_driver_has_started_is_ended(folder: Path, start: Start) -> None:
    driver = start(sys.executable, "-c", _DRIVER, str(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert driver.stdout
    child = os.pidfd_open(int(driver.stdout.readline()))
    driver.kill()
    assert select.select([child], [], [], 20)[0] == [child], "it goes on"
    os.close(child)


def test_nothing_is_marked_in_the_environment_of_who_launches(folder: Path) -> None:
    before = dict(os.environ)
    with reaped(folder):
        assert dict(os.environ) == before

"""A head that is lost is told within seconds, and given up before Ray ends the driver."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from monosweep.model.config import UserError
from monosweep.sweep.executors import head
from monosweep.sweep.executors.head import Head
from monosweep.sweep.work.contract import Work
from monosweep.sweep.work.feed import Feed, Given
from monosweep.sweep.work.progress import Listener


def wait(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_ASK_EVERY_S", "_TOLD_S"):
        monkeypatch.setattr(head, name, 0.05)


def test_a_head_that_is_lost_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        with Head(said.append) as here:
            here.knock_at(f"127.0.0.1:{address[1]}")
            time.sleep(0.3)
            assert (said, here.gone) == ([], None)
            server.close()
            wait(lambda: said)
            assert "does not answer (Connection refused); waiting for it for up to 30 s" in said[0]
            assert here.gone is None
            monkeypatch.setattr(head, "PATIENCE_S", 0.0)

            def stops(work: Work, feed: Feed, progress: Listener, should_stop: Callable[[], bool]) -> None:
                assert should_stop()

            with pytest.raises(UserError, match=r"has not answered for \d s; what is finished is kept; launch"):
                here.watched(stops)(Mock(Work), Given(()), Mock(Listener), lambda: False)
            with socket.create_server(address):
                wait(lambda: said[1:])
            assert said[1].endswith(f"127.0.0.1:{address[1]} answers again")


def test_a_launch_that_is_stuck_without_its_head_ends_with_a_line() -> None:
    """As Ray would end it a little later, with words of its own."""
    code = (
        "import socket, time; from monosweep.sweep.executors import head; head._ASK_EVERY_S = head._TOLD_S = 0.05; "
        "head.PATIENCE_S = head._LAST_S = 0.1\n"
        "with head.Head(print) as here:\n    here.knock_at('127.0.0.1:1')\n    time.sleep(600)"
    )
    done = subprocess.run([sys.executable, "-u", "-c", code], capture_output=True, text=True, timeout=300)
    told, last = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (2, "")
    assert "does not answer" in told and last.startswith("monosweep: a sweep needs the head of its cluster; that at ")

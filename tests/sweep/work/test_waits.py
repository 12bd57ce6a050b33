"""Waits that are told once they are long, and packs that say nothing for too long."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from monosweep.sweep.work import waits
from monosweep.sweep.work.waits import Silences, told_if_long


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def watched(patience_s: float = 300) -> tuple[Silences, Callable[[float], dict[str, str]], list[str]]:
    """Silences of packs a and b, what passes time second by second, and what was said."""
    clock, said = Clock(), list[str]()
    silences = Silences(patience_s, said.append, clock)

    def wait(seconds: float) -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(int(seconds)):
            clock.now += 1
            found |= silences.hung(["a", "b"])
        return found

    wait(1)
    return silences, wait, said


def test_who_reports_has_not_hung() -> None:
    silences, wait, said = watched()
    for _ in range(20):
        for pack_id in ("a", "b"):
            silences.heard(pack_id)
        assert wait(50) == {}
    assert said == []


def test_who_is_silent_is_told_and_then_hung_and_given_more_time_after_that() -> None:
    silences, wait, said = watched()
    for _ in range(5):
        assert wait(59) == {}
        silences.heard("b")
    assert [line.split(":")[0] for line in said] == [f"pack a has not reported for {n} min" for n in (1, 2, 4)]
    assert "after 5 min it is taken up by another (--patience-s)" in said[0]
    assert wait(5) == {"a": "hung: no report for 5 min"}
    for _ in range(11):
        assert wait(54) == {}
        silences.heard("b")
    assert wait(7) == {"a": "hung: no report for 10 min"}


def test_a_driver_that_was_asleep_has_heard_nothing() -> None:
    clock, said = Clock(), list[str]()
    silences = Silences(300, said.append, clock)
    silences.hung(["a"])
    clock.now += 3600
    assert silences.hung(["a"]) == {}
    assert said == []


def test_a_short_wait_is_not_told_and_a_long_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told, said, notes = threading.Event(), list[str](), ["storage is away"]

    def say(line: str) -> None:
        said.append(line)
        told.set()

    with told_if_long("waiting for nothing", say):
        pass
    assert said == []
    with told_if_long("waiting for nothing", say, lambda: [notes.pop()] if notes else []):
        assert told.wait(60)
    assert said == ["storage is away"]
    told.clear()
    monkeypatch.setattr(waits, "LONG_S", 0.1)
    with told_if_long("waiting for Ray to start", say):
        assert told.wait(60)
    assert re.fullmatch("waiting for Ray to start, for [0-9]+ s now", said[1])

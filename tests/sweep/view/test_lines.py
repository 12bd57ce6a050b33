"""Lines for people."""

from __future__ import annotations

from monosweep.sweep.text import duration
from monosweep.sweep.view.counts import Counts, Speed
from monosweep.sweep.view.lines import describe


def test_lines_for_people() -> None:
    assert describe(Counts(total=4), Speed()) == "0/4 trials done"
    speed = Speed(steps_per_s=5000, trials_per_hour=1234.4, seconds_left=70)
    assert describe(Counts(total=9, completed=4, diverged=1, failed=2, running=1), speed) == (
        "4/9 trials done · 1 diverged · 2 failed · 1 running · 1,234 trials/h · 5,000 steps/s · 1 min left"
    )
    judged = Counts(total=9, completed=1, stopped=5, diverged=1, running=2)
    assert describe(judged, Speed()) == "6/9 trials done, 5 of them stopped early · 1 diverged · 2 running"
    assert [duration(s) for s in (0.4, 59, 61, 7300, 200_000)] == ["0 s", "59 s", "1 min", "2.0 h", "2.3 days"]

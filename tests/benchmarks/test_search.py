"""The parts of `make bench-search`, so small that only their bookkeeping is tested."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

import search
from search import Saved, Setting, Size

TINY = Size(n_trials=16, n_steps=128, grace=8, n_asked=8, pack=4, n_features=16, n_startup=4)
HERE = Setting(executor="inline", workers=1)
ONE = Saved(
    seed=0, machine="a processor", steps_ratio=5, time_ratio=2.5, best_place=0.0, early_steps_ratio=9,
    early_time_ratio=3, early_place=0.1, front_steps_ratio=4, front_share=0.99, searched_share=0.9,
)  # fmt: skip


def test_early_stopping_is_held_against_the_full_sweep() -> None:
    found = search.saved(TINY, 0, HERE)
    assert 1.5 < found.steps_ratio < 16 and 1.5 < found.front_steps_ratio < 16
    assert 0 <= found.best_place < 0.5
    assert 0 <= found.front_share <= 1 and found.searched_share >= 0
    assert found.time_ratio > 0
    assert found.early_steps_ratio > found.steps_ratio and found.early_place >= 0 and found.early_time_ratio > 0


def test_survivors_and_asking_are_timed() -> None:
    assert search.regrouped(TINY) > 0
    share, spent = search.asking_share(TINY, HERE)
    assert spent.n == TINY.n_asked and 0 < share < 1 and min(spent.asked_s, spent.told_s) > 0


def test_the_table_says_what_is_met() -> None:
    seeds = [ONE, replace(ONE, seed=1, steps_ratio=3, time_ratio=4), replace(ONE, seed=2)]
    once = {"regrouped": 0.7, "asking_share": 0.01}
    values = search.values_of(once, seeds)
    assert values["over_search"] == pytest.approx([1.1] * 3)
    rows = search.lines(values)
    assert [row[-1] for row in rows] == ["yes", "no", "yes", "", "", "", "yes", "yes", "yes", "no", "yes"]
    assert rows[0][1:4] == ("5", "3 … 5", "≥ 4") and rows[9][1:4] == ("0.7", "", "≥ 0.8")
    rows = search.lines(search.values_of(once, [*seeds, replace(ONE, best_place=0.02)]))
    assert rows[2][1:] == ("0", "0 … 0.02", "≤ 0.01", "no")  # the worst of them


def test_a_run_of_the_same_size_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """Seeds are not run twice; those of another size are."""
    found = search._before(tmp_path, TINY, HERE)
    assert "seeds" not in found and found["machine"]["n_cores"] >= 1
    found |= {"regrouped": 1.0, "asking_share": 0.01, "seeds": [asdict(ONE)]}
    search._write(found, [ONE], tmp_path)
    again = search._before(tmp_path, TINY, HERE)
    assert again == found and [Saved(**told) for told in again["seeds"]] == [ONE]
    assert "seeds" not in search._before(tmp_path, replace(TINY, n_trials=17), HERE)

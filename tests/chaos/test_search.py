"""A search that is judged, whose driver and workers are killed again and again: every asked trial has one row."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from monosweep.sweep.store.root import Store
from processes import Driver, gone, is_training
from same_tables import read_rows

KILLS = 10
_SPEC = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 65536}
space: {lr: {loguniform: [0.0003, 0.3]}, bias_offset: {uniform: [-2, 0]}}
num_samples: 160
search: {name: optuna, n_startup_trials: 16}
scheduler: {name: asha, grace_period: 4096, reduction_factor: 2}
objectives: {loss: min}
pack_size: 16
"""
RUNGS = (4096, 8192, 16384, 32768)


@pytest.mark.long
@pytest.mark.parametrize("executor", ["inline", "ray"])
def test_a_search_that_is_killed_ten_times_has_one_row_a_trial_and_judges_no_rung_afresh(
    tmp_path: Path, executor: str
) -> None:
    spec, out = tmp_path / "s.yaml", tmp_path / "out"
    spec.write_text(_SPEC)
    chance, before = random.Random(0), dict[str, tuple[str, int]]()
    kills = Counter[str]()
    for n in range(KILLS):
        driver = Driver(spec, out, "--executor", executor, "--workers", "2")
        there = len(driver.parts())
        driver.wait_for(lambda there=there, parts=driver.parts: len(parts()) > there, 300)
        time.sleep(chance.uniform(0, 1))
        family = driver.family()
        workers = [pid for pid, command in family.items() if "spawn_main" in command or is_training(command)]
        if n % 2 and workers:
            kill(chance.choice(workers))
            kills["worker"] += 1
            time.sleep(chance.uniform(0, 2))  # another goes on
        kill(driver.process.pid)
        kills["driver"] += 1
        driver.process.wait()
        assert gone({*family, *workers})
        rows = ended(out)
        assert before.items() <= rows.items(), "who has a row keeps it"
        before = rows
        assert len(rows) < 160, f"too fast to be killed {KILLS} times: {n + 1}"
    last = Driver(spec, out, "--executor", executor, "--workers", "2")
    assert last.process.wait(600) == 0, last.said()
    rows = ended(out)
    assert before.items() <= rows.items()
    assert set(rows) == set(Store.open(str(out)).asked_configs("s")) and len(rows) == 160
    stopped = Counter(step for status, step in rows.values() if status == "stopped")
    assert set(stopped) <= set(RUNGS)
    assert {status for status, _ in rows.values()} <= {"completed", "stopped", "diverged"}
    # A rung that was judged afresh at each of eleven launches would have counted from one each time.
    counted = counted_at_rungs(out)
    reached = {rung: sum(step >= rung for _, step in rows.values()) for rung in counted}
    print(f"\n{dict(kills)}; stopped {dict(sorted(stopped.items()))}; counted {counted} of {reached}")
    assert counted and all(counted[rung] >= 0.6 * reached[rung] for rung in counted)


def counted_at_rungs(out: Path) -> dict[int, int]:
    """By rung, the most trials that any reason says had reached it: `asha, step 1024: 5 of 32 (loss 0.3)`."""
    found: dict[int, int] = {}
    for row in read_rows(out, "trials"):
        if told := re.match(r"asha, step (\d+): \d+ of (\d+) ", row["error"] or ""):
            found[int(told[1])] = max(found.get(int(told[1]), 0), int(told[2]))
    return dict(sorted(found.items()))


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def ended(out: Path) -> dict[str, tuple[str, int]]:
    """How each trial has ended; each has one row."""
    rows = read_rows(out, "trials")
    assert len(rows) == len({row["trial_id"] for row in rows})
    return {row["trial_id"]: (row["status"], row["last_step"]) for row in rows}

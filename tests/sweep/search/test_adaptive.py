"""Launches that search and stop early, whole: limits, new launches, a killed driver; every asked trial has one row."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining
from ray.tune.search import Searcher
from rich.console import Console

from monosweep.model.config import ConfigError
from monosweep.sweep.__main__ import main
from monosweep.sweep.drive import LaunchOptions, LaunchReport, launch
from monosweep.sweep.plan.budget import Budget
from monosweep.sweep.spec.sweep_spec import SweepSpec, load_spec
from monosweep.sweep.store.root import Store

SPEC = """
base: {{n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: {n_steps}}}
space: {{lr: {{loguniform: [0.0003, 0.3]}}, bias_offset: {{uniform: [-2, 0]}}}}
num_samples: {n}
search: {{name: optuna, n_startup_trials: 8}}
scheduler: {{name: moasha, grace_period: {grace}, reduction_factor: 2}}
objectives: {{loss: min, mono_per_feature: max}}
pack_size: 8
"""
Rows = Callable[..., list[dict[str, Any]]]


class Drawing(Searcher):  # type: ignore[misc]
    """A user's own searcher: it draws at random, and is shown the space by us."""

    def set_search_properties(self, metric: Any, mode: Any, config: Any, **about: Any) -> bool:
        self._space, self._random = config, np.random.default_rng(0)
        return True

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return {knob: domain.sample(random_state=self._random) for knob, domain in self._space.items()}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        assert result["objective_0"] >= 0


def spec(folder: Path, n: int = 24, n_steps: int = 256, grace: int = 16) -> Path:
    path = folder / "s.yaml"
    path.write_text(SPEC.format(n=n, n_steps=n_steps, grace=grace))
    return path


def launched(out: Path, of: SweepSpec, **given: Any) -> LaunchReport:
    budget = given.pop("budget", Budget())
    return launch(of, str(out), LaunchOptions(executor="inline", budget=budget), Console(file=io.StringIO()), **given)


def assert_one_row_each(out: Path, rows: Rows, n: int) -> Counter[str]:
    store = Store.open(str(out))
    found = rows(out, "trials")
    assert {row["trial_id"] for row in found} == set(store.asked_configs("s"))
    assert len(found) == len({row["trial_id"] for row in found}) == n
    assert store.list_checkpoints("s") == []
    return Counter(row["status"] for row in found)


def test_a_search_ends_at_its_limit_and_the_next_launch_goes_on(
    tmp_path: Path, rows: Rows, capsys: pytest.CaptureFixture[str]
) -> None:
    of = load_spec(str(spec(tmp_path)))
    first = launched(tmp_path / "out", of, budget=Budget(max_trials=16))
    assert (first.trained, first.n_wanted, first.n_missing, first.spent) == (16, 24, 8, "--max-trials 16")
    second = launched(tmp_path / "out", of)
    assert (second.trained, second.n_missing, second.spent) == (8, 0, None)
    statuses = assert_one_row_each(tmp_path / "out", rows, 24)
    assert statuses["stopped"] >= 8 and statuses["completed"] >= 2
    third = launched(tmp_path / "out", of)
    assert third.plan is None and third.trained == 0
    assert_stopped_rows_can_be_replayed(tmp_path / "out", rows, capsys)


def assert_stopped_rows_can_be_replayed(out: Path, rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    some = next(row for row in rows(out, "trials") if row["status"] == "stopped")
    capsys.readouterr()
    assert main(["replay", str(out), some["trial_id"]]) == 0
    said = capsys.readouterr().out
    assert said.endswith("bit-equal on this machine\n") and "stopped" in said
    n_points = some["last_step"].bit_length()
    assert f"curve: {n_points} recorded steps, bit-equal" in said


def test_a_killed_driver_loses_no_trial_of_a_search(tmp_path: Path, rows: Rows) -> None:
    path, out = spec(tmp_path, n_steps=4096, grace=256), tmp_path / "out"
    command = [sys.executable, "-m", "monosweep.sweep", "launch", str(path), "--out", str(out), "--executor", "inline"]
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(out.glob("trials/*/*.parquet")):
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    before = {row["trial_id"] for row in rows(out, "trials")}
    assert 0 < len(before) < 24
    report = launched(out, load_spec(str(path)))
    assert report.n_missing == 0 and before <= {row["trial_id"] for row in rows(out, "trials")}
    assert_one_row_each(out, rows, 24)


def test_objects_of_ray_tune_are_taken_from_python(tmp_path: Path, rows: Rows) -> None:
    of = load_spec(str(spec(tmp_path))).model_copy(update={"search": None, "scheduler": None, "objectives": {}})
    scheduler = ASHAScheduler(time_attr="step", max_t=256, grace_period=16, reduction_factor=2)
    report = launched(tmp_path / "out", of, scheduler=scheduler)
    assert report.n_missing == 0
    assert assert_one_row_each(tmp_path / "out", rows, 24)["stopped"] >= 8
    several = of.model_copy(update={"space": [*of.space, *of.space]})
    with pytest.raises(ConfigError, match="search takes one space; got a list of 2"):
        launched(tmp_path / "other", several, search=Drawing())
    report = launched(tmp_path / "drawn", of, search=Drawing())
    assert (report.trained, report.n_missing) == (24, 0)
    assert_one_row_each(tmp_path / "drawn", rows, 24)
    population = PopulationBasedTraining(hyperparam_mutations={"lr": [0.1, 0.2]})
    with pytest.raises(ConfigError, match="a trial's row must follow from its config"):
        launched(tmp_path / "other", of, scheduler=population)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("objectives: {los: min}\n", "'los' is no expression of this sweep's columns"),
        ("stop: loss > 2 * best_los\n", "best_los must be the best of a column of numbers"),
        ("stop: (select 1)\n", "must be an expression of columns; got a subquery"),
        ("scheduler: {name: moasha, grace_period: 256}\n", "grace_period must be below the trials' n_steps, 256"),
    ],
)
def test_slips_are_told_before_anything_is_made(line: str, match: str, tmp_path: Path) -> None:
    path = spec(tmp_path)
    kept = [text for text in path.read_text().splitlines() if not text.startswith(line.partition(":")[0] + ":")]
    path.write_text("\n".join([*kept, line]))
    with pytest.raises(ConfigError, match=match.replace("(", r"\(")):
        launched(tmp_path / "out", load_spec(str(path)))
    assert not (tmp_path / "out").exists()

"""Limits of a launch: it ends with what it has, and another goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from monosweep.model.config import ConfigError
from monosweep.sweep.drive import LaunchOptions, LaunchReport, launch
from monosweep.sweep.plan.budget import Budget, Spending
from monosweep.sweep.spec.sweep_spec import SweepSpec
from monosweep.sweep.view.lines import launch_lines

SHAPE = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "feature_prob": 1 / 8, "batch_size": 64}


def spec(n_steps: int = 64) -> SweepSpec:
    return SweepSpec(name="s", base={**SHAPE, "n_steps": n_steps}, space=[{"seed": {"grid": [*range(8)]}}], pack_size=2)


def launched(out: Path, of: SweepSpec, budget: Budget) -> LaunchReport:
    return launch(of, str(out), LaunchOptions(executor="inline", budget=budget), Console(file=io.StringIO()))


def test_so_many_trials_and_no_more(tmp_path: Path) -> None:
    report = launched(tmp_path / "out", spec(), Budget(max_trials=3))
    assert (report.trained, report.n_missing, report.spent) == (3, 5, "--max-trials 3")
    assert any("--max-trials 3: 5 trials are left" in line for line in launch_lines(report, "out"))
    again = launched(tmp_path / "out", spec(), Budget(max_trials=5))
    assert (again.trained, again.n_missing, again.spent) == (5, 0, None)


def test_steps_end_a_launch_with_checkpoints_from_which_the_next_goes_on(tmp_path: Path) -> None:
    long = spec(60_000)
    report = launched(tmp_path / "out", long, Budget(max_model_steps=1))
    assert report.spent == "--max-model-steps 1" and report.n_missing == 8
    assert len(list((tmp_path / "out").glob("checkpoints/*/*"))) == 1


def test_hours_are_counted_from_the_start_of_the_launch() -> None:
    now = [100.0]
    spending = Spending(Budget(max_hours=0.5), 100.0, lambda: now[0])
    assert not spending.is_over(0)
    now[0] += 1799
    assert not spending.is_over(10**9)
    now[0] += 1
    assert spending.is_over(0) and spending.reason == "--max-hours 0.5"


@pytest.mark.parametrize("limits", [{"max_trials": 0}, {"max_hours": -1.0}, {"max_hours": float("nan")}])
def test_a_limit_must_leave_something(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        Budget(**limits)  # type: ignore[arg-type]

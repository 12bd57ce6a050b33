"""Packs of plain functions: what they give, how they are stopped and gone on with, and what is their own fault."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monosweep.model.checkpoint_header import CheckpointError
from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families import config_of, procedure_of, resolve
from monosweep.model.kinds import kind_of, procedures
from monosweep.model.kinds.runner import ProcedureRunner
from monosweep.model.procedure import Effort, Outcome, checked
from monosweep.model.records import TrialStatus
from monosweep.model.results import TrialResult

FAMILY = f"{Path(__file__).parents[2] / 'families' / 'guesses.py'}:Guesses"


def configs(n: int = 3, **values: Any) -> list[TrialConfig]:
    name = resolve(FAMILY)
    return [config_of({"family": name, "n_steps": 100, "seed": seed, **values}) for seed in range(n)]


def begun(given: Sequence[TrialConfig], together: bool = False) -> ProcedureRunner:
    runner = kind_of(given[0]).start(given, "cpu", together=together)
    assert isinstance(runner, ProcedureRunner)
    return runner


def ended(runner: ProcedureRunner) -> list[TrialResult]:
    while not runner.done:
        runner.advance(10.0)
    return runner.results()


def plain(result: TrialResult) -> Any:
    """All but the time."""
    tables = {table: {k: v.tolist() for k, v in columns.items()} for table, columns in result.tables.items()}
    curve = {name: column.tolist() for name, column in result.curve.items()}
    return result.config, result.status, result.error, result.last_step, result.metrics, curve, tables


def test_a_pack_gives_what_each_function_gives() -> None:
    given = configs(4)
    for together in (False, True):
        for result in ended(begun(given, together)):
            effort = Effort(100, lambda effort: True)
            outcome = procedure_of(result.config).run(result.config, effort)
            assert result.status is TrialStatus.COMPLETED and result.last_step == effort.step == 100
            assert result.metrics is not None and result.metrics["loss"] == outcome.loss == effort.least
            assert result.metrics["n_better"] == outcome.metrics["n_better"]
            assert result.curve["step"].tolist() == [1, 2, 4, 8, 16, 32, 64, 100]
            assert (np.diff(result.curve["loss"]) <= 0).all() and result.curve["loss"][-1] == outcome.loss
            assert result.tables["better"]["step"].tolist() == outcome.tables["better"]["step"]
            assert result.wall_time_s > 0


def test_members_reach_recorded_steps_together_where_judges_look_on() -> None:
    runner, seen = begun(configs(3), together=True), []
    while not runner.done:
        snapshot = runner.advance(10.0)
        assert snapshot is not None
        seen.append([point["step"] if point else None for point in snapshot.points])
    assert seen[:3] == [[1] * 3, [2] * 3, [4] * 3] and seen[-1] == [None] * 3 and len(seen) == 8


def test_who_is_stopped_shows_what_a_smaller_budget_gives() -> None:
    given = configs(2)
    runner = begun(given, together=True)
    while runner.step < 16:
        runner.advance(10.0)
    (stopped,) = runner.stop_all({given[0].trial_id: "enough"})
    (alone,) = ended(begun(configs(1, n_steps=16)))
    assert (stopped.status, stopped.error) == (TrialStatus.STOPPED, "enough")
    assert plain(stopped)[3:] == plain(alone)[3:]
    assert [config.seed for config in runner.members] == [1] and ended(runner)[1].last_step == 100
    with pytest.raises(KeyError, match="no member"):
        runner.stop_all({given[0].trial_id: "again"})
    with pytest.raises(ValueError, match="has reached no recorded step"):
        begun(given).stop_all({given[0].trial_id: "too early"})


def test_a_checkpoint_is_gone_on_from_and_stopped_at_its_step() -> None:
    given = configs(3)
    runner = begun(given, together=True)
    while runner.step < 8:
        runner.advance(10.0)
    runner.goes_on(given[0].trial_id)
    data = runner.to_bytes("some code")
    runner.close()
    ids = {config.trial_id for config in given[:2]}
    again = procedures.resume(data, "cpu", ids, "final", "none", "some code", "", True)
    assert [config.seed for config in again.members] == [0, 1] and again.step == 8
    assert [judged for _, judged in again.points(given[0].trial_id)] == [True] * 4
    assert not any(judged for _, judged in again.points(given[1].trial_id))
    (stopped,) = again.stop_all({given[1].trial_id: "enough"})
    assert stopped.last_step == 8 and stopped.curve["step"].tolist() == [1, 2, 4, 8]
    snapshot = again.advance(10.0)
    assert snapshot is not None and [p["step"] if p else None for p in snapshot.points] == [16, None]
    assert plain(ended(again)[0]) == plain(ended(begun(given[:1]))[0])


def test_a_checkpoint_of_other_code_or_a_damaged_one_is_refused() -> None:
    data = begun(configs(2)).to_bytes("some code")
    for bad, code, problem in (
        (data, "other code", "was written by other code"), (data[:-9] + b"         ", "some code", "is damaged"),
        (data.replace(b'\\"step\\": 0', b'\\"step\\": 4'), "some code", "does not have its checksum"),
        (b"", "some code", "is damaged"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=problem):
            procedures.from_bytes(bad, None, code)
    with pytest.raises(CheckpointError, match="holds no trial that is to go on"):
        procedures.resume(data, "cpu", {"0"}, "final", "none", "some code", "", False)


def test_a_trial_that_fails_is_alone_with_it() -> None:
    raises, finds_nothing = configs(1, trouble="raises"), configs(1, trouble="nothing")
    found = ended(begun([*raises, *configs(1), *finds_nothing]))
    assert [result.status for result in found] == [TrialStatus.FAILED, TrialStatus.COMPLETED, TrialStatus.FAILED]
    assert found[0].error is not None and found[0].error.startswith("guesses.py line ")
    assert found[0].error.endswith("ValueError: five") and found[0].last_step == 5 and found[0].metrics is None
    assert found[0].curve["step"].tolist() == [1, 2, 4]
    assert found[2].error == "found nothing in its n_steps, 100; give it more"


def test_what_may_be_the_machines_fault_is_nobodys_row() -> None:
    runner = begun(configs(1, trouble="memory"))
    with pytest.raises(MemoryError, match="no more"):
        ended(runner)
    assert runner.results() == []


def test_a_trial_whose_time_is_up_has_failed_and_the_next_one_runs() -> None:
    runner = begun([*configs(1, trouble="loops", time_limit_s=0.1), *configs(1)])
    first, second = ended(runner)
    assert first.status is TrialStatus.FAILED and second.status is TrialStatus.COMPLETED
    assert first.error == "took longer than its time_limit_s, 0.1; give it more, or less to do"


def test_a_slice_ends_whatever_a_trial_does_and_its_thread_with_the_pack() -> None:
    before = set(threading.enumerate())
    runner = begun(configs(2, trouble="loops"))
    assert runner.advance(0.05) is None or not runner.done
    (thread,) = set(threading.enumerate()) - before
    assert runner.model_steps >= 4 and not runner.done
    runner.close()
    thread.join(10.0)
    assert not thread.is_alive()
    suspended = begun(configs(2), together=True)
    suspended.advance(10.0)
    threads = set(threading.enumerate()) - before
    assert len(threads) == 2
    suspended.close()
    for thread in threads:
        thread.join(10.0)
    assert set(threading.enumerate()) <= before


def test_many_short_trials_cost_little_beside_themselves() -> None:
    """A guess is a few microseconds; what surrounds a trial is well below five milliseconds even on a busy machine."""
    given = configs(200, n_steps=4)
    start = time.process_time()
    assert len(ended(begun(given))) == 200
    assert time.process_time() - start < 200 * 0.005


@pytest.mark.parametrize(
    ("outcome", "step", "complaint"),
    [
        (3.0, 5, "run must give an Outcome; got '3.0'"),
        (Outcome(1.0, {"n_better": 1}), 0, "run must spend what it does"),
        (Outcome(float("nan")), 5, "loss must be finite; got nan"),
        (Outcome(1.0), 5, "run must give n_better; got nothing"),
        (Outcome(1.0, {"n_better": 0.5}), 5, "n_better must be of type int; got 0.5"),
        (Outcome(1.0, {"n_better": 1}), 5, "run must give the tables better; got nothing"),
    ],
)
def test_what_a_function_gives_is_held_against_what_it_says(outcome: Any, step: int, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        checked(procedure_of(configs(1)[0]), outcome, step)


def test_its_configs_have_no_knobs_of_training() -> None:
    (config,) = configs(1)
    assert {"lr", "batch_size", "optimizer", "precision", "beta1"}.isdisjoint(config.to_dict())
    with pytest.raises(ConfigError, match="unknown field 'lr'"):
        config_of({"family": config.family, "lr": 0.1})
    with pytest.raises(ConfigError, match="time_limit_s must be above 0; got 0"):
        configs(1, time_limit_s=0)

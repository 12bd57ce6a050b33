"""What a dry run says of the time that training takes: about what it takes, soon, and where this machine trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from monosweep.model.config import TrialConfig
from monosweep.model.families.tensor_tree.config import TensorTreeConfig
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.kinds import kind_of
from monosweep.sweep.__main__ import main
from monosweep.sweep.plan import forecast
from monosweep.sweep.plan.forecast import seconds_to_train
from monosweep.sweep.plan.packs import Pack

Trial = Callable[..., TwoLayerConfig]


def pack(trial: Trial, n_trials: int, **fields: int) -> Pack:
    return Pack(tuple(trial(seed=seed, **fields) for seed in range(n_trials)))


def seconds(packs: list[Pack]) -> float:
    """That training them one after another takes."""
    start = time.perf_counter()
    for each in packs:
        trainer = kind_of(each.configs[0]).start(each.configs, "cpu")
        while not trainer.done:
            trainer.advance(10)
        trainer.close()
    return time.perf_counter() - start


def test_training_takes_about_as_long_as_was_said(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two shapes, one of which costs most; the best of a few tries, for others use these cores too."""
    monkeypatch.setattr(forecast, "BUDGET_S", 0.3)
    packs = [pack(trial, 8, n_steps=512), pack(trial, 8, n_steps=64, n_neurons=64, batch_size=128)]
    seconds([pack(trial, 8, n_steps=2)])  # compiled
    ratios = []
    for _ in range(8):
        ratios.append(seconds_to_train(packs, 1, "cpu") / seconds(packs))
        if 1 / 4 < ratios[-1] < 4:
            return
    pytest.fail(f"said, over real: {ratios}")


def test_large_models_and_many_shapes_are_timed_in_bounded_time(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[int, int]] = []
    real = forecast._pace

    def pace(pack: Pack, device: str, budget: float) -> forecast._Pace:
        trained.append((pack.configs[0].n_neurons, len(pack.configs)))  # type: ignore[attr-defined]
        return real(pack, device, min(budget, 0.05))

    monkeypatch.setattr(forecast, "_pace", pace)
    packs = [pack(trial, 2, n_steps=2**20, n_neurons=8 * n) for n in range(1, 30)]
    assert seconds_to_train(packs, 2, "cpu") > 0
    assert trained == [(8 * n, 2) for n in (29, 28, 27, 26)]  # the costliest, and no more


def test_shapes_that_were_not_timed_cost_as_much_as_the_others_for_their_work(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pace(pack: Pack, device: str, budget: float) -> forecast._Pace:
        config = pack.configs[0]
        return forecast._Pace(step_s=1e-9 * config.step_cost(), look_s=1e-9 * config.look_cost())

    monkeypatch.setattr(forecast, "_pace", pace)
    packs = [pack(trial, 2, n_neurons=8 * n) for n in range(1, 9)]
    total = sum(64 * c.step_cost() + 7 * c.look_cost() for each in packs for c in each.configs)
    assert seconds_to_train(packs, 1, "cpu") == pytest.approx(1e-9 * total)
    assert total / 2 <= 1e9 * seconds_to_train(packs, 2, "cpu") <= total
    assert seconds_to_train(packs[:1], 8, "cpu") == seconds_to_train(packs[:1], 1, "cpu")


@pytest.mark.parametrize("n_steps", [1, 2, 3, 5])
def test_the_shortest_trials_can_be_timed(trial: Trial, n_steps: int) -> None:
    assert seconds_to_train([pack(trial, 2, n_steps=n_steps)], 1, "cpu") > 0


def test_members_of_different_lengths_are_counted_as_far_as_they_go(trial: Trial) -> None:
    configs: tuple[TrialConfig, ...] = (trial(n_steps=4), replace(trial(seed=1), n_steps=64))
    assert seconds_to_train([Pack(configs)], 1, "cpu") > 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("methods", [("greedy",), ("brute_force",), ("greedy", "brute_force")])
def test_functions_that_are_done_before_their_budget_is_spent(methods: tuple[str, ...]) -> None:
    """A pack holds trials of several methods, which take unlike times and unlike shares of their steps."""
    configs = tuple(
        TensorTreeConfig(tensor="normal", n_indices=7, n_steps=10**6, method=method, seed=seed)  # type: ignore[arg-type]
        for method in methods for seed in range(4)
    )  # fmt: skip
    ratios = []
    for _ in range(8):
        ratios.append(seconds_to_train([Pack(configs)], 1, "cpu") / seconds([Pack(configs)]))
        if 1 / 4 < ratios[-1] < 4:
            return
    pytest.fail(f"said, over real: {ratios}")


def test_methods_are_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def pace(pack: Pack, device: str, budget: float) -> forecast._Pace:
        (method,) = {config.method for config in pack.configs}  # type: ignore[attr-defined]
        return forecast._Pace(step_s={"greedy": 1e-3, "brute_force": 1.0}[method], look_s=0.0)

    monkeypatch.setattr(forecast, "_pace", pace)
    methods = ("greedy", "brute_force", "greedy", "greedy", "brute_force")
    configs = tuple(TensorTreeConfig(n_steps=10, method=m, seed=i) for i, m in enumerate(methods))  # type: ignore[arg-type]
    assert seconds_to_train([Pack(configs)], 1, "cpu") == pytest.approx(3 * 10 * 1e-3 + 2 * 10)


def test_a_function_whose_first_step_takes_longer_than_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "BUDGET_S", 0.0)
    config = TensorTreeConfig(tensor="normal", n_indices=9, n_steps=10**6, method="brute_force")
    assert 0.1 < seconds_to_train([Pack((config,))], 1, "cpu") < 1e4


def test_a_dry_run_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["launch", "tiny", "--dry-run"]) == 0
    assert ", for about " in (said := capsys.readouterr().out) and "nothing was trained" in said
    assert not list(tmp_path.iterdir())


def test_draws_that_coincide_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["launch", "tiny", "--dry-run", "--out", str(tmp_path / "none"), "--set", "seed={randint: [0, 3]}"]
    assert main([*argv, "num_samples=20", "repeats=1", "lr=0.1"]) == 0
    told = capsys.readouterr()
    assert "seed: 20 drawn, 3 distinct; each is trained once" in told.err
    assert "would train 3 trials" in told.out

"""Schedules against torch's own, recorded steps, loss windows."""

import pytest
import torch

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.decay import bias_decay_at, bias_decay_table
from monosweep.model.schedule import is_recorded, loss_window, lr_at, lr_table, next_recorded, recorded_steps


def test_cosine_is_torchs_annealing_stepped_for_ever():
    config = TwoLayerConfig(lr=0.03, lr_period=16)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=16, eta_min=0)
    for step in range(1, 100):
        assert lr_at(config, step) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_final_step_of_a_power_of_two_lies_on_peak():
    config = TwoLayerConfig(lr=0.03)
    assert lr_at(config, 2**17) == pytest.approx(0.03, rel=1e-4)
    assert lr_at(config, 2**10 + 1) == 0.03


def test_cosine_to_zero_ends_at_zero_and_constant_stays():
    once = TwoLayerConfig(lr=0.03, lr_schedule="cosine_to_zero", n_steps=100)
    rates = [lr_at(once, s) for s in range(1, 101)]
    assert rates[0] == 0.03 and rates == sorted(rates, reverse=True) and rates[-1] < 1e-5
    assert lr_at(TwoLayerConfig(lr=0.03, lr_schedule="constant"), 777) == 0.03


def test_bias_decays_with_the_peak_rate_in_the_first_half_only():
    config = TwoLayerConfig(lr=0.5, bias_decay=0.1, n_steps=11)
    decays = [bias_decay_at(config, s) for s in range(1, 12)]
    assert decays == [pytest.approx(0.05)] * 5 + [0.0] * 6


def test_a_packs_tables_hold_each_trials_numbers():
    knobs = [("cosine", 0.1, 11), ("constant", 0.0, 12), ("cosine_to_zero", 3.0, 40), ("cosine", 0.7, 30)]
    configs = [
        TwoLayerConfig(lr=0.003 * (i + 1), lr_schedule=schedule, lr_period=7 + i, bias_decay=decay, n_steps=n)
        for i, (schedule, decay, n) in enumerate(knobs)
    ]
    done, n = (2, 7, 0, 2), 22  # each is at a step of its own
    for table, at in ((lr_table, lr_at), (bias_decay_table, bias_decay_at)):
        expected = [[at(c, d + i) for c, d in zip(configs, done, strict=True)] for i in range(1, n + 1)]
        assert table(configs, done, n).tolist() == expected


def test_recorded_steps():
    assert list(recorded_steps(1)) == [1]
    assert list(recorded_steps(8)) == [1, 2, 4, 8]
    assert list(recorded_steps(9)) == [1, 2, 4, 8, 9]
    for n_steps in (1, 8, 9, 100):
        recorded = list(recorded_steps(n_steps))
        assert [step for step in range(n_steps + 1) if is_recorded(step, n_steps)] == recorded
        assert [next_recorded(step, n_steps) for step in [0, *recorded[:-1]]] == recorded


@pytest.mark.parametrize(("step", "window"), [(1, 1), (8, 1), (16, 2), (8192, 1024), (2**17, 1024)])
def test_loss_window_is_an_eighth_capped_at_a_period(step, window):
    assert loss_window(TwoLayerConfig(), step) == window

"""The model of incidental polysemanticity: held to a plain loop, its counts to known weights."""

import numpy as np
import pytest
import torch

from monosweep.model.config import ConfigError
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.engines.vmapped import VmappedEngine
from monosweep.model.families.incidental.config import IncidentalConfig
from monosweep.model.families.incidental.network import Incidental
from monosweep.model.trainer import PackTrainer

CASES = [{}, {"l1": 0.0}, {"noise": "bipolar", "noise_std": 0.3}, {"noise": "gaussian", "noise_std": 0.2}]


def trial(**knobs):
    return IncidentalConfig(**{"n_features": 6, "n_neurons": 9, "n_steps": 120, "l1": 0.01, **knobs})


@pytest.mark.parametrize("knobs", CASES)
def test_engines_train_what_a_plain_loop_trains(knobs):
    """Sample by sample: basis vector in, hidden activations, noise on these, answer."""
    config = trial(precision="fp64", **knobs)
    other = trial(precision="fp64", lr=0.01, seed=1, **{**knobs, "l1": 0.1})
    w = torch.nn.Parameter(Incidental.start(config)["w"].clone())
    optimizer = torch.optim.AdamW([w], lr=0.001)
    losses = []
    for step in range(1, 101):
        noise = Incidental.sample(config, step).get("noise", torch.zeros(9)).double() * config.noise_std
        error, active = [], []
        for i in range(6):
            x = torch.nn.functional.one_hot(torch.tensor(i), 6).double()
            hidden = torch.mv(w.T, x)
            active.append(hidden.abs().sum())
            error.append(((torch.mv(w, hidden + noise).clamp_min(0) - x) ** 2).sum())
        optimizer.zero_grad()
        (torch.stack(error).mean() + config.l1 * torch.stack(active).mean()).backward()
        optimizer.step()
        losses.append(torch.stack(error).mean().item())
    np.testing.assert_allclose(SoloEngine([config], "cpu").advance(100)[:, 0], losses, rtol=1e-6)
    np.testing.assert_allclose(VmappedEngine([other, config], "cpu").advance(100)[:, 1], losses, rtol=1e-6)


def test_noise_is_of_its_kind_and_the_same_again():
    drawn = {
        kind: np.concatenate([Incidental.sample(trial(noise=kind, n_neurons=500), step)["noise"] for step in range(40)])
        for kind in ("bipolar", "gaussian")
    }
    assert set(drawn["bipolar"]) == {-1.0, 1.0}
    for noise in drawn.values():
        assert abs(noise.mean()) < 0.03 and abs(noise.std() - 1) < 0.03
    assert 2.8 < (drawn["gaussian"] ** 4).mean() < 3.2
    again = Incidental.sample(trial(noise="gaussian", n_neurons=500), 39)["noise"].numpy()
    assert (again == drawn["gaussian"][-500:]).all()


def test_the_start_is_as_wide_as_it_should_be():
    w = Incidental.start(trial(n_features=50, n_neurons=400))["w"].numpy()
    assert abs(w.mean()) < 0.002 and abs(w.std() * 20 - 1) < 0.03


def test_the_counts_of_known_weights():
    """Two features of opposite sign on neuron 0, one on neuron 2, one that no neuron has; neuron 1 is dead."""
    w = torch.zeros(4, 3)
    w[0, 0], w[1, 0], w[2, 2], w[3, 1] = 1.0, -1.0, 0.9, 0.4
    found = Incidental.metrics(trial(n_features=4, n_neurons=3), {"w": w}, {})
    assert {name: found[name] for name in ("n_poly", "n_mono", "n_dead", "n_represented")} == {
        "n_poly": 1, "n_mono": 1, "n_dead": 1, "n_represented": 3,
    }  # fmt: skip
    assert found["fourth_norm"] == pytest.approx((1 + 1 + 0.9**4 + 0.4**4) / 4)


def test_each_feature_ends_on_one_neuron_and_some_share_one():
    """Winner takes all: n²/4m = 2 neurons of 32 are shared by 16 features; without l1 nothing chooses a neuron."""
    shape = {"n_features": 16, "n_neurons": 32, "n_steps": 1500, "lr": 0.003}
    trials = [IncidentalConfig(**shape, l1=0.01, seed=seed) for seed in range(8)] + [IncidentalConfig(**shape, l1=0)]
    trainer = PackTrainer(trials, "cpu")
    for _ in trainer:
        pass
    *found, free = [result.metrics for result in trainer.results()]
    assert all(one["n_represented"] == 16 and one["fourth_norm"] > 0.75 for one in found)
    assert 1 <= np.mean([one["n_poly"] for one in found]) <= 3
    assert free["fourth_norm"] < 0.25


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"batch_size": 5}, "batch_size must be n_features, for a batch is the 6 basis vectors; got 5; leave it out"),
        ({"noise_std": 0.1}, "noise_std must be 0 without noise; got 0.1; set noise to bipolar or gaussian"),
        ({"noise": "uniform"}, "noise must be one of none, bipolar, gaussian; got 'uniform'"),
        ({"l1": -1}, "l1 must be 0 or more; got -1"),
        ({"n_neurons": 0}, "n_neurons must lie in 1"),
    ],
)
def test_bad_knobs_are_one_line(knobs, line):
    with pytest.raises(ConfigError, match=line):
        trial(**knobs)

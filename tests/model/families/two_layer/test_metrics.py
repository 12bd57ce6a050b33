"""Definitions of the spec against slow computations written differently: plain loops over numbers."""

import dataclasses
import math

import numpy as np
import pytest
import safetensors.torch
import torch
from scipy import special

from monosweep.model.checkpoint import weights_bytes
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.metrics import features_by_n_mono, neuron_stats
from monosweep.model.families.two_layer.weights import Weights, activate, activation_slope, initial_weights
from monosweep.model.geometry import capacities
from monosweep.model.trainer import PackTrainer

ACT = {
    "relu": lambda e: max(e, 0.0),
    "gelu": lambda e: e * 0.5 * special.erfc(-e / math.sqrt(2)),
    "solu": lambda e: e * math.exp(e),
}


def config(**knobs):
    return TwoLayerConfig(**{"n_features": 7, "d_embed": 3, "n_neurons": 9, "batch_size": 16, **knobs})


def random_weights(trial, seed=0):
    torch.manual_seed(seed)
    k, d, n = trial.n_neurons, trial.d_embed, trial.n_features
    kind = {"dtype": torch.float64}
    weights = Weights(w_in=torch.randn(k, d, **kind), bias=torch.randn(k, **kind), w_out=torch.randn(n, k, **kind))
    return weights, torch.randn(d, n, **kind)


@pytest.mark.parametrize("activation", sorted(ACT))
@pytest.mark.parametrize("task", ["decoder", "reprojector", "abs"])
def test_r_dead_and_feature_are_eq_7_by_plain_loops(task, activation):
    trial = config(task=task, activation=activation)
    weights, p = random_weights(trial)
    weights.bias[0] = -50  # a dead one
    stats = neuron_stats([trial], [weights], [p])
    act = ACT[activation]
    for i in range(trial.n_neurons):
        h = []
        for j in range(trial.n_features):
            drive = sum(float(weights.w_in[i, m] * p[m, j]) for m in range(trial.d_embed))
            answer = act(drive + float(weights.bias[i]))
            if task == "abs":
                answer += act(-drive + float(weights.bias[i]))
            h.append(answer)
        assert float(stats.r[0, i]) == pytest.approx(max(h) / (1e-10 + sum(x for x in h if x > 0)), rel=1e-9)
        assert int(stats.feature[0, i]) == h.index(max(h))
        assert bool(stats.dead[0, i]) == all(x <= 0 for x in h)


def handmade():
    """Neurons 0 and 1 answer feature 0 alone, 2 answers feature 1 alone, 3 answers two, 4 is dead."""
    trial = TwoLayerConfig(n_features=3, d_embed=3, n_neurons=5, batch_size=4)
    w_in = torch.tensor([[1.0, 0, 0], [2, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, -1]], dtype=torch.float64)
    weights = Weights(w_in=w_in, bias=torch.zeros(5).double(), w_out=torch.zeros(3, 5).double())
    return trial, weights, torch.eye(3).double()


def test_counts_of_a_handmade_network():
    trial, weights, p = handmade()
    stats = neuron_stats([trial], [weights], [p])
    np.testing.assert_allclose(stats.r.numpy(), [[1, 1, 1, 0.5, 0]], atol=1e-9)
    assert stats.mono.tolist() == [[True, True, True, False, False]]
    assert stats.dead.tolist() == [[False] * 4 + [True]]
    assert features_by_n_mono(3, stats) == [[1, 1, 1]]


def test_mono_threshold_is_a_strict_bound_on_r():
    trial, weights, p = handmade()
    trials = [dataclasses.replace(trial, mono_threshold=threshold) for threshold in (0.499, 0.5, 0.999)]
    stats = neuron_stats(trials, [weights] * 3, [p] * 3)
    assert stats.mono.sum(dim=1).tolist() == [4, 3, 3]


@pytest.mark.parametrize("activation", sorted(ACT))
@pytest.mark.parametrize("sizes", [(7, 3, 9), (37, 11, 53), (32, 8, 64)])
def test_statistics_of_stacked_trials_have_the_bits_of_each_alone(sizes, activation):
    n, d, k = sizes
    trial = config(n_features=n, d_embed=d, n_neurons=k, activation=activation)
    made = [random_weights(trial, seed) for seed in range(6)]
    weights = [Weights(w.w_in.float().T.contiguous().T, w.bias.float(), w.w_out.float()) for w, _ in made]
    ps = [p.float() for _, p in made]
    stats = neuron_stats([trial] * 6, weights, ps)
    together = capacities(torch.stack([w.w_in @ p for w, p in zip(weights, ps, strict=True)]))
    for i, (one, p) in enumerate(zip(weights, ps, strict=True)):
        alone = neuron_stats([trial], [one], [p])
        for name in ("r", "feature", "dead", "mono"):
            assert torch.equal(getattr(alone, name)[0], getattr(stats, name)[i])
        assert torch.equal(capacities((one.w_in @ p)[None])[0], together[i])


def test_capacity_is_eq_3_by_plain_loops_and_keeps_its_bounds():
    w = torch.randn(4, 11, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w[:, 5] = 0
    ours = capacities(w[None])[0]
    for i in range(11):
        dots = [sum(float(w[r, i] * w[r, j]) for r in range(4)) for j in range(11)]
        expected = dots[i] ** 2 / sum(x**2 for x in dots) if dots[i] else 0.0
        assert float(ours[i]) == pytest.approx(expected, rel=1e-12)
    assert 1 <= float(ours.sum()) <= 4


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_capacity_does_not_depend_on_scale(scale):
    w = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(capacities(w[None] * scale), capacities(w[None]), rtol=1e-5, atol=0)


def test_capacity_of_nothing_is_zero():
    nothing_and_something = torch.stack([torch.zeros(3, 3), torch.eye(3)])
    assert capacities(nothing_and_something).tolist() == [[0.0] * 3, [1.0] * 3]


@pytest.mark.parametrize("name", sorted(ACT))
def test_activations_and_their_slopes(name):
    e = torch.linspace(-4, 4, 81, dtype=torch.float64) + 0.013
    expected = torch.tensor([ACT[name](float(x)) for x in e], dtype=torch.float64)
    torch.testing.assert_close(activate(name, e), expected)
    torch.testing.assert_close(activate(name, e, out=torch.empty_like(e)), expected)
    step = 1e-6
    numeric = (activate(name, e + step) - activate(name, e - step)) / (2 * step)
    torch.testing.assert_close(activation_slope(name, e), numeric, atol=1e-8, rtol=1e-7)


@pytest.mark.parametrize("task", ["decoder", "reprojector"])
def test_initial_weights_are_uniform_within_one_over_root_fan_in(task):
    trial = TwoLayerConfig(n_features=40, d_embed=16, n_neurons=100, batch_size=4, bias_offset=-2, task=task)
    start = initial_weights(trial)
    assert start.w_out.shape == (trial.n_out, 100) and trial.n_out == (16 if task == "reprojector" else 40)
    for values, bound in ((start.w_in, 1 / 4), (start.bias + 2, 1 / 4), (start.w_out, 1 / 10)):
        assert float(values.abs().max()) <= bound
        assert float(values.abs().max()) > 0.9 * bound
        assert abs(float(values.mean())) < 5 * bound / math.sqrt(3 * values.numel())


def test_zero_output_has_the_derived_loss():
    """A silent network's loss is N ε / 3 (spec, section 2, derived)."""
    trial = config(n_features=64, d_embed=8, batch_size=4096, feature_prob=1 / 8, bias_offset=-9, n_steps=64)
    trainer = PackTrainer([trial], "cpu")
    points = [snapshot.points[0] for snapshot in trainer]
    assert points[-1]["loss"] == pytest.approx(64 / 8 / 3, rel=0.01)


def test_metrics_of_a_finished_trial_agree_with_its_neurons_and_weights():
    trial = config(n_features=16, d_embed=4, n_neurons=32, n_steps=300, lr=0.02, feature_prob=0.1)
    *_, last = PackTrainer([trial], "cpu", keep_weights="final")
    (result,) = last.left
    saved = safetensors.torch.load(weights_bytes(last.weights[300], 300))
    bias = saved[f"{trial.trial_id}/bias"]
    m, neurons = result.metrics, result.tables["neurons"]
    assert m["n_mono"] == (neurons["r"] > 0.999).sum() == result.curve["n_mono"][-1]
    assert m["mono_per_feature"] == m["n_mono"] / 16 and m["mono_per_neuron"] == m["n_mono"] / 32
    assert m["n_positive_bias"] == int((bias > 0.05).sum()) == (neurons["bias"] > 0.05).sum()
    assert m["mean_bias"] == pytest.approx(float(bias.mean()), rel=1e-5)
    assert sum(m["features_by_n_mono"]) == 16
    assert sum(i * n for i, n in enumerate(m["features_by_n_mono"])) == m["n_mono"]
    assert result.last_step == 300 and result.curve["step"].tolist() == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert m["loss"] == result.curve["loss"][-1] and m["min_loss"] == result.curve["min_loss"][-1]
    w_in = saved[f"{trial.trial_id}/w_in"]
    np.testing.assert_allclose(neurons["norm_in"], w_in.norm(dim=1).numpy(), rtol=1e-6)
    np.testing.assert_allclose(saved[f"{trial.trial_id}/embedding"].norm(dim=0).numpy(), 1, rtol=1e-6)

"""The residual MLP: held to a plain loop that forms the stream, its table to known weights and to sampled errors."""

import numpy as np
import pytest
import torch

from monosweep.model.config import ConfigError
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.engines.vmapped import VmappedEngine
from monosweep.model.families.resid_mlp.config import ResidMlpConfig
from monosweep.model.families.resid_mlp.network import ResidMlp
from monosweep.model.trainer import PackTrainer

CASES = [{}, {"mixing": 0.0}, {"mixing": 0.4}, {"n_layers": 2}, {"n_layers": 3, "d_embed": 4}]


def trial(**knobs):
    shape = {"n_features": 7, "d_embed": 12, "n_neurons": 6, "batch_size": 32, "n_steps": 120, "feature_prob": 0.2}
    return ResidMlpConfig(**{**shape, **knobs})


class Plain(torch.nn.Module):
    """As the papers have it: a stream that layers read and write, and what the knob takes back of its mixing."""

    def __init__(self, config):
        super().__init__()
        start, self.embedding = ResidMlp.start(config), ResidMlp.fixed(config)["embedding"]
        self.reads = torch.nn.ParameterList(list(start["w_in"].clone()))
        self.writes = torch.nn.ParameterList(list(start["w_out"].clone()))
        self.mixing = config.mixing

    def forward(self, x):
        start = torch.einsum("bn,nd->bd", x, self.embedding)
        stream = start
        for read, write in zip(self.reads, self.writes, strict=True):
            stream = stream + torch.einsum("dk,bk->bd", write, torch.einsum("kd,bd->bk", read, stream).clamp_min(0))
        answer, noisy = (torch.einsum("nd,bd->bn", self.embedding, vector) for vector in (stream, start))
        return answer + (1 - self.mixing) * (x - noisy)


@pytest.mark.parametrize("knobs", CASES)
def test_engines_train_what_a_plain_loop_trains(knobs):
    config = trial(precision="fp64", **knobs)
    other = trial(precision="fp64", lr=0.01, seed=1, **{**knobs, "mixing": 0.7})
    plain = Plain(config)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.003)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 120)
    losses = []
    for step in range(1, 101):
        x = ResidMlp.sample(config, step)["x"].double()
        loss = ((plain(x) - (x + x.clamp_min(0))) ** 2).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    np.testing.assert_allclose(SoloEngine([config], "cpu").advance(100)[:, 0], losses, rtol=1e-6)
    np.testing.assert_allclose(VmappedEngine([other, config], "cpu").advance(100)[:, 1], losses, rtol=1e-6)


def test_features_are_present_as_they_should_be():
    config = trial(batch_size=20_000)
    x = ResidMlp.sample(config, 3)["x"].numpy()
    there = x[x != 0]
    assert x.dtype == np.float32 and -1 <= x.min() < -0.99 < 0.99 < x.max() < 1
    np.testing.assert_allclose((x != 0).mean(axis=0), 0.2, atol=0.015)
    assert abs(there.mean()) < 0.01 and abs(there.var() - 1 / 3) < 0.01 and abs((there > 0).mean() - 0.5) < 0.01
    assert (ResidMlp.sample(config, 3)["x"].numpy() == x).all()
    assert (ResidMlp.sample(config, 4)["x"].numpy() != x).any()


def test_the_embedding_is_of_unit_vectors_and_the_start_as_wide_as_it_should_be():
    config = trial(n_features=40, d_embed=100, n_neurons=20, n_layers=2)
    fixed, start = ResidMlp.fixed(config), ResidMlp.start(config)
    np.testing.assert_allclose((fixed["embedding"] ** 2).sum(dim=1), 1)
    off = fixed["mixing"].numpy()[~np.eye(40, dtype=bool)]
    np.testing.assert_allclose(fixed["mixing"].diagonal(), 0, atol=1e-12)
    assert abs(off.std() * 10 - 1) < 0.1
    assert 0.099 < start["w_in"].abs().max() <= 0.1 and 0.31 < start["w_out"].abs().max() <= 10**-0.5


def naive(config):
    """One neuron for each of the first features, none for the others."""
    e, k = ResidMlp.fixed(config)["embedding"], config.n_neurons
    dual = torch.linalg.pinv(e).T  # reads feature i from the stream alone, and writes to it alone
    return {"w_in": dual[:k][None].clone(), "w_out": dual[:k].T[None].clone()}


def test_the_table_of_the_naive_solution():
    """Of 7 features 4 are computed; a stream that mixes adds |row of E Eᵀ - 1|² / 3 to each."""
    config = trial(n_neurons=4, mixing=0.0)
    params, fixed = naive(config), ResidMlp.fixed(config)
    features = ResidMlp.rows(config, params, fixed)["features"]
    np.testing.assert_allclose(features["loss"], [0] * 4 + [1 / 6] * 3, atol=1e-12)
    np.testing.assert_allclose(features["mixed"], 0, atol=1e-12)
    np.testing.assert_allclose(features["slope_above"], [2] * 4 + [1] * 3)
    np.testing.assert_allclose(features["slope_below"], 1)
    found = ResidMlp.metrics(config, params, fixed)
    assert found["n_computed"] == 4
    assert found["alone_loss"] == pytest.approx(found["naive_loss"]) == pytest.approx(3 * 0.2 / 6)
    mixed = ResidMlp.rows(trial(n_neurons=4), params, fixed)["features"]
    rows = (fixed["mixing"] ** 2).sum(dim=1).numpy() / 3
    np.testing.assert_allclose(mixed["mixed"], rows)
    np.testing.assert_allclose(mixed["loss"], features["loss"] + rows)


@pytest.mark.parametrize("knobs", [{}, {"n_layers": 3, "mixing": 0.5}])
def test_the_table_says_what_single_features_cost(knobs):
    """Against errors of a plain model on a fine grid of strengths."""
    config = trial(precision="fp64", **knobs)
    table = ResidMlp.rows(config, ResidMlp.start(config), ResidMlp.fixed(config))["features"]
    strengths = (torch.arange(2000, dtype=torch.float64) + 0.5) / 1000 - 1
    for i in (0, 5):
        x = torch.zeros(2000, 7, dtype=torch.float64)
        x[:, i] = strengths
        off = (Plain(config)(x) - x - x.clamp_min(0)).detach().numpy() ** 2
        assert table["loss"][i] == pytest.approx(off.sum(axis=1).mean(), rel=1e-4)
        one = torch.nn.functional.one_hot(torch.tensor(i), 7).double()
        own = [Plain(config)(sign * one[None])[0, i].item() / sign for sign in (1, -1)]
        np.testing.assert_allclose([table["slope_above"][i], table["slope_below"][i]], own)
        assert table["mixed"][i] == pytest.approx(np.delete(off, i, axis=1).sum(axis=1).mean(), rel=1e-4)


def test_it_is_better_than_naive_only_where_the_stream_mixes():
    shape = {"n_features": 12, "d_embed": 60, "n_neurons": 6, "batch_size": 256, "n_steps": 500, "feature_prob": 0.03}
    trials = [ResidMlpConfig(**shape, lr=0.01, mixing=mixing) for mixing in (0, 1)]
    trainer = PackTrainer(trials, "cpu")
    for _ in trainer:
        pass
    clean, mixing = (1 - found.metrics["alone_loss"] / found.metrics["naive_loss"] for found in trainer.results())
    assert abs(clean) < 0.03 and mixing > 0.1


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"n_layers": 4}, "n_neurons must be a multiple of n_layers, .* got 6 for 4 layers"),
        ({"mixing": 1.5}, "mixing must lie in 0 … 1; got 1.5"),
        ({"feature_prob": 0}, r"feature_prob must lie in \(0, 1\]; got 0"),
        ({"d_embed": 0}, "d_embed must lie in 1"),
    ],
)
def test_bad_knobs_are_one_line(knobs, line):
    with pytest.raises(ConfigError, match=line):
        trial(**knobs)

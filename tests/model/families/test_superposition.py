"""The model of superposition: held to a plain loop, its data to what they should be, its tables to known weights."""

import numpy as np
import pytest
import torch

from monosweep.model.config import ConfigError
from monosweep.model.engines import engine_name, make_engine
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.engines.vmapped import VmappedEngine
from monosweep.model.families.superposition.config import SuperpositionConfig
from monosweep.model.families.superposition.network import Superposition
from monosweep.model.trainer import PackTrainer

CASES = [
    {}, {"activation": "none"}, {"activation": "quadratic"}, {"activation": "gelu"}, {"hidden": "identity"},
    {"hidden": "trained"}, {"presence": "one"}, {"presence": "together", "n_features": 6},
    {"presence": "apart", "n_features": 6},
]  # fmt: skip


def trial(**knobs):
    return SuperpositionConfig(**{"batch_size": 64, "n_steps": 120, "importance": 0.9, "feature_prob": 0.2, **knobs})


class Plain(torch.nn.Module):
    """As the article has it, with rows for features."""

    def __init__(self, config, w):
        super().__init__()
        self.w = torch.nn.Parameter(w.T.clone())
        self.bias = torch.nn.Parameter(torch.zeros(config.n_features, dtype=torch.float64))
        self.hidden = torch.nn.Linear(config.d_hidden, config.d_hidden, bias=False, dtype=torch.float64)
        torch.nn.init.eye_(self.hidden.weight)
        self.hidden.weight.requires_grad_(config.hidden == "trained")
        self.act = {
            "relu": lambda y: y.clamp_min(0), "none": lambda y: y, "quadratic": lambda y: y * y,
            "gelu": torch.nn.GELU(),
        }[config.activation]  # fmt: skip

    def forward(self, x):
        y = torch.einsum("bm,nm->bn", self.hidden(torch.einsum("bn,nm->bm", x, self.w)), self.w) + self.bias
        return self.act(y)


@pytest.mark.parametrize("knobs", CASES)
@pytest.mark.parametrize("last", [1.0, 3.0])
def test_engines_train_what_a_plain_loop_trains(knobs, last):
    config = trial(precision="fp64", last_importance=last, **knobs)
    other = trial(precision="fp64", lr=0.01, seed=1, importance=0.5, **knobs)
    plain = Plain(config, Superposition.start(config)["w"])
    optimizer = torch.optim.Adam([p for p in plain.parameters() if p.requires_grad], lr=0.001)
    counts = torch.tensor([0.9**i for i in range(config.n_features - 1)] + [last * 0.9 ** (config.n_features - 1)])
    losses = []
    for step in range(1, 101):
        x = Superposition.sample(config, step)["x"].double()
        loss = ((plain(x) - x) ** 2 * counts.double()).sum(dim=1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(SoloEngine([config], "cpu").advance(100)[:, 0], losses, rtol=1e-6)
    np.testing.assert_allclose(VmappedEngine([other, config], "cpu").advance(100)[:, 1], losses, rtol=1e-6)
    packed = config.hidden != "trained" and config.activation in ("relu", "none")
    if packed:
        np.testing.assert_allclose(make_engine([other, config], "cpu", "packed").advance(100)[:, 1], losses, rtol=1e-6)
    assert engine_name(config, "cpu") == ("packed" if packed else "vmapped")


@pytest.mark.parametrize(("presence", "both"), [("independent", 0.04), ("together", 0.2), ("apart", 0.0), ("one", 0.0)])
def test_features_are_present_as_they_should_be(presence, both):
    config = trial(presence=presence, n_features=6, batch_size=20_000)
    x = Superposition.sample(config, 3)["x"].numpy()
    there = x > 0
    assert x.dtype == np.float32 and 0.45 < x[there].mean() < 0.55 and x.max() < 1
    share = 1 / 6 if presence == "one" else 0.2
    np.testing.assert_allclose(there.mean(axis=0), share, atol=0.015)
    assert abs((there[:, 0] & there[:, 1]).mean() - both) < 0.015
    assert abs((there[:, 1] & there[:, 2]).mean() - (0 if presence == "one" else 0.04)) < 0.015
    if presence == "one":
        assert there.sum(axis=1).max() == 1
    assert (Superposition.sample(config, 3)["x"].numpy() == x).all()
    assert (Superposition.sample(config, 4)["x"].numpy() != x).any()


def test_the_tables_of_known_weights():
    """An antipodal pair, a feature of its own, and one that is not there."""
    config = trial(n_features=4, d_hidden=2)
    params = {"w": torch.tensor([[1.0, -1.0, 0, 0], [0, 0, 2.0, 0.05]]), "bias": torch.tensor([0.0, 1, 2, 3])}
    tables = Superposition.rows(config, params, Superposition.fixed(config))
    features, blocks = tables["features"], tables["blocks"]
    np.testing.assert_allclose(features["importance"], [1, 0.9, 0.81, 0.729])
    np.testing.assert_allclose(features["norm"], [1, 1, 2, 0.05])
    np.testing.assert_allclose(features["dimensionality"][:2], 0.5)
    assert features["block"].tolist() == [0, 0, 1, -1]
    assert (blocks["size"].tolist(), blocks["block"].tolist()) == ([2, 1], [0, 1])
    np.testing.assert_allclose(blocks["capacity"], [1, 1], atol=1e-3)
    np.testing.assert_allclose(blocks["deviation"], 0, atol=1e-12)
    found = Superposition.metrics(config, params, Superposition.fixed(config))
    assert (found["n_represented"], found["n_blocks"], found["largest_block"]) == (3, 2, 2)
    # .05² squared, over the sum of its products with itself and with the third, 2 · .05
    assert found["last_capacity"] == pytest.approx(0.05**4 / (0.05**4 + 0.1**2))
    assert found["norm_squared"] == pytest.approx(6.0025) and found["mean_bias"] == 1.5


def test_a_pentagon_is_one_block_of_two_dimensions():
    angles = torch.arange(5) * (2 * torch.pi / 5)
    params = {"w": torch.stack([angles.cos(), angles.sin()]), "bias": torch.zeros(5)}
    tables = Superposition.rows(trial(), params, Superposition.fixed(trial()))
    np.testing.assert_allclose(tables["features"]["dimensionality"], 0.4, rtol=1e-6)
    np.testing.assert_allclose(tables["blocks"]["capacity"], [2], rtol=1e-6)
    np.testing.assert_allclose(tables["blocks"]["deviation"], 0, atol=1e-6)
    params["w"][0] *= 2
    assert Superposition.rows(trial(), params, Superposition.fixed(trial()))["blocks"]["deviation"] == pytest.approx(1)


def test_dense_features_get_dimensions_of_their_own_and_sparse_ones_share():
    """Two of five where features are always there; more where they are rare (the article's first figure)."""
    shape = {"batch_size": 256, "n_steps": 1200, "lr": 0.02}
    trainer = PackTrainer([trial(**shape, feature_prob=p, seed=3) for p in (1.0, 0.02)], "cpu")
    for _ in trainer:
        pass
    found = [result.metrics for result in trainer.results()]
    dense, sparse = (metrics["n_represented"] for metrics in found)
    assert dense == 2 and sparse >= 4
    assert all(1.9 < metrics["capacity_sum"] <= 2.001 for metrics in found)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"feature_prob": 0}, r"feature_prob must lie in \(0, 1\]; got 0"),
        ({"presence": "apart", "n_features": 4, "feature_prob": 0.6}, r"must lie in \(0, 0.5\] where pairs are apart"),
        ({"presence": "together"}, "n_features must be even where features are together; got 5"),
        ({"importance": -1}, "importance must be 0 or more"),
        ({"hidden": "identical"}, "hidden must be one of none, identity, trained; got 'identical'"),
    ],
)
def test_bad_knobs_are_one_line(knobs, line):
    with pytest.raises(ConfigError, match=line):
        trial(**knobs)

"""The capacity paper's model: its formulas held to sums and searches, its training to a plain loop, its tables to known
weights."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from monosweep.model.config import ConfigError
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.engines.vmapped import VmappedEngine
from monosweep.model.families.quadratic import closed_form as cf
from monosweep.model.families.quadratic.config import QuadraticConfig
from monosweep.model.families.quadratic.network import Quadratic
from monosweep.model.trainer import PackTrainer


def trial(**knobs):
    return QuadraticConfig(**{"batch_size": 64, "n_steps": 120, "importance": 0.9, "feature_prob": 0.3, **knobs})


# -- the formulas

SIZES = st.integers(1, 4)
IMPORTANCE = st.floats(0.05, 4)


@st.composite
def allocations(draw, least_k=3.05):
    """(v, k, d) with more features than dimensions."""
    d = draw(st.integers(1, 4))
    v = draw(st.lists(IMPORTANCE, min_size=d + 1, max_size=8))
    return np.array(v), draw(st.floats(least_k, 60)), d


@given(st.floats(0.01, 1))
def test_kurtosis_is_the_integral_over_the_density(p):
    furthest = math.sqrt(3 / p)
    moment = [2 * integrate.quad(lambda x, n=n: x**n * p / (2 * furthest), 0, furthest)[0] for n in (2, 4)]
    assert moment[0] == pytest.approx(1)
    assert cf.kurtosis(p) == pytest.approx(moment[1], rel=1e-6)


@given(SIZES, SIZES, st.floats(0.05, 1), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_expected_loss_is_the_mean_over_all_that_can_happen(d, n, p, seed):
    rng, k = np.random.default_rng(seed), cf.kurtosis(p)
    w, v, bias = rng.normal(size=(d, n)), rng.uniform(0.1, 3, n), rng.normal()
    # -√k, 0 and √k with probabilities 1/2k, 1 - 1/k and 1/2k have mean 0, variance 1, third moment 0 and kurtosis k
    points, weights = np.array([-math.sqrt(k), 0, math.sqrt(k)]), np.array([0.5 / k, 1 - 1 / k, 0.5 / k])
    every = np.stack(np.meshgrid(*[range(3)] * n, indexing="ij"), axis=-1).reshape(-1, n)
    x, chance = points[every], weights[every].prod(axis=1)
    loss = (np.square(x @ w.T).sum(axis=1) + bias - np.square(x) @ v) ** 2
    assert cf.expected_loss(w, bias, v, k) == pytest.approx(float(chance @ loss), rel=1e-9)


@given(allocations())
@settings(max_examples=60, deadline=None)
def test_the_allocation_of_capacity_is_what_a_general_minimiser_finds(case):
    v, k, d = case

    def cost(c):
        return float((v**2 * 2 * (k - 1) * (1 - c) / ((k - 3) * c + 2)).sum())

    best = cf.optimal_capacities(v, k, d)
    assert best.sum() == pytest.approx(d) and (best >= 0).all() and (best <= 1).all()
    assert cf.optimal_loss(v, k, d) == pytest.approx(cost(best))
    found = optimize.minimize(
        cost, np.full(len(v), d / len(v)), bounds=[(0, 1)] * len(v), method="SLSQP", options={"ftol": 1e-14},
        constraints={"type": "eq", "fun": lambda c: c.sum() - d},
    )  # fmt: skip
    assert cost(best) <= found.fun * (1 + 1e-6)  # it keeps the sum to a billionth
    assert cost(best) == pytest.approx(found.fun, rel=1e-3)


@given(allocations(least_k=1.8), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_no_weights_cost_less_and_descent_reaches_it(case, seed):
    v, k, d = case
    rng, n, best = np.random.default_rng(seed), len(v), cf.optimal_loss(v, k, d)

    def cost(flat):
        w = flat.reshape(d, n)
        return cf.expected_loss(w, float((v - np.square(w).sum(axis=0)).sum()), v, k)

    def slope(flat):
        w = flat.reshape(d, n)
        gram = w.T @ w
        outer = 2 * gram + np.diag((k - 1) * (np.diag(gram) - v) - 2 * np.diag(gram))
        return (4 * w @ outer).ravel()

    found = [optimize.minimize(cost, rng.normal(size=d * n), jac=slope, method="BFGS").fun for _ in range(4)]
    assert min(found) >= best * (1 - 1e-9)
    if k > 3.5:
        assert min(found) == pytest.approx(best, rel=1e-4, abs=1e-6)


@given(st.floats(3.05, 60), st.integers(1, 5), st.integers(1, 4), st.floats(0.01, 6))
@settings(deadline=None)
def test_the_odd_feature_is_whole_from_one_threshold_and_ignored_up_to_another(k, d, more, importance):
    n = d + more
    capacity = cf.optimal_capacities(np.array([1.0] * (n - 1) + [importance]), k, d)[-1]
    low, high = cf.none_until(k, n, d), cf.full_from(k, n, d)
    assert low < high
    if importance <= low * (1 - 1e-6):
        assert capacity == pytest.approx(0, abs=1e-9)
    elif importance >= high * (1 + 1e-6):
        assert capacity == pytest.approx(1)
    elif low * (1 + 1e-6) < importance < high * (1 - 1e-6):
        assert 0 < capacity < 1


def test_light_tails_share_nothing():
    v = np.array([1.0, 3, 2, 1])
    assert cf.optimal_capacities(v, 2.5, 2).tolist() == [0, 1, 1, 0]
    assert cf.optimal_loss(v, 2.5, 2) == pytest.approx(1.5 * 2)
    assert cf.optimal_capacities(np.array([1.0, 0]), 9.0, 2).tolist() == [1, 0]
    assert cf.full_from(2.5, 6, 3) == cf.none_until(2.5, 6, 3) == 1


# -- samples


def test_features_are_present_with_their_probability_and_uniform_then():
    config = trial(batch_size=20_000, feature_prob=0.2, n_features=5)
    x = Quadratic.sample(config, 3)["x"].numpy()
    assert x.dtype == np.float32 and x.shape == (20_000, 5)
    present = x[x != 0]
    assert stats.binomtest(len(present), x.size, 0.2).pvalue > 1e-6
    assert stats.kstest(present, stats.uniform(-math.sqrt(15), 2 * math.sqrt(15)).cdf).pvalue > 1e-6
    assert np.mean(x**2) == pytest.approx(1, abs=0.05)
    assert np.mean(x**4) == pytest.approx(9, rel=0.06)
    np.testing.assert_allclose(np.corrcoef(x.T), np.eye(5), atol=0.05)
    assert (Quadratic.sample(config, 3)["x"].numpy() == x).all()
    assert (Quadratic.sample(config, 4)["x"].numpy() != x).any()


# -- training


class Plain(torch.nn.Module):
    """As the paper has it; a sum over samples, features and neurons in the open."""

    def __init__(self, config):
        super().__init__()
        self.w = torch.nn.Parameter(Quadratic.start(config)["w"].clone())
        self.b = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        v = [config.importance**i for i in range(config.n_features)]
        self.v = torch.tensor([*v[:-1], v[-1] * config.last_importance], dtype=torch.float64)
        self.act = {"quadratic": lambda z: z * z, "relu": torch.nn.ReLU(), "gelu": torch.nn.GELU()}[config.activation]

    def forward(self, x):
        hidden = self.act(torch.einsum("dn,bn->bd", self.w, x))
        wanted = torch.einsum("n,bn->b", self.v, self.act(x))
        return ((hidden.sum(1) + self.b - wanted) ** 2).mean()


@pytest.mark.parametrize("activation", ["quadratic", "relu", "gelu"])
def test_engines_train_what_a_plain_loop_trains(activation):
    shape = {"precision": "fp64", "activation": activation, "lr_schedule": "constant"}
    config = trial(**shape, last_importance=2.0)
    other = trial(**shape, seed=1, feature_prob=0.6, lr=0.002)
    plain, losses = Plain(config), []
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
    for step in range(1, 101):
        optimizer.zero_grad()
        loss = plain(Quadratic.sample(config, step)["x"].double())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(SoloEngine([config], "cpu").advance(100)[:, 0], losses, rtol=1e-6)
    np.testing.assert_allclose(VmappedEngine([other, config], "cpu").advance(100)[:, 1], losses, rtol=1e-6)


def test_the_expected_loss_is_what_samples_come_to():
    """Of the same weights: a million samples; and its slope is that of a plain loop over the formula."""
    config = trial(objective="expected", precision="fp64", feature_prob=0.3, last_importance=0.5)
    params = {"w": Quadratic.start(config)["w"], "bias": torch.tensor(0.3, dtype=torch.float64)}
    fixed, knobs = Quadratic.fixed(config), Quadratic.knobs(config)
    expected = Quadratic.loss(config, params, fixed, {}, knobs).objective.item()
    many = trial(batch_size=1_000_000, feature_prob=0.3, last_importance=0.5)
    batch = {name: x.double() for name, x in Quadratic.sample(many, 1).items()}
    assert Quadratic.loss(many, params, fixed, batch, knobs).objective.item() == pytest.approx(expected, rel=0.02)
    assert cf.expected_loss(params["w"].numpy(), 0.3, fixed["importance"].numpy(), 6.0) == pytest.approx(expected)


def test_engines_agree_on_the_expected_loss():
    config = trial(objective="expected", precision="fp64")
    other = trial(objective="expected", precision="fp64", feature_prob=0.05, lr=0.002, seed=4)
    together = VmappedEngine([other, config], "cpu").advance(100)
    for member, one in enumerate((other, config)):
        np.testing.assert_allclose(SoloEngine([one], "cpu").advance(100)[:, 0], together[:, member], rtol=1e-6)


def trained(configs):
    trainer = PackTrainer(configs, "cpu")
    for _ in trainer:
        pass
    return [result.metrics for result in trainer.results()]


def test_training_reaches_the_optimum():
    """A feature that is ignored, two that share, and one that has a dimension of its own."""
    low, high = cf.none_until(9, 6, 3), cf.full_from(9, 6, 3)
    values = [0.8 * low, 0.5 * (low + high), 1.0, 1.2 * high]
    shape = {"importance": 1.0, "feature_prob": 0.2, "objective": "expected", "n_steps": 1500, "lr": 0.02}
    found = trained([trial(**shape, last_importance=v) for v in values])
    assert [metrics["optimal_last_capacity"] for metrics in found][::3] == [0, 1]
    for metrics in found:
        assert metrics["capacity_error"] < 0.01
        assert metrics["last_capacity"] == pytest.approx(metrics["optimal_last_capacity"], abs=0.01)
        assert metrics["loss"] == pytest.approx(metrics["optimal_loss"], rel=0.005)
        assert metrics["optimal_loss"] <= metrics["expected_loss"] * (1 + 1e-6)
    assert [metrics["largest_block"] for metrics in found] == [5, 6, 6, 5]


# -- tables


def test_the_tables_and_metrics_of_known_weights():
    """Two features share a dimension, one has its own with the weight of its importance, one is not there."""
    config = trial(n_features=4, d_hidden=2, importance=1.0, last_importance=0.0, feature_prob=0.2)
    w = torch.tensor([[0.7, -0.7, 0, 0], [0, 0, 1.0, 0]], dtype=torch.float64)
    params, fixed = {"w": w, "bias": torch.tensor(1.0, dtype=torch.float64)}, Quadratic.fixed(config)
    tables = Quadratic.rows(config, params, fixed)
    features, blocks = tables["features"], tables["blocks"]
    assert features["importance"].tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(features["norm"], [0.7, 0.7, 1, 0])
    np.testing.assert_allclose(features["dimensionality"], [0.5, 0.5, 1, 0])
    assert features["block"].tolist() == [0, 0, 1, -1]
    assert (blocks["size"].tolist(), blocks["capacity"].tolist()) == ([2, 1], [pytest.approx(1), 1])
    found = Quadratic.metrics(config, params, fixed)
    assert (found["last_capacity"], found["n_blocks"], found["largest_block"]) == (0, 2, 2)
    assert found["optimal_last_capacity"] == 0 and found["capacity_sum"] == pytest.approx(2)
    # of three equal features each has 2/3 of a dimension at best
    assert found["capacity_error"] == pytest.approx(1 / 3)
    wrong = Quadratic.metrics(config, {**params, "w": w[:, [0, 1, 3, 2]]}, fixed)
    assert wrong["capacity_error"] == wrong["last_capacity"] == 1  # the one that does not count has the dimension
    # k = 9: 8 · 2 · (.49 - 1)² + 2 · 2 · .49² + (1 - 2 · .51)²
    assert found["expected_loss"] == pytest.approx(16 * 0.51**2 + 4 * 0.49**2 + 0.02**2)
    assert found["optimal_loss"] == pytest.approx(3 * 8 * 2 / 3 / (6 * 2 / 3 + 2))


def test_where_no_formula_is_known_there_is_none():
    (found,) = trained([trial(activation="relu", n_steps=4)])
    assert found["expected_loss"] is found["optimal_loss"] is found["capacity_error"] is None
    assert 0 <= found["last_capacity"] <= 1


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"feature_prob": 0}, r"feature_prob must lie in \(0, 1\]; got 0"),
        ({"last_importance": -1}, "last_importance must be 0 or more; got -1"),
        ({"objective": "expected", "activation": "gelu"}, "activation quadratic; got gelu; use objective samp"),
        ({"activation": "cubic"}, "activation must be one of quadratic, relu, gelu; got 'cubic'"),
        ({"d_hidden": 0}, "d_hidden must lie in 1"),
    ],
)  # fmt: skip
def test_bad_knobs_are_one_line(knobs, line):
    with pytest.raises(ConfigError, match=line):
        trial(**knobs)

"""The sparse stream against Bernoulli × uniform, by tests whose error rates are stated.

Seeds are fixed, so each test is deterministic; its bound is one that a correct sampler would break with
probability below 1e-6.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from monosweep.model.data import stream as features
from monosweep.model.data.stream import FeatureStream, Process
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.samples import embedding, stream_key, target_map

ALPHA = 1e-6


def config(**knobs):
    return TwoLayerConfig(**{"n_features": 20, "d_embed": 5, "n_neurons": 8, "batch_size": 50, **knobs})


def feature_probs(trial):
    return features.probabilities(trial.n_features, trial.feature_prob, trial.feature_dist)


def dense(trial, steps):
    stream = FeatureStream(stream_key(trial))
    return np.concatenate([stream.batch(s).dense() for s in range(1, steps + 1)])


CASES = [
    {"feature_prob": 1 / 64}, {"feature_prob": 0.1}, {"feature_prob": 0.6}, {"feature_prob": 0.995},
    {"feature_prob": 0.05, "feature_dist": "power_law"}, {"feature_prob": 0.4, "feature_dist": "power_law"},
]  # fmt: skip


@pytest.mark.parametrize("knobs", CASES)
def test_each_feature_is_present_with_its_probability(knobs):
    trial = config(**knobs)
    present = dense(trial, 400) > 0
    for count, prob in zip(present.sum(axis=0), feature_probs(trial), strict=True):
        assert stats.binomtest(int(count), len(present), float(prob)).pvalue > ALPHA / trial.n_features


@pytest.mark.parametrize("knobs", CASES)
def test_the_number_present_in_a_sample_is_a_sum_of_independent_bernoullis(knobs):
    trial = config(**knobs)
    counts = (dense(trial, 400) > 0).sum(axis=1)
    law = np.array([1.0])
    for prob in feature_probs(trial):
        law = np.convolve(law, [1 - prob, prob])
    observed = np.bincount(counts, minlength=len(law))
    enough = law * len(counts) >= 5
    observed = np.append(observed[enough], observed[~enough].sum())
    expected = np.append(law[enough], law[~enough].sum()) * len(counts)
    keep = expected > 0
    expected = expected[keep] * observed[keep].sum() / expected[keep].sum()
    assert stats.chisquare(observed[keep], expected).pvalue > ALPHA


@pytest.mark.parametrize("knobs", CASES)
def test_pairs_of_features_and_of_samples_are_independent(knobs):
    trial = config(**knobs)
    present = (dense(trial, 400) > 0).astype(float)
    probs = feature_probs(trial)
    z = present[:, probs < 1] - probs[probs < 1]
    z /= np.sqrt(probs[probs < 1] * (1 - probs[probs < 1]))
    bound = stats.norm.isf(ALPHA / z.shape[1] ** 2) / np.sqrt(len(z)) * 1.5  # 1.5 for the skew of rare pairs
    among_features = z.T @ z / len(z) - np.diag(np.mean(z**2, axis=0))
    assert np.abs(among_features).max() < bound
    for lag in (1, trial.batch_size):  # the next sample, the same place of the next step
        assert np.abs(z[lag:].T @ z[:-lag] / len(z)).max() < bound


@pytest.mark.parametrize("knobs", CASES)
def test_values_are_uniform_and_know_nothing_of_their_place(knobs):
    f = dense(config(**knobs), 400)
    values = f[f > 0]
    assert stats.kstest(values, "uniform").pvalue > ALPHA
    samples, features = np.nonzero(f)
    assert abs(stats.spearmanr(values, features).statistic) < 5 / np.sqrt(len(values))
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 5 / np.sqrt(len(values))
    assert abs(np.corrcoef(values[1:], np.diff(samples))[0, 1]) < 5 / np.sqrt(len(values))


def test_the_same_law_as_a_dense_draw():
    """Two-sample comparison with the paper's own recipe, drawn by another generator."""
    trial = config(feature_prob=0.15)
    ours = dense(trial, 400)
    rng = np.random.default_rng(7)
    theirs = rng.random(ours.shape) * (rng.random(ours.shape) < 0.15)
    for summary in (lambda f: f.sum(axis=1), lambda f: f.max(axis=1), lambda f: (f**2).sum(axis=1)):
        assert stats.ks_2samp(summary(ours), summary(theirs)).pvalue > ALPHA


def test_abs_draws_two_features_at_half_the_probability():
    trial = config(task="abs", feature_prob=0.4)
    f = dense(trial, 400)
    values = f.ravel()
    eps = 0.2
    assert stats.binomtest(int((values != 0).sum()), values.size, 1 - (1 - eps) ** 2).pvalue > ALPHA
    both = eps**2 / (1 - (1 - eps) ** 2)
    present = values[values != 0]

    def law(x):  # mixture of ±uniform and the triangular law of a difference
        triangle = np.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - np.minimum(x, 1)) ** 2 / 2)
        uniform = (np.clip(x, -1, 1) + 1) / 2
        return both * triangle + (1 - both) * uniform

    assert stats.kstest(present, law).pvalue > ALPHA


def test_probability_one_means_always():
    assert (dense(config(feature_prob=1.0), 3) >= 0).all()
    stream = FeatureStream(stream_key(config(feature_prob=1.0)))
    assert len(stream.batch(1).cells) == 20 * 50


def test_power_law_is_scaled_then_clipped():
    probs = feature_probs(config(feature_prob=0.05, feature_dist="power_law"))
    assert probs.mean() == pytest.approx(0.05)
    np.testing.assert_allclose(probs[1:] / probs[:-1], (np.arange(2, 21) / np.arange(1, 20)) ** -1.1)
    clipped = feature_probs(config(feature_prob=0.4, feature_dist="power_law"))
    assert clipped[0] == 1 and clipped.mean() < 0.4


@pytest.mark.parametrize("knobs", [{}, {"task": "abs"}, {"feature_dist": "power_law", "feature_prob": 0.4}])
def test_a_batch_is_a_pure_function_of_seed_and_step(knobs):
    trial = config(**knobs)
    forward = FeatureStream(stream_key(trial))
    batches = [forward.batch(s) for s in range(1, 600)]
    for step in (599, 1, 257, 256, 300):
        again = FeatureStream(stream_key(trial)).batch(step)
        np.testing.assert_array_equal(again.cells, batches[step - 1].cells)
        np.testing.assert_array_equal(again.values, batches[step - 1].values)
        assert (np.diff(again.cells) > 0).all()
    other = FeatureStream(stream_key(config(**knobs, seed=1))).batch(1)
    assert not np.array_equal(other.dense(), batches[0].dense())


NEVER, ALWAYS = {"feature_prob": 1e-9}, {"feature_prob": 1.0}


@pytest.mark.parametrize("knobs", [*CASES, NEVER, ALWAYS])
@pytest.mark.parametrize("enough", [True, False])
def test_the_first_steps_of_a_block_are_the_same_however_many_are_drawn(knobs, enough, monkeypatch):
    """Also where fewer points are drawn at first than it takes."""
    if not enough:
        monkeypatch.setattr(features, "capacity", lambda expected: 1 + int(expected / 2))
    process = Process(stream_key(config(**knobs)))
    cells, values = process.draw(3, 0, process.steps_per_block)
    for n_steps in (1, max(1, process.steps_per_block // 5), process.steps_per_block // 2):
        few = process.draw(3, 0, n_steps)
        n = np.searchsorted(cells, n_steps * 20 * 50)
        np.testing.assert_array_equal(few[0], cells[:n])
        np.testing.assert_array_equal(few[1], values[:n])


@pytest.mark.parametrize("task", ["decoder", "abs"])
def test_a_batch_does_not_depend_on_those_that_were_drawn_before_it(task):
    key = stream_key(config(feature_prob=0.02, task=task))
    one_by_one = FeatureStream(key)
    for step in range(1, 70):
        batch, alone = one_by_one.batch(step), FeatureStream(key).batch(step)
        np.testing.assert_array_equal(batch.cells, alone.cells)
        np.testing.assert_array_equal(batch.values, alone.values)


def test_stream_bits_are_pinned():
    """Rows in the world depend on these bits: a change here must be said in the changelog."""
    batch = FeatureStream(stream_key(config(feature_prob=0.1))).batch(3)
    assert batch.cells[:5].tolist() == [5, 7, 24, 25, 29]
    assert [round(float(v), 6) for v in batch.values[:3]] == [0.266049, 0.625592, 0.150733]


def test_embedding_has_unit_columns_and_is_a_scaled_projection():
    trial = config()
    p = embedding(trial)
    torch.testing.assert_close(torch.linalg.vector_norm(p, dim=0), torch.ones(20, dtype=torch.float64))
    assert torch.equal(p, embedding(trial))
    assert not torch.equal(p, target_map(trial))
    assert not torch.equal(p, embedding(config(seed=1)))
    # U has orthonormal columns, so undoing the row lengths must give them back: U = D·Pᵀ with UᵀU = 1.
    products = (p[:, None, :] * p[None, :, :]).reshape(25, 20)
    lengths = torch.linalg.lstsq(products, torch.eye(5).double().ravel()).solution
    u = p * lengths.clamp_min(0).sqrt()
    torch.testing.assert_close(u @ u.T, torch.eye(5).double(), atol=1e-8, rtol=0)

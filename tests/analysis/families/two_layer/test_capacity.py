"""Capacity against monosemanticity: of networks whose capacities are known, and what is drawn of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.families.two_layer.capacity import capacities, capacity, capacity_info, trial_of
from monosweep.analysis.figures.data import Data, Selection, load
from monosweep.analysis.tables.root import QueryError, open_root
from monosweep.model import geometry
from monosweep.model.families.two_layer.config import TwoLayerConfig

from ...conftest import Made, quick_trials


def test_capacities_are_those_of_the_model() -> None:
    random = np.random.default_rng(0)
    columns = random.normal(size=(5, 9)) * np.exp(random.normal(size=9))
    columns[:, 3] = 0
    expected = geometry.capacities(torch.from_numpy(columns)[None])[0].numpy()
    np.testing.assert_allclose(capacities(columns), expected, rtol=1e-12)
    assert capacities(columns)[3] == 0 and capacities(np.eye(4)).tolist() == [1] * 4


def network(bias: list[float], out: list[float]) -> dict[str, np.ndarray]:
    """P puts four features on two axes in pairs of opposites; four neurons have a direction each, and say it with
    weights `out`."""
    embedding = np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]])
    return {"w_in": embedding.T, "bias": np.array(bias), "embedding": embedding, "w_out": np.diag(out)}


def test_four_features_in_two_dimensions_have_one_each_once_neurons_tell_them_apart() -> None:
    config = TwoLayerConfig(n_features=4, d_embed=2, n_neurons=4, batch_size=1, n_steps=1)
    parted = trial_of(network([0, 0, 0, 0], [1, 1, 1, 1]), config, 0.9)
    assert (parted.mono_per_feature, parted.before, parted.after) == (1, pytest.approx(0.5), 1)
    assert parted.with_neuron.tolist() == [1, 1, 1, 1] and not len(parted.without)
    # the first two are biased to answer all, of which counts what is more or less than what they answer to nothing
    half = trial_of(network([1.5, 0.5, 0, 0], [1, 2, 1, 1]), config, 0.9)
    answers = np.array([[1, -1, 0, 0], [-1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    expected = [(a @ a) ** 2 / sum((a @ b) ** 2 for b in answers.T) for a in answers.T]
    assert half.mono_per_feature == 0.5
    np.testing.assert_allclose([*half.without, *half.with_neuron], expected)


def test_what_is_scaled_up_in_and_down_out_of_a_neuron_does_not_matter() -> None:
    config = TwoLayerConfig(n_features=4, d_embed=2, n_neurons=4, batch_size=1, n_steps=1)
    one = network([0.5, 0.2, 0, -0.1], [1, 2, 1, 1])
    factor = np.array([4.0, 0.1, 1, 7])
    other = {**one, "w_in": factor[:, None] * one["w_in"], "bias": factor * one["bias"], "w_out": one["w_out"] / factor}
    first, second = (trial_of(weights, config, 0.9) for weights in (one, other))
    assert (first.before, first.after) == (pytest.approx(second.before), pytest.approx(second.after))


@pytest.fixture
def data(quick: Made) -> Data:
    """As made by `quick`, all trials with weights."""
    quick.weights("quick", "p0", quick_trials("p0"))
    return load(open_root(str(quick.path)), Selection(), FAMILY)


def test_every_trial_with_weights_is_drawn(data: Data) -> None:
    info = capacity_info(data)
    assert info.linear_limits == [0.25] and sum(map(len, info.series.values())) >= 8
    for trials in info.series.values():
        for trial in trials:
            assert trial.before <= 0.25 + 1e-9 and len(trial.with_neuron) + len(trial.without) == 64
            assert trial.after == pytest.approx(np.concatenate([trial.with_neuron, trial.without]).mean())
    left, right = capacity(info).axes
    for i, trials in enumerate(info.series.values()):
        answers, inputs = left.collections[2 * i : 2 * i + 2]
        np.testing.assert_allclose(answers.get_offsets(), [(t.mono_per_feature, t.after) for t in trials])
        np.testing.assert_allclose(inputs.get_offsets(), [(t.mono_per_feature, t.before) for t in trials])
    owned = np.sort(np.concatenate([t.with_neuron for trials in info.series.values() for t in trials]))
    steps = right.get_lines()[0]
    np.testing.assert_allclose(steps.get_xdata(), [owned[0], *owned])
    np.testing.assert_allclose(steps.get_ydata(), np.arange(len(owned) + 1) / len(owned))


def test_a_network_without_weights_is_asked_for(made: Made) -> None:
    made.write("trials", "s", "p0", quick_trials("p0"))
    with pytest.raises(QueryError, match=r"no weights saved for trial .* `monosweep weights .*` trains it again"):
        capacity_info(load(open_root(str(made.path)), Selection(), FAMILY))


def test_few_of_many_are_said(data: Data, monkeypatch: Any) -> None:
    monkeypatch.setattr("monosweep.analysis.families.two_layer.capacity.MOST_TRIALS", 3)
    assert sum(map(len, capacity_info(data).series.values())) == 3
    (note,) = [note for note in data.notes if "capacity" in note]
    assert note.startswith("capacity shows 3 of ") and note.endswith("; choose with --where")

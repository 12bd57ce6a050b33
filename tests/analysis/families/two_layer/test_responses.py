"""Responses, r and display order against cases worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from monosweep.analysis.families.two_layer.responses import activate, displayed, monosemanticity, responses
from monosweep.model.families.two_layer.config import TwoLayerConfig

EYE = {"w_in": np.eye(3), "bias": np.array([0.0, -0.5, -2.0]), "embedding": np.eye(3)}


def config(**values: object) -> TwoLayerConfig:
    return TwoLayerConfig.from_dict({"n_features": 3, "d_embed": 3, "n_neurons": 3, "batch_size": 1, **values})


@pytest.mark.parametrize(
    ("name", "at_minus_one", "at_two"),
    [
        ("relu", 0.0, 2.0),
        ("gelu", -0.15865525393145707, 1.9544997361036416),
        ("solu", -math.exp(-1), 2 * math.exp(2)),
    ],
)
def test_activations(name: str, at_minus_one: float, at_two: float) -> None:
    answer = activate(name, np.array([-1.0, 0.0, 2.0]))
    np.testing.assert_allclose(answer, [at_minus_one, 0, at_two], rtol=1e-12)


def test_a_response_is_the_activation_of_one_feature_alone() -> None:
    np.testing.assert_allclose(responses(EYE, config()), [[1, 0, 0], [0, 0.5, 0], [0, 0, 0]])


def test_the_abs_task_adds_both_signs() -> None:
    weights = {
        "w_in": np.ones((2, 1)),
        "bias": np.array([0.0, 0.25]),
        "embedding": np.array([[1.0, -0.5]]),
    }
    np.testing.assert_allclose(responses(weights, config(task="abs")), [[1, 0.5], [1.25, 0.75]])


def test_r_is_the_largest_share() -> None:
    r = monosemanticity(np.array([[3.0, 1.0, -9.0], [2.0, 0.0, 0.0], [-1.0, 0.0, -2.0]]))
    np.testing.assert_allclose(r, [0.75, 1, 0], atol=1e-9)


def test_display_order() -> None:
    shown = displayed(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0], [3.0, 0.0, 0.0]]), threshold=0.999)
    assert shown.n_mono == 2
    # of two monosemantic neurons the stronger has the larger r, by the 1e-10 in its denominator
    assert shown.neurons.tolist() == [2, 1, 0]
    assert shown.features.tolist() == [0, 2, 1]
    np.testing.assert_array_equal(shown.response, [[3, 0, 0], [0, 2, 0], [1, 0, 1]])

"""Mechanism: networks made by hand whose answers are known, and a slow computation written differently."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from monosweep.analysis.families.two_layer.mechanism import amplitudes, kinks, line, linear_map, owners, part, split
from monosweep.model.families.two_layer.config import TwoLayerConfig

N, D = 6, 3


def config(**knobs: Any) -> TwoLayerConfig:
    sizes = {"n_features": N, "d_embed": D, "n_neurons": 5, "batch_size": 8, "n_steps": 8}
    return TwoLayerConfig.from_dict({**sizes, **knobs})


def by_hand() -> dict[str, np.ndarray]:
    """Three features on axes of their own and three that answer nothing.

    Neuron 0 reads feature 0 from strength .4 on; neurons 1 and 2 read feature 1, from .25 and .5 on; neuron 3
    passes everything on, thanks to its bias; neuron 4 never wakes.
    """
    embedding = np.hstack([np.eye(D), np.zeros((D, N - D))])
    w_in = np.array([[2.0, 0, 0], [0, 4, 0], [0, 1, 0], [0.1, 0.1, 0.1], [0.5, 0, 0]])
    bias = np.array([-0.8, -1.0, -0.5, 1.0, -9.0])
    w_out = np.zeros((N, 5))
    w_out[0, 0], w_out[1, 1], w_out[1, 2], w_out[2, 3] = 1.5, 1.0, 3.0, 0.5
    return {"w_in": w_in, "bias": bias, "w_out": w_out, "embedding": embedding}


def random_network(seed: int, **knobs: Any) -> tuple[dict[str, np.ndarray], TwoLayerConfig]:
    rng, made = np.random.default_rng(seed), config(**knobs)
    n_out = D if made.task == "reprojector" else N
    shapes = {"w_in": (5, D), "bias": (5,), "w_out": (n_out, 5), "embedding": (D, N), "target_map": (D, N)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}, made


def test_the_halves_are_the_signs_of_the_bias() -> None:
    halves = split(by_hand())
    assert halves.positive.tolist() == [False, False, False, True, False]
    assert (halves.positive ^ halves.negative).all()
    assert part(by_hand(), halves.positive)["w_out"].shape == (N, 1)


def test_amplitudes_of_one_and_of_two_neurons_are_the_lines_they_were_made_of() -> None:
    strengths = np.array([0.0, 0.4, 0.5, 1.0])
    found = amplitudes(part(by_hand(), split(by_hand()).negative), config(), strengths)
    np.testing.assert_allclose(found[:, 0], [0, 0, 0.3, 1.8], atol=1e-12)
    np.testing.assert_allclose(found[:, 1], [0, 0.6, 1.0, 4.5], atol=1e-12)
    assert not found[:, 2:].any()


def test_kinks_are_where_neurons_wake() -> None:
    made = by_hand()
    assert owners(made, config())[:3] == [[0], [1, 2], []]
    np.testing.assert_allclose(kinks(made, config())[0], [0.4])
    np.testing.assert_allclose(kinks(made, config())[1], [0.25, 0.5])
    assert len(kinks(made, config())[2]) == 0
    awake = {**made, "bias": np.array([0.8, -1.0, -0.5, 1.0, -9.0]), "w_in": made["w_in"].copy()}
    awake["w_in"][0] = [2, -2, -2]
    hidden = {**awake, "embedding": np.hstack([np.eye(D), -np.ones((D, N - D))])}
    assert all((found >= 0).all() for found in kinks(hidden, config()))


def test_a_kink_of_the_abs_task_may_lie_on_the_negative_side() -> None:
    made = by_hand()
    made["w_in"] = -made["w_in"]
    np.testing.assert_allclose(kinks(made, config(task="abs"))[0], [0.4])


def test_the_linear_map_of_a_projection_is_that_projection() -> None:
    """Neurons that pass each direction on, far from their kink: singular values 1, and no constant left."""
    rng = np.random.default_rng(0)
    u = np.linalg.svd(rng.normal(size=(N, D)), full_matrices=False)[0]
    w_in = np.vstack([np.eye(D), -np.eye(D)[:2]])
    w_out = np.hstack([u, np.zeros((N, 2))])
    network = {"w_in": w_in, "bias": np.array([5, 5, 5, -1, -1.0]), "w_out": w_out, "embedding": u.T}
    found = linear_map(network)
    np.testing.assert_allclose(found.matrix, u @ u.T, atol=1e-12)
    np.testing.assert_allclose(found.singular_values, [1] * D + [0] * (N - D), atol=1e-12)
    assert found.rank == D
    np.testing.assert_allclose(found.constant, 5 * u.sum(axis=1))
    whole = line(amplitudes(part(network, split(network).positive), config()))
    np.testing.assert_allclose(whole.slope, np.diag(u @ u.T), atol=1e-12)
    np.testing.assert_allclose(whole.intercept, found.constant, atol=1e-12)


def test_without_positive_biases_the_map_is_zero() -> None:
    network = {**by_hand(), "bias": np.full(5, -1.0)}
    assert linear_map(network).rank == 0 and not linear_map(network).constant.any()


SLOW: dict[str, Callable[[float], float]] = {
    "relu": lambda e: e if e > 0 else 0.0,
    "gelu": lambda e: e * (1 + math.erf(e / math.sqrt(2))) / 2,
    "solu": lambda e: e * math.exp(e),
}


@pytest.mark.parametrize("activation", SLOW)
@pytest.mark.parametrize("task", ["decoder", "reprojector", "abs"])
def test_amplitudes_against_a_loop_over_neurons(task: str, activation: str) -> None:
    network, made = random_network(3, task=task, activation=activation)
    strengths = np.array([-0.7, 0.0, 0.3, 1.0])
    found = amplitudes(network, made, strengths)
    for i, a in enumerate(strengths):
        for j in range(N):
            outputs = [0.0] * len(network["w_out"])
            for k in range(5):
                drive = sum(float(network["w_in"][k, m]) * a * float(network["embedding"][m, j]) for m in range(D))
                answer = SLOW[activation](drive + float(network["bias"][k]))
                for o in range(len(outputs)):
                    outputs[o] += float(network["w_out"][o, k]) * answer
            if task == "reprojector":
                expected = sum(outputs[m] * float(network["target_map"][m, j]) for m in range(D))
            else:
                expected = outputs[j]
            assert found[i, j] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_lines_against_numpys_own_fit() -> None:
    rng = np.random.default_rng(1)
    strengths, response = np.linspace(0, 1, 17), rng.normal(size=(17, 4))
    found = line(response, strengths)
    for j in range(4):
        slope, intercept = np.polyfit(strengths, response[:, j], 1)
        assert (found.slope[j], found.intercept[j]) == (pytest.approx(slope), pytest.approx(intercept))


def test_the_halves_add_up_to_the_whole() -> None:
    network, made = random_network(5)
    halves = split(network)
    together = sum(amplitudes(part(network, half), made) for half in (halves.positive, halves.negative))
    np.testing.assert_allclose(together, amplitudes(network, made), atol=1e-12)

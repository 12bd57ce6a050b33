"""The size of a GPU's packs: the choice, what is asked for it, and that it is asked once; nothing about time."""

import math

import pytest
import torch

from monosweep.model.engines.gpu import pack_size
from monosweep.model.engines.gpu.pack_size import cheapest, step_s, useful_pack_size
from monosweep.model.families.two_layer.config import TwoLayerConfig

SHAPE = {"n_features": 8, "d_embed": 4, "n_neurons": 8, "batch_size": 4, "n_steps": 16}


def trials(n, **knobs):
    return [TwoLayerConfig(**{**SHAPE, **knobs}, seed=seed) for seed in range(n)]


@pytest.fixture
def timed(monkeypatch):
    """Sizes that are timed; a step takes 1 s and 10 ms for each member."""
    found = []
    monkeypatch.setattr(pack_size, "_measured", {})
    monkeypatch.setattr(
        pack_size, "step_s", lambda configs, device: (found.append(len(configs)), 1 + len(configs) / 100)[1]
    )
    return found


@pytest.mark.parametrize(
    ("seconds", "size"),
    [
        ((1, 1, 1, 1), 512), ((1, 4, 16, 64), 8), ((1, 2, 7.7, 1), 32), ((1, 2, 7.6, 29), 128),
        ((1, 1, 1, math.inf), 128), ((math.inf,) * 4, 8),
    ],
)  # fmt: skip
def test_the_smallest_size_close_to_the_best(seconds, size):
    assert cheapest((8, 32, 128, 512), dict(zip((8, 32, 128, 512), seconds, strict=True)).__getitem__) == size


@pytest.mark.parametrize(
    ("n", "fits", "sizes", "chosen"),
    [
        (1000, 10**6, [8, 32, 128, 512], 512), (200, 10**6, [8, 32, 128, 200], 200), (1000, 40, [8, 32, 40], 40),
        (32, 100, [8, 32], 32), (8, 100, [], 8), (100, 1, [], 1),
    ],
)  # fmt: skip
def test_no_size_is_tried_that_does_not_fit_or_has_no_trials(timed, n, fits, sizes, chosen):
    assert useful_pack_size(trials(n), fits, "cpu") == chosen
    assert timed == sizes


def test_a_shape_is_measured_once(timed):
    assert useful_pack_size(trials(100), 100, "cpu") == useful_pack_size(trials(100, lr=0.1), 100, "cpu")
    assert timed == [8, 32, 100]
    useful_pack_size(trials(100, n_neurons=9), 100, "cpu")
    assert timed == [8, 32, 100] * 2


def test_a_step_is_timed_even_of_trials_shorter_than_the_timing():
    assert 0 < step_s(trials(3), "cpu") < 60


def test_a_pack_that_does_not_fit_after_all_is_no_error(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(pack_size, "StackedEngine", full)
    assert step_s(trials(3), "cpu") == math.inf

"""Samples drawn by torch against those that numpy draws: the same cells and the same values."""

import numpy as np
import pytest
import torch

from monosweep.model.data.stream import FeatureStream
from monosweep.model.engines.gpu.sampling import DeviceStreams
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.samples import stream_key

KNOBS = [
    {"feature_prob": 1 / 64}, {"feature_prob": 0.1}, {"feature_prob": 0.995}, {"feature_prob": 1.0},
    {"feature_prob": 0.05, "feature_dist": "power_law"}, {"feature_prob": 0.4, "feature_dist": "power_law"},
    {"feature_prob": 1.0, "feature_dist": "power_law"},
]  # fmt: skip
SEEDS = (0, 3, 2**62 + 5)


def keys_of(seeds=SEEDS, **knobs):
    shape = {"n_features": 20, "d_embed": 5, "n_neurons": 8, "batch_size": 50}
    return [stream_key(TwoLayerConfig(**{**shape, **knobs}, seed=seed)) for seed in seeds]


def filled(streams, keys, spare=1):
    dense = torch.zeros(len(keys), keys[0].batch_size * keys[0].n_features + spare)
    streams.fill(dense)
    assert not dense[:, -spare:].any()
    return dense[:, :-spare].numpy()


def same_as_numpys(streams, keys, hosts, step):
    for ours, host in zip(filled(streams, keys), hosts, strict=True):
        np.testing.assert_array_equal(ours, host.batch(step).dense().ravel())


@pytest.mark.parametrize("task", ["decoder", "abs"])
@pytest.mark.parametrize("knobs", KNOBS)
def test_cells_and_values_are_the_hosts(knobs, task):
    keys = keys_of(task=task, **knobs)
    streams, hosts = DeviceStreams(keys, torch.float32, "cpu"), [FeatureStream(key) for key in keys]
    ahead = streams.steps_ahead
    for first in (1, ahead - 1, 7 * ahead + 3):
        streams.seek(first)
        for step in range(first, first + 5):
            if step > first and (step - 1) % ahead == 0:
                streams.seek(step)
            same_as_numpys(streams, keys, hosts, step)


@pytest.mark.parametrize(
    "shape", [{"n_features": 1, "d_embed": 1, "batch_size": 1}, {"n_features": 300, "batch_size": 700}]
)
def test_very_small_and_large_steps(shape):
    keys = keys_of(seeds=(5,), feature_prob=0.25, **shape)
    streams, hosts = DeviceStreams(keys, torch.float32, "cpu"), [FeatureStream(key) for key in keys]
    for step in (1, 2, 700):
        streams.seek(step)
        same_as_numpys(streams, keys, hosts, step)


def test_a_whole_draw_has_the_hosts_cells():
    """20,000 arrivals a stream: none lies so near the edge of a cell that the libraries' logarithms disagree."""
    keys = keys_of(feature_prob=0.3, n_features=64, batch_size=32)
    streams, hosts = DeviceStreams(keys, torch.float64, "cpu"), [FeatureStream(key) for key in keys]
    streams.seek(1)
    dense = torch.zeros(len(keys), 64 * 32 + 1, dtype=torch.float64)
    for step in range(1, 33):
        streams.fill(dense.zero_())
        for ours, host in zip(dense[:, :-1].numpy(), hosts, strict=True):
            np.testing.assert_array_equal(ours, host.batch(step).dense().ravel())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("knobs", KNOBS)
def test_a_gpu_draws_the_hosts_samples(knobs):
    keys = keys_of(**knobs)
    streams, hosts = DeviceStreams(keys, torch.float32, "cuda"), [FeatureStream(key) for key in keys]
    streams.seek(1)
    for step in range(1, 9):
        dense = torch.zeros(len(keys), 20 * 50 + 1, device="cuda")
        streams.fill(dense)
        for ours, host in zip(dense[:, :-1].cpu().numpy(), hosts, strict=True):
            np.testing.assert_array_equal(ours, host.batch(step).dense().ravel())

"""What samples cost to draw on a GPU: launches and bytes, counted on the meta device; the values are the host's."""

import numpy as np
import pytest
import torch

from monosweep.model.config import shape_of
from monosweep.model.data.stream import FeatureStream
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.gpu.sampling import DeviceStreams, HostStreams
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.samples import stream_key
from monosweep.sweep.spec.sweep_spec import expand, load_spec, preset_names

from .packs import GROUP, Operations, groups_of, watched_kernels

KNOBS = [
    {"feature_prob": 1 / 64}, {"feature_prob": 0.995}, {"feature_prob": 1.0},
    {"feature_prob": 0.4, "feature_dist": "power_law"}, {"feature_prob": 1.0, "feature_dist": "power_law"},
]  # fmt: skip
MOST = 512
"""Members of the largest packs."""


def engine_of(configs, monkeypatch):
    """On the meta device, and a list of its kernels' launches: name, grid, and bytes of all that they are given."""
    pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
    launches = []
    watched_kernels(monkeypatch, launches)
    return StackedEngine(configs, "meta"), launches


def paper_packs():
    """The largest pack of each shape of each batch of the paper; of those that are alike, one."""
    found = {}
    for name in preset_names():
        if name.startswith("paper/"):
            for config in expand(load_spec(name)):
                found.setdefault((name, *shape_of(config)), []).append(config)
    alike = {}
    for configs in found.values():
        keys = [stream_key(config) for config in configs[:MOST]]
        alike.setdefault((len(configs), frozenset(keys), configs[0].d_embed), configs[:MOST])
    return sorted(alike.values(), key=len)


def test_a_draw_is_four_launches_and_few_bytes_for_every_preset_of_the_paper(monkeypatch):
    """Whatever the streams' probabilities, and however many they are; that of a step, a zeroing and a launch."""
    packs = paper_packs()
    assert len(packs) > 20 and max(len({config.feature_prob for config in pack}) for pack in packs) > 8
    for configs in packs:
        engine, launches = engine_of(configs, monkeypatch)
        streams = engine._samples.streams
        streams.draw()
        assert [name for name, *_ in launches] == ["_count", "_cells", "_edges"]
        drawn = streams._cells.numel()
        assert sum(n_bytes for *_, n_bytes in launches) < 26 * drawn + 10**6 + 2 * streams._ends.nbytes
        assert drawn * 12 < 4e9, "what is drawn ahead takes a twentieth of a GPU"
        launches.clear()
        engine._samples.fill()
        assert [name for name, *_ in launches] == ["_fill"]


@pytest.mark.parametrize("knobs", [{}, {"task": "abs"}, {"precision": "bf16"}, {"bias_decay_mode": "per_neuron"}])
def test_a_step_is_few_launches_however_many_members_it_has(knobs, monkeypatch):
    groups_of(GROUP, monkeypatch)
    counts = set()
    for n in (2, 64):
        configs = [TwoLayerConfig(n_features=16, d_embed=4, n_neurons=8, batch_size=8, n_steps=64, seed=i, **knobs)
                   for i in range(n)]  # fmt: skip
        engine, launches = engine_of(configs, monkeypatch)
        launches.clear()
        with Operations() as torchs:
            engine._one_step()
        counts.add(len(launches) + torchs.launches)
    assert len(counts) == 1 and counts.pop() <= 36


@pytest.mark.parametrize("task", ["decoder", "abs"])
def test_numpys_samples_for_tensors_on_a_cpu(task):
    keys = [stream_key(TwoLayerConfig(n_features=20, d_embed=5, batch_size=9, seed=seed, task=task, feature_prob=0.3))
            for seed in (0, 3)]  # fmt: skip
    streams, hosts = HostStreams(keys), [FeatureStream(key) for key in keys]
    streams.put(0, keys[0], 4), streams.put(1, keys[1], 70)
    for step in range(3):
        streams.draw()
        dense = torch.zeros(2, 9, 24)
        streams.fill(dense)
        for place, done in ((0, 4), (1, 70)):
            np.testing.assert_array_equal(dense[place, :, :20].numpy(), hosts[place].batch(done + step + 1).dense())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("task", ["decoder", "abs"])
def test_a_gpu_draws_the_hosts_samples(task):
    shape = {"n_features": 20, "d_embed": 5, "n_neurons": 8, "batch_size": 50, "task": task}
    keys = [stream_key(TwoLayerConfig(**shape, **knobs, seed=i)) for i, knobs in enumerate(KNOBS)]
    streams, hosts = DeviceStreams(keys, torch.float32, "cuda"), [FeatureStream(key) for key in keys]
    for place, key in enumerate(keys):
        streams.put(place, key, 250 + place)
    for step in range(9):
        streams.draw()
        dense = torch.zeros(len(keys), 50, 24, device="cuda")
        streams.fill(dense)
        for place, host in enumerate(hosts):
            np.testing.assert_array_equal(dense[place, :, :20].cpu().numpy(), host.batch(251 + place + step).dense())

"""Packs on GPUs: how large, and shares that Ray can place and that leave every pack its memory."""

import pytest

from monosweep.model import device
from monosweep.model.engines.gpu import pack_size
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.executors import site as sites
from monosweep.sweep.executors.tune import resources
from monosweep.sweep.plan.options import LaunchOptions
from monosweep.sweep.plan.packs import make_packs


@pytest.mark.parametrize("packs_per_gpu", [1, 2, 3, 7, 64])
def test_a_gpu_holds_all_its_packs(packs_per_gpu):
    share = resources("cuda", packs_per_gpu)["gpu"]
    assert 0.99 < share * packs_per_gpu <= 1
    assert share * 10_000 == pytest.approx(round(share * 10_000))


def test_a_pack_on_a_cpu_asks_for_no_gpu():
    assert resources("cpu", 1) == {"cpu": 1, "gpu": 0}


@pytest.mark.parametrize(("dry_run", "sizes", "asked"), [(False, [20, 20, 20], [60]), (True, [60], [])])
def test_packs_are_as_large_as_the_gpu_says_unless_nothing_is_to_be_trained(monkeypatch, dry_run, sizes, asked):
    calls = []
    monkeypatch.setattr(device, "resolve", lambda name: "cuda")
    monkeypatch.setattr(sites, "n_gpus", lambda: 1)
    monkeypatch.setattr(sites, "gpu_memory", lambda: 80 * 10**9)
    monkeypatch.setattr(pack_size, "useful_pack_size", lambda group, fits, on: (calls.append(len(group)), 20)[1])
    site, _ = sites._here(LaunchOptions(executor="inline", device="cuda", dry_run=dry_run))
    trials = [TwoLayerConfig(n_features=8, d_embed=4, n_neurons=8, batch_size=8, n_steps=8, seed=s) for s in range(60)]
    packs = make_packs(
        trials, pack_size="auto", n_workers=site.n_workers, memory_bytes=site.memory_bytes,
        footprint=lambda config: (10**9, 10**6), useful=site.useful,
    )  # fmt: skip
    assert [len(pack.configs) for pack in packs] == sizes
    assert calls == asked


def test_a_cpu_is_not_asked():
    site, packs_per_gpu = sites._here(LaunchOptions(executor="inline", device="cpu"))
    assert (site.useful, packs_per_gpu) == (None, 1)

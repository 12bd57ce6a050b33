"""Packs on GPUs: how large, and shares that Ray can place and that leave every pack its memory."""

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from monosweep.model import device
from monosweep.model.config import UserError
from monosweep.model.engines.gpu import pack_size
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.executors import connect, inline, tune
from monosweep.sweep.executors import site as sites
from monosweep.sweep.executors.tune import resources
from monosweep.sweep.plan import machine
from monosweep.sweep.plan.options import LaunchOptions
from monosweep.sweep.plan.packs import Pack, make_packs
from monosweep.sweep.work.contract import Settings, Work


@pytest.mark.parametrize("packs_per_gpu", [1, 2, 3, 7, 64])
def test_a_gpu_holds_all_its_packs(packs_per_gpu):
    share = resources("cuda", packs_per_gpu)["GPU"]
    assert 0.99 < share * packs_per_gpu <= 1
    assert share * 10_000 == pytest.approx(round(share * 10_000))


def test_a_pack_on_a_cpu_asks_for_no_gpu():
    assert resources("cpu", 1) == {"CPU": 1, "GPU": 0}


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


def test_inline_workers_share_all_gpus(monkeypatch):
    monkeypatch.setattr(device, "resolve", lambda name: "cuda")
    monkeypatch.setattr(sites, "n_gpus", lambda: 2)
    monkeypatch.setattr(inline, "n_gpus", lambda: 2)
    monkeypatch.setattr(sites, "gpu_memory", lambda: 80 * 10**9)
    site, _ = sites._here(LaunchOptions(executor="inline", device="cuda", workers=3))
    assert (site.n_workers, site.memory_bytes) == (3, 3 * 40 * 10**9)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    work = Work(store=None, sweep="s", settings=Settings(device="cuda"), n_workers=3)
    assert inline._places(work) == ["GPU 0", "GPU 1", "GPU 0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert inline._places(work) == ["GPU 5", "GPU 7", "GPU 5"]
    assert inline._places(replace(work, settings=Settings())) == ["this machine"] * 3


@pytest.mark.parametrize(("workers", "packs_per_gpu"), [(None, 1), (2, 1), (5, 3)])
def test_packs_share_a_clusters_gpus(monkeypatch, workers, packs_per_gpu):
    cluster = SimpleNamespace(n_gpus=2, n_cpus=8, memory_per_cpu=10**9)
    monkeypatch.setattr(connect, "free_on_a_worker", lambda *asked: 90 * 10**9)
    options = LaunchOptions(device="cuda", workers=workers, address="there")
    site, sharing = sites._there(options, cluster, lambda: False, print)
    assert (site.n_workers, sharing) == (workers or 2, packs_per_gpu)
    assert site.memory_bytes == site.n_workers * (90 * 10**9 // packs_per_gpu)


def test_packs_tell_ray_what_memory_they_need():
    small, large = (TwoLayerConfig(n_features=8, d_embed=4, n_neurons=n, n_steps=8, batch_size=8) for n in (8, 65536))
    cluster = SimpleNamespace(largest_memory=2**36)
    least, most = (tune._memory(cluster, "cpu", Pack((config,) * 64)) for config in (small, large))
    assert 2**29 <= least < most < 2**36 and least % tune._MEMORY_UNIT == 0
    assert tune._memory(SimpleNamespace(largest_memory=2**30), "cpu", Pack((large,) * 64)) == 2**30
    assert tune._memory(cluster, "cuda", Pack((small,))) == 0


def test_another_process_asks_the_gpu():
    assert machine.asked_apart(os.getpid) != os.getpid()
    with pytest.raises(UserError, match=r"GPUs must answer; asked, one said .*invalid literal"):
        machine.asked_apart(int, "no number")

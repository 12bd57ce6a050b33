"""What this machine has, and what of it each worker gets."""

from __future__ import annotations

import os

import pytest

from monosweep.sweep.plan.machine import free_memory, gpu_shares, n_cores


def test_what_the_machine_has() -> None:
    assert 1 <= n_cores() <= (os.cpu_count() or 1)
    assert 2**24 < free_memory() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("n_workers", "n_gpus", "packs_per_gpu"), [(1, 1, 1), (8, 8, 1), (1, 4, 1), (2, 1, 2), (3, 2, 2), (9, 4, 3)]
)
def test_workers_beyond_the_gpus_share_them(n_workers: int, n_gpus: int, packs_per_gpu: int) -> None:
    sharing, memory = gpu_shares(n_workers, n_gpus, 80 * 10**9)
    assert sharing == packs_per_gpu
    assert memory / n_workers <= 80 * 10**9 / sharing

"""Several packs on one GPU: shares that Ray can place and that leave every pack its memory."""

import pytest

from sweep.executors.ray import resources
from sweep.launch import gpu_shares


@pytest.mark.parametrize(
    ("n_workers", "n_gpus", "packs_per_gpu"), [(1, 1, 1), (8, 8, 1), (1, 4, 1), (2, 1, 2), (3, 2, 2), (9, 4, 3)]
)
def test_workers_beyond_the_gpus_share_them(n_workers, n_gpus, packs_per_gpu):
    sharing, memory = gpu_shares(n_workers, n_gpus, 80 * 10**9)
    assert sharing == packs_per_gpu
    assert memory / n_workers <= 80 * 10**9 / sharing


@pytest.mark.parametrize("packs_per_gpu", [1, 2, 3, 7, 64])
def test_a_gpu_holds_all_its_packs(packs_per_gpu):
    share = resources("cuda", packs_per_gpu)["gpu"]
    assert 0.99 < share * packs_per_gpu <= 1
    assert share * 10_000 == pytest.approx(round(share * 10_000))


def test_a_pack_on_a_cpu_asks_for_no_gpu():
    assert resources("cpu", 1) == {"cpu": 1, "gpu": 0}

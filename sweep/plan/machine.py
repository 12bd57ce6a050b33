"""What this machine has: cores, free memory, GPUs.  Torch is imported only where it has to be asked."""

from __future__ import annotations

import math
import os
import sys
from contextlib import suppress
from pathlib import Path

from monosweep.sweep.plan import cgroups

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""One of them is there wherever torch finds a GPU on Linux: NVIDIA's driver, Jetson's, that of Windows, AMD's."""


def n_cores() -> int:
    """Cores that this process may use: those that it may run on, or as many as its quota of time is worth."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, math.ceil(cgroups.cores() or there))


def free_memory() -> int:
    """Bytes that this process may still take: the machine's, or its control groups' where that is less."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError):  # not this kind of system
        lines = Path("/proc/meminfo").read_text().splitlines()
        free += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    allowed = cgroups.free_memory()
    return min(free) if allowed is None else min(*free, allowed)


def n_gpus() -> int:
    """GPUs that torch sees."""
    import torch  # heavy, and not needed on a CPU

    return torch.cuda.device_count()


def gpu_memory() -> int:
    """Bytes that are free on that of this machine's GPUs which has least; on a cluster the others are taken to be
    alike."""
    import torch  # heavy, and not needed on a CPU

    return min(int(torch.cuda.mem_get_info(gpu)[0]) for gpu in range(n_gpus()))


def gpu_shares(n_workers: int, n_gpus: int, gpu_bytes: int) -> tuple[int, int]:
    """How many packs train on a GPU at a time where workers outnumber GPUs, and bytes for all workers together.

    >>> gpu_shares(3, 2, 80)
    (2, 120)
    """
    sharing = -(-n_workers // n_gpus)
    return sharing, n_workers * (gpu_bytes // sharing)


def device_named(name: str) -> str:
    """`model.device.resolve`, without waiting for torch where it could find no GPU."""
    if name == "cpu" or (name == "auto" and sys.platform == "linux" and not any(map(os.path.exists, _GPU_DRIVERS))):
        return "cpu"
    from monosweep.model.device import resolve  # torch

    return resolve(name)

"""What this machine has: cores, free memory, GPUs.  Torch is imported only where it has to be asked."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from monosweep.model.config import UserError
from monosweep.sweep.plan import cgroups

_GPU_DRIVERS = ("/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""One of them is there wherever torch finds a GPU on Linux: NVIDIA's driver, Jetson's, that of Windows, AMD's."""
_ANSWER = "import pickle, sys; question, about = pickle.load(sys.stdin.buffer); print(question(*about))"


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


def total_memory(device: str) -> int:
    """Bytes that one process could have at most, if nothing else were here."""
    if device == "cuda":
        import torch  # heavy, and not needed on a CPU

        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(there, cgroups.memory_limit() or there)


def n_gpus() -> int:
    """GPUs that torch sees."""
    import torch  # heavy, and not needed on a CPU

    return torch.cuda.device_count()


def gpu_memory() -> int:
    """Bytes that are free on that of this machine's GPUs which has least; on a cluster the others are taken to be
    alike."""
    return asked_apart(_least_free)


def _least_free() -> int:
    import torch  # heavy, and not needed on a CPU

    return min(int(torch.cuda.mem_get_info(gpu)[0]) for gpu in range(n_gpus()))


def asked_apart(question: Callable[..., int], *about: Any) -> int:
    """`question(*about)`, answered by a process of its own: who asks a GPU takes some hundred MB of it until it ends.

    Raises:
        UserError: if there is no answer.
    """
    done = subprocess.run(
        [sys.executable, "-c", _ANSWER], input=pickle.dumps((question, about)), capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    if done.returncode == 0:
        return int(done.stdout.split()[-1])
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    problem = lines[-1] if lines else f"exit code {done.returncode}"
    raise UserError(f"this machine's GPUs must answer; asked, one said {problem}; see nvidia-smi, or use --device cpu")


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

"""Which processor trains, what it is called, and the settings under which its bits are reproducible."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from monosweep.model.config import ConfigError
from monosweep.model.engines.cpu import gemm
from monosweep.model.processor import processor_name


def resolve(device: str) -> str:
    """`auto` as `cuda` where a GPU is usable, else `cpu`; other names are checked.

    Raises:
        ConfigError: if the device is unknown or not on this machine.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ConfigError(f"device must be auto, cpu or cuda; got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda needs a usable NVIDIA GPU, and torch finds none; use --device cpu")
    return device


def device_name(device: str) -> str:
    """The GPU's name, such as `NVIDIA H100 80GB HBM3`, or the processor's with the kernels that multiply on it."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{processor_name()} ({gemm.kernels()})"


def compute(device: str) -> None:
    """Have a GPU compute something small, so that one that cannot is found out; a CPU needs no asking.

    Raises:
        Exception: whatever torch and its driver have to say.
    """
    if resolve(device) == "cuda":
        here = torch.ones(16, 16, device="cuda")
        if float((here @ here).sum()) != 16.0**3:
            raise RuntimeError("CUDA error: a product of two matrices of ones is wrong")


@contextmanager
def reproducible(device: str) -> Iterator[None]:
    """Settings for bit-reproducible arithmetic inside the block; the thread count is restored after it.

    On a CPU: one thread, because the bits of a matrix product depend on how many share it, and denormals
    flushed to zero, because moments of silent neurons decay into them and slow every later step.
    """
    if device != "cpu":
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)

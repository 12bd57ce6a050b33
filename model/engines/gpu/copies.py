"""Copies between the host and a GPU that wait for as little as they can; on a CPU's tensors, plain copies."""

from __future__ import annotations

import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor


def send(values: Float64[ndarray, "steps pack"], out: Tensor) -> None:
    """Copy to the device without waiting for it."""
    host = torch.from_numpy(values).to(out.dtype)
    out.copy_(host.pin_memory() if out.is_cuda else host, non_blocking=True)


def aside(values: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """A copy in the host's memory that nothing waits for, and the event of its arrival; as it is on a CPU."""
    if not values.is_cuda:
        return values, None
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)
    values.record_stream(side)
    return host, side.record_event()


def to_host(tensors: tuple[Tensor, ...] | list[Tensor]) -> list[Tensor]:
    """Copies in the host's memory; all of them are on their way before one wait."""
    on_gpu = tensors[0].is_cuda
    copies = [torch.empty(t.shape, dtype=t.dtype, pin_memory=on_gpu).copy_(t, non_blocking=True) for t in tensors]
    if on_gpu:
        torch.cuda.current_stream().synchronize()
    return copies

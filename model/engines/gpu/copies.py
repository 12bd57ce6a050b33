"""Copies between the host and a GPU that wait for as little as they can; on a CPU's tensors, plain copies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Arriving:
    """A copy on its way to the host."""

    host: Tensor
    event: torch.cuda.Event | None

    def numpy(self) -> Float64[ndarray, "*shape"]:
        """The values, once they are there."""
        if self.event is not None:
            self.event.synchronize()
        return self.host.numpy().astype(np.float64)


def send(values: Float64[ndarray, "*shape"], out: Tensor) -> None:
    """Copy to the device without waiting for it."""
    host = torch.from_numpy(values).to(out.dtype)
    out.copy_(host.pin_memory() if out.is_cuda else host, non_blocking=True)


def leave(values: Tensor) -> Arriving:
    """Copy to the host without waiting for it; what is done next on the device waits for the copy only."""
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=values.is_cuda, device=_host_of(values))
    host.copy_(values, non_blocking=True)
    return Arriving(host, mark(values.is_cuda))


def mark(on_gpu: bool) -> torch.cuda.Event | None:
    """When what has been asked of the device until now is done."""
    return torch.cuda.current_stream().record_event() if on_gpu else None


@cache
def side_stream() -> torch.cuda.Stream:
    """The one stream beside that which trains: the matrix library keeps a workspace for every stream that it has seen,
    32 MiB on an H100, until the process ends."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


@contextmanager
def aside(after: torch.cuda.Event | None) -> Iterator[None]:
    """Whatever the block asks of the device waits for an event and for nothing that was asked since, and is done at the
    block's end."""
    if after is None:
        yield
        return
    side = side_stream()
    side.wait_event(after)
    with torch.cuda.stream(side):
        yield
    side.synchronize()


def to_host(values: Tensor) -> Tensor:
    """A copy in the host's memory."""
    return torch.empty(values.shape, dtype=values.dtype, device=_host_of(values)).copy_(values)


def _host_of(values: Tensor) -> str:
    return "meta" if values.is_meta else "cpu"

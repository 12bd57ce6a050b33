"""CUDA graphs: what a GPU does in one step, recorded once and replayed without Python.

A replay repeats the recorded kernels on the recorded addresses, so a recorded function takes nothing, returns nothing,
works on buffers that stay where they are, and never waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

WARM_UPS = 2
"""Runs before the recording, in which libraries allocate and choose their kernels."""


class Captured:
    """A function of fixed buffers: called as it is until it is recorded, replayed after that."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function
        self._replay = function

    def __call__(self) -> None:
        self._replay()

    @property
    def captured(self) -> bool:
        """Whether it is replayed."""
        return self._replay is not self.function

    def capture(self, pool: Any) -> None:
        """Record the function; it must have been run before."""
        self._replay = record(self.function, pool)


def capture(calls: Sequence[Captured]) -> None:
    """Record functions that never run at the same time; what they work on is as a few runs of each leave it.

    Raises:
        RuntimeError: if the device cannot record them.
    """
    warm_up(calls)
    pool = new_pool()
    for call in calls:
        call.capture(pool)


def warm_up(calls: Sequence[Captured]) -> None:
    """Run what is to be recorded, beside the stream that goes on."""
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in [*calls] * WARM_UPS:
            call.function()
    torch.cuda.current_stream().wait_stream(side)


def new_pool() -> Any:
    """Memory that recordings share."""
    return torch.cuda.graph_pool_handle()


def record(function: Callable[[], None], pool: Any) -> Callable[[], None]:
    """What repeats on the device what the function does now."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        function()
    replay: Callable[[], None] = graph.replay
    return replay


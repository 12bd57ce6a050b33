"""CUDA graphs: what a GPU does in one step, recorded once and replayed without Python.

A replay repeats the recorded kernels on the recorded addresses, so a recorded function takes nothing, returns nothing,
works on buffers that stay where they are, and never waits for the device.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakMethod

import torch

from monosweep.model.engines.gpu.copies import side_stream

WARM_UPS = 2
"""Runs before the recording, in which libraries allocate and choose their kernels."""


class Captured:
    """A method that works on fixed buffers: called as it is until it is recorded, replayed after that.

    It does not keep the method's owner, which keeps this: who is done with the owner is done with the recording, at
    once and not when garbage is collected.
    """

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = WeakMethod(function)
        self._replay: Callable[[], None] | None = None

    def __call__(self) -> None:
        (self._replay or self.function)()

    @property
    def function(self) -> Callable[[], None]:
        """The method."""
        function = self._function()
        assert function is not None, "the method's owner is gone"
        return function

    @property
    def captured(self) -> bool:
        """Whether it is replayed."""
        return self._replay is not None

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
    with no_garbage():
        for call in calls:
            call.capture(pool)


@contextmanager
def no_garbage() -> Iterator[None]:
    """Nothing is collected inside the block: a recording that is destroyed while another is made spoils that one."""
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def warm_up(calls: Sequence[Captured]) -> None:
    """Run what is to be recorded, beside the stream that goes on."""
    side = side_stream()
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

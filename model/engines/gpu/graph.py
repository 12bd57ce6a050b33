"""CUDA graphs: what a GPU does in one step, recorded once and replayed without Python.

A replay repeats the recorded kernels on the recorded addresses, so a recorded function takes nothing, returns nothing,
works on buffers that stay where they are, and never waits for the device.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

WARM_UPS = 2
"""Runs before the recording, in which libraries allocate and choose their kernels."""


class Captured:
    """A function of fixed buffers: called as it is until `capture`, replayed after it."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._graph is None:
            self._function()
        else:
            self._graph.replay()

    def capture(self, rewind: Callable[[], None], pool: Any) -> None:
        """Record the function, which is run for that a few times.

        Args:
            rewind: called before each run.
            pool: memory that graphs share which never run at the same time.

        Raises:
            RuntimeError: if the device cannot record it.
        """
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                rewind()
                self._function()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            self._function()
        self._graph = graph

    def release(self) -> None:
        """Call the function again as it is."""
        self._graph = None


def capture_checked(
    calls: Sequence[Captured], rewind: Callable[[], None], rehearse: Callable[[], Sequence[Tensor]]
) -> bool:
    """Record `calls`, and keep the recordings if what they compute has the bits of the calls as they are.

    Otherwise training goes on without them, and one warning says why.

    Args:
        rewind: brings the buffers to where a call can begin.
        rehearse: from one and the same state, uses all `calls` and returns what they computed, in tensors of its own.

    Raises:
        torch.OutOfMemoryError: if the calls themselves do not fit; then the pack is too large, recorded or not.
    """
    expected = rehearse()
    reason = "the recorded steps do not give the bits of the steps as they are"
    try:
        pool = torch.cuda.graph_pool_handle()
        for call in calls:
            call.capture(rewind, pool)
        if same_bits(expected, rehearse()):
            return True
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    for call in calls:
        call.release()
    warnings.warn(f"training without CUDA graphs, which is slower: {reason}", RuntimeWarning, stacklevel=2)
    return False


def same_bits(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    """Whether all tensors are equal bit for bit, NaN included."""
    pairs = zip(ours, theirs, strict=True)
    return all(torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)) for a, b in pairs)

"""The sparse features of `model.data.stream.FeatureStream`, drawn on the device where they are trained on.

The same random words, turned into the same cells and values, for several streams at once and some blocks ahead.
Every buffer has a fixed size and no operation waits for the device, so that a CUDA graph can hold both the draw and
the filling of one step's samples; what the fixed size leaves unused goes to a spare cell behind the last.

Integers are exact.  Arrival times are logarithms summed in double precision: on a CPU in the same order as numpy; a
GPU's logarithm and its parallel sum may differ in the last bits (the sum's even from one draw to the next), about 1e-12
of a cell's width, so about one arrival in 1e12 may fall into the neighbouring cell.  A block or a step that holds more
arrivals than expected + 8σ + 32, which happens with probability below 1e-15, loses those beyond.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.data.random import generator, random_words
from monosweep.model.data.stream import GAP_BITS, VALUE_BITS, Process, StreamKey, capacity
from monosweep.model.engines.gpu.graph import Captured

ARRIVALS_AT_ONCE = 2**20
"""Drawn ahead over all streams, one block at least: the draw is some 400 small operations whatever it draws."""
MAX_STEPS_AHEAD = 256


class DeviceStreams:
    """Samples of some data streams, step by step, in buffers on the device.

    Args:
        keys: streams that differ in nothing but their seeds.
        dtype: type of the samples.
        device: where they are drawn.
    """

    def __init__(self, keys: Sequence[StreamKey], dtype: torch.dtype, device: str) -> None:
        self.key, self._dtype, self._device, process = keys[0], dtype, device, Process(keys[0])
        self._n, self._steps = len(keys), process.steps_per_block
        self._hazard, self._width = float(process.ends[-1]), float(process.ends[0])
        self._cells = self.key.batch_size * self.key.n_features
        per_block, self._per_step = (capacity(self._hazard * s * self.key.batch_size) for s in (self._steps, 1))
        always = self._steps * self.key.batch_size * len(process.always)
        self._blocks = _blocks_ahead(self._n * (per_block + always), self._steps)
        self.steps_ahead = self._blocks * self._steps
        """Steps that one draw serves; the draw for step s begins at a multiple of it."""
        self._parts = ((0, 1), (2, -1)) if self.key.signed else ((0, 1),)
        self._purpose = int(generator(0, "features").state["state"]["key"][1])
        self._seeds, self._always = self._integers([key.seed for key in keys]), self._integers(process.always.tolist())
        self._ends = torch.from_numpy(process.ends).to(device)
        self._make_buffers(per_block)
        self._window = -1
        self.draw = Captured(self._draw)
        self.scatter: Callable[..., None] | None = None
        """`model.engines.gpu.kernels.scatter` in the place of torch's operations; the same bits."""

    def _make_buffers(self, per_block: int) -> None:
        parts, n, always = len(self._parts), self._n, self.key.batch_size * len(self._always)
        self._places = self._zeros(parts, n, self._blocks, per_block, dtype=torch.int64)
        self._values = self._zeros(parts, n, self._blocks, per_block)
        self._bounds = self._zeros(parts, 2, n, self.steps_ahead, dtype=torch.int64)
        self._always_values = self._zeros(parts, n, self.steps_ahead, always)
        edges = torch.arange(self._steps + 1, device=self._device) * self._cells
        self._edges = edges.expand(n, self._blocks, -1).contiguous()
        self._offsets = torch.arange(self._blocks, device=self._device)
        self._within = torch.arange(self._per_step, device=self._device)
        self._first, self._position = self._integers([0]), self._integers([0])

    def _zeros(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.zeros(shape, dtype=dtype or self._dtype, device=self._device)

    def _integers(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.int64, device=self._device)

    def seek(self, step: int) -> None:
        """Make ready for `fill` to give the samples of step 1, 2, …; draws where they are not there yet."""
        window, position = divmod(step - 1, self.steps_ahead)
        if window != self._window:
            self._first.fill_(window * self._blocks)
            self.draw()
            self._window = window
        self._position.fill_(position)

    def fill(self, dense: Float[Tensor, "streams cells_and_spare"]) -> None:
        """Add the samples of the step in turn to `dense`, which holds zeros; the next call gives the next step's.

        Args:
            dense: batch · n_features cells of each stream, and one or more to spare.
        """
        for part in range(len(self._parts)):
            if self._hazard:
                self._fill_sometimes(dense, part)
            if len(self._always):
                self._fill_always(dense, part)
        self._position.add_(1)

    def _fill_sometimes(self, dense: Tensor, part: int) -> None:
        places, values = self._places[part].flatten(1), self._values[part].flatten(1)
        if self.scatter is not None:
            self.scatter(dense, places, values, self._bounds[part], self._position, self._cells, self._per_step)
            return
        start, end = self._bounds[part].index_select(2, self._position).unbind(0)
        at = start + self._within
        outside = at >= end
        at.clamp_(max=places.shape[1] - 1)
        chosen = places.gather(1, at).masked_fill_(outside, self._cells)
        # No cell but the spare one, which only gets zeros, is hit twice: the order of additions cannot matter.
        dense.scatter_add_(1, chosen, values.gather(1, at).masked_fill_(outside, 0.0))

    def _fill_always(self, dense: Tensor, part: int) -> None:
        samples = dense[:, : self._cells].view(len(dense), self.key.batch_size, -1)
        values = self._always_values[part].index_select(1, self._position)
        samples.index_add_(2, self._always, values.view(len(dense), self.key.batch_size, -1))

    def _draw(self) -> None:
        blocks = self._first + self._offsets
        for index, (part, sign) in enumerate(self._parts):
            if self._hazard:
                self._draw_sometimes(index, part, sign, blocks)
            if len(self._always):
                n = self._always_values.shape[-1] * self._steps
                raw = random_words(self._seeds, self._purpose, part + 1, blocks, n)
                self._always_values[index].copy_(_values(raw).view(self._always_values[index].shape)).mul_(sign)

    def _draw_sometimes(self, index: int, part: int, sign: int, blocks: Tensor) -> None:
        raw = random_words(self._seeds, self._purpose, part, blocks, self._places.shape[-1])
        times = _gaps(raw).cumsum(dim=-1)
        cells = self._cells_at(times)
        edges = torch.searchsorted(cells, self._edges)
        starts = self._offsets[:, None] * cells.shape[-1]
        self._bounds[index, 0].copy_((edges[..., :-1] + starts).flatten(1))
        self._bounds[index, 1].copy_((edges[..., 1:] + starts).flatten(1))
        absent = times >= self._hazard * (self._steps * self.key.batch_size)
        absent[..., 1:] |= cells[..., 1:] == cells[..., :-1]  # a cell hit twice is present once
        self._values[index].copy_(_values(raw)).mul_(sign).masked_fill_(absent, 0.0)
        self._places[index].copy_(cells.remainder_(self._cells).masked_fill_(absent, self._cells))

    def _cells_at(self, times: Tensor) -> Tensor:
        """As `Process` does it, in the same operations."""
        if self.key.feature_dist == "uniform":
            return (times / self._width).to(torch.int64)
        sample = (times / self._hazard).to(torch.int64)
        feature = torch.searchsorted(self._ends, times - sample.to(times.dtype) * self._hazard, right=True)
        return sample * self.key.n_features + feature.clamp_(max=self.key.n_features - 1)


def _blocks_ahead(arrivals_per_block: int, steps_per_block: int) -> int:
    by_steps = math.ceil(MAX_STEPS_AHEAD / steps_per_block)
    return max(1, min(by_steps, ARRIVALS_AT_ONCE // arrivals_per_block))


def _gaps(raw: Tensor) -> Tensor:
    """Unit exponentials from the upper 40 bits."""
    upper = (raw >> VALUE_BITS) & (2**GAP_BITS - 1)
    uniform: Tensor = upper.to(torch.float64).add_(0.5).mul_(2.0**-GAP_BITS)
    return uniform.log_().neg_()


def _values(raw: Tensor) -> Tensor:
    """Uniform on [0, 1) from the lower 24 bits, exact in float32."""
    lower: Tensor = raw & (2**VALUE_BITS - 1)
    return lower.to(torch.float32).mul_(2.0**-VALUE_BITS)

"""The sparse features of `model.data.stream.FeatureStream` on the device where they are trained on: the same cells, the
same values.

`HostStreams` has numpy draw them, for tensors on a CPU; `DeviceStreams` draws them with the kernels of `drawing`.  Both
hold a fixed number of streams, each at a step of its own, in buffers that stay where they are; a place whose stream is
nobody's costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from monosweep.model.data.random import generator
from monosweep.model.data.stream import ARRIVALS_PER_BLOCK, FeatureStream, Process, StreamKey, capacity
from monosweep.model.engines.gpu.layout import padded

_TILES = 64
"""Programs that share one stream's step, at most."""


@runtime_checkable
class Streams(Protocol):
    """Some places for data streams of one shape."""

    def put(self, place: int, key: StreamKey | None, done: int) -> None:
        """Have a place hold a stream whose first `done` steps are not wanted, or none."""

    def seek(self, done: Sequence[int]) -> None:
        """Have each place's stream go on after so many steps."""

    def draw(self) -> None:
        """Have what `fill` reads of the streams that have come to a new block."""

    def fill(self, dense: Float[Tensor, "streams batch row"]) -> None:
        """Add every stream's next step to `dense`, which holds zeros."""


class HostStreams:
    """Streams drawn by numpy, step by step.

    Args:
        keys: as many as there are places; all that matters is their number.
    """

    def __init__(self, keys: Sequence[StreamKey]) -> None:
        self._streams: list[FeatureStream | None] = [None] * len(keys)
        self._done = [0] * len(keys)

    def put(self, place: int, key: StreamKey | None, done: int) -> None:
        """As `Streams` says."""
        self._streams[place], self._done[place] = FeatureStream(key) if key else None, done

    def seek(self, done: Sequence[int]) -> None:
        """As `Streams` says."""
        self._done = list(done)

    def draw(self) -> None:
        """Nothing is drawn ahead."""

    def fill(self, dense: Float[Tensor, "streams batch row"]) -> None:
        """As `Streams` says."""
        for place, stream in enumerate(self._streams):
            if stream is not None:
                batch = stream.batch(self._done[place] + 1)
                sample, feature = map(torch.from_numpy, divmod(batch.cells, stream.key.n_features))
                dense[place, sample, feature] = torch.from_numpy(batch.values).to(dense.dtype)
        self._done = [done + 1 for done in self._done]


class DeviceStreams:
    """Streams drawn on the device, a block of steps at a time.

    Args:
        keys: as many as there are places; none will be asked to hold a stream with more arrivals than the largest here.
        dtype: type of the samples.
    """

    def __init__(self, keys: Sequence[StreamKey], dtype: torch.dtype, device: str) -> None:
        from monosweep.model.engines.gpu import drawing  # Triton, which only torch's builds for GPUs bring

        self._kernels, self._device, key, n = drawing, device, keys[0], len(keys)
        self._parts, self._batch, self._row = 1 + key.signed, key.batch_size, padded(key.n_features)
        self._purpose = int(generator(0, "features").state["state"]["key"][1])
        self.most = most_arrivals(keys)
        """Arrivals that a place has room for."""
        self._tiles = min(_TILES, max(-(-a_step(key) // 1024) for key in keys))
        self._whole = self._zeros(len(drawing.FIELDS), n, dtype=torch.int64)
        self._real = self._zeros(len(drawing.REALS), n, dtype=torch.float64)
        self._ends = self._zeros(n, key.n_features, dtype=torch.float64)
        rows = n * self._parts
        self._sums = self._zeros(rows, -(-self.most // drawing.TILE), dtype=torch.float64)
        self._cells = self._zeros(rows, self.most, dtype=torch.int64)
        self._values = self._zeros(rows, self.most, dtype=torch.float32)
        self._edges = self._zeros(rows, drawing.EDGES, dtype=torch.int64)
        self._field = {name: self._whole[row] for row, name in enumerate(drawing.FIELDS)}
        self._field["steps"].fill_(1)

    def _zeros(self, *shape: int, dtype: torch.dtype) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self._device)

    def put(self, place: int, key: StreamKey | None, done: int) -> None:
        """As `Streams` says."""
        if key is None:
            self._field["alive"][place] = 0
            return
        process = Process(key)
        samples = process.steps_per_block * key.batch_size
        about = {
            "seed": key.seed, "alive": 1, "steps": process.steps_per_block, "arrivals": arrivals(key),
            "always": len(process.always), "uniform": key.feature_dist == "uniform", "done": done, "drawn": -1,
        }  # fmt: skip
        hazard, width = float(process.ends[-1]), float(process.ends[0]) or 1.0
        whole = [int(about[name]) for name in self._kernels.FIELDS]
        self._whole[:, place].copy_(torch.tensor(whole, dtype=torch.int64))
        self._real[:, place].copy_(torch.tensor([hazard, width, hazard * samples], dtype=torch.float64))
        self._ends[place].copy_(torch.from_numpy(process.ends))

    def seek(self, done: Sequence[int]) -> None:
        """As `Streams` says."""
        self._field["done"].copy_(torch.tensor(done, dtype=torch.int64))

    def draw(self) -> None:
        """As `Streams` says; four launches, whatever the streams are."""
        self._kernels.draw(
            self._whole, self._real, self._ends, self._sums, self._cells, self._values, self._edges, self._purpose,
            self._batch, self._row,
        )  # fmt: skip
        torch.div(self._field["done"], self._field["steps"], rounding_mode="floor", out=self._field["drawn"])

    def fill(self, dense: Float[Tensor, "streams batch row"]) -> None:
        """As `Streams` says; two launches."""
        self._kernels.fill(
            self._whole, self._cells, self._values, self._edges, dense, self._purpose, self._batch, self._row,
            self._tiles,
        )  # fmt: skip
        self._field["done"].add_(1)


def most_arrivals(keys: Sequence[StreamKey]) -> int:
    """Room for the arrivals of a block of any of these streams, and of any that has more than one step in its block."""
    return max(capacity(float(ARRIVALS_PER_BLOCK)), *map(arrivals, keys))


def arrivals(key: StreamKey) -> int:
    """How many are drawn for a block, of one part; 0 where all features are always there."""
    process = Process(key)
    hazard = float(process.ends[-1])
    return capacity(hazard * process.steps_per_block * key.batch_size) if hazard else 0


def a_step(key: StreamKey) -> int:
    """About how many features a step has."""
    process = Process(key)
    return int((float(process.ends[-1]) + len(process.always)) * key.batch_size) + 1

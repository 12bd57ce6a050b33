"""The stream of sparse features: a pure function of (seed, step).

The stream draws only the features that are present.  Presence of feature i in a sample is one cell with
probability ε_i.  Give each cell the hazard λ_i = -log(1 - ε_i) and lay all cells of a block of steps end to
end; the points of a unit-rate Poisson process hit a cell with probability 1 - exp(-λ_i) = ε_i, independently
of all others.  Unit exponential gaps make such a process, so the cells that are hit *are* the Bernoulli
draws, exactly, for any ε_i, at a cost proportional to how many are present.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int64
from numpy import ndarray

from monosweep.model.config import ConfigError, unknown_name
from monosweep.model.data.random import generator

POWER_LAW_EXPONENT = -1.1
"""Exponent of ε_i for `feature_dist: power_law` (paper, section 2)."""
ARRIVALS_PER_BLOCK = 2**15
"""About how many points are drawn at once: enough to hide call overhead, few enough to stay in cache."""
_FIRST_STEPS = 16
"""The first block is drawn so far at first, then twice as far: a short trial needs no more of it."""
VALUE_BITS = 24
GAP_BITS = 40


def probabilities(n_features: int, feature_prob: float, feature_dist: str) -> Float[ndarray, " n_features"]:
    """ε_i for every feature: all equal, or ∝ i^-1.1 scaled to mean ε, then clipped at 1 (section 2)."""
    if feature_dist == "uniform":
        return np.full(n_features, feature_prob)
    if feature_dist != "power_law":
        raise ConfigError(unknown_name("feature_dist", feature_dist, ["uniform", "power_law"]))
    weights = np.arange(1, n_features + 1, dtype=np.float64) ** POWER_LAW_EXPONENT
    probs: ndarray = np.minimum(1.0, weights * (feature_prob / weights.mean()))
    return probs


@dataclass(frozen=True, slots=True)
class StreamKey:
    """All that the data of a trial depends on; trials with equal keys share their samples."""

    seed: int
    n_features: int
    batch_size: int
    feature_prob: float
    feature_dist: str
    signed: bool
    """Whether samples are f1 - f2 with both drawn at ε/2 (task `abs`, eq. 3)."""


@dataclass(frozen=True, slots=True)
class SparseBatch:
    """The features present in one batch, in ascending order of cell.

    >>> batch = SparseBatch(np.array([1, 6]), np.array([0.5, 0.25], np.float32), (2, 4))
    >>> batch.dense().tolist()
    [[0.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.25, 0.0]]
    """

    cells: Int64[ndarray, " present"]
    """sample · n_features + feature"""
    values: Float32[ndarray, " present"]
    """Strength in [0, 1), a multiple of 2^-24; for `abs` f1 - f2 in (-1, 1)."""
    shape: tuple[int, int]
    """(batch, n_features)"""

    def dense(self) -> Float32[ndarray, "batch n_features"]:
        """The same batch with its zeros."""
        out = np.zeros(self.shape[0] * self.shape[1], np.float32)
        out[self.cells] = self.values
        return out.reshape(self.shape)


class FeatureStream:
    """Batches of one data stream by step, in any order; what is drawn of the block in use is kept.

    >>> key = StreamKey(0, n_features=4, batch_size=3, feature_prob=0.5, feature_dist="uniform", signed=False)
    >>> stream = FeatureStream(key)
    >>> bool((stream.batch(7).cells == FeatureStream(key).batch(7).cells).all())
    True
    """

    def __init__(self, key: StreamKey) -> None:
        self.key = key
        self._process = Process(key)
        self._block = -1
        self._cells: Int64[ndarray, " present"]
        self._values: Float32[ndarray, " present"]
        self._bounds: Int64[ndarray, " steps"]

    def batch(self, step: int) -> SparseBatch:
        """The samples of step 1, 2, …"""
        lo, hi, first = self._drawn(step, 1)
        n_cells = self.key.batch_size * self.key.n_features
        shape = (self.key.batch_size, self.key.n_features)
        return SparseBatch(self._cells[lo:hi] - first * n_cells, self._values[lo:hi], shape)

    def steps(self, first: int, n_steps: int) -> tuple[Int64[ndarray, " present"], Float32[ndarray, " present"]]:
        """Cells, counted on through the steps, and values of `n_steps` steps from `first` on."""
        n_cells, block = self.key.batch_size * self.key.n_features, self._process.steps_per_block
        cells, values, done = [], [], 0
        while done < n_steps:
            together = min(n_steps - done, block - (first + done - 1) % block)
            lo, hi, start = self._drawn(first + done, together)
            cells.append(self._cells[lo:hi] + (done - start) * n_cells)
            values.append(self._values[lo:hi])
            done += together
        return (cells[0], values[0]) if len(cells) == 1 else (np.concatenate(cells), np.concatenate(values))

    def _drawn(self, step: int, n_steps: int) -> tuple[int, int, int]:
        """Where the cells of some steps of one block begin and end, and which step of the block is the first."""
        block, index = divmod(step - 1, self._process.steps_per_block)
        if block != self._block or index + n_steps >= len(self._bounds):
            self._draw(block, index + n_steps)
        return int(self._bounds[index]), int(self._bounds[index + n_steps]), index

    def _draw(self, block: int, n_steps: int) -> None:
        """Draw a block, the first one as far as `n_steps` steps need."""
        far = max(_FIRST_STEPS, 1 << (n_steps - 1).bit_length()) if block == 0 else self._process.steps_per_block
        steps = min(far, self._process.steps_per_block)
        cells, values = self._process.draw(block, 0, steps)
        if self.key.signed:
            cells, values = _difference((cells, values), self._process.draw(block, 2, steps))
        n_cells = self.key.batch_size * self.key.n_features
        self._bounds = np.searchsorted(cells, np.arange(steps + 1) * n_cells)
        self._cells, self._values, self._block = cells, values, block


class Process:
    """The Poisson process behind one stream: which cells of a block are present, and how strongly."""

    def __init__(self, key: StreamKey) -> None:
        probs = probabilities(key.n_features, key.feature_prob, key.feature_dist)
        self.key = key
        self.always = np.flatnonzero(probs == 1)
        hazard = np.zeros(key.n_features)
        np.log1p(-probs, out=hazard, where=probs < 1)
        self.ends = np.cumsum(-hazard)
        """Where each feature's stretch of one sample's hazard ends."""
        per_step = key.batch_size * (self.ends[-1] + len(self.always))
        self.steps_per_block = int(2 ** np.clip(np.floor(np.log2(ARRIVALS_PER_BLOCK / per_step)), 0, 8))

    def draw(self, block: int, part: int, n_steps: int) -> tuple[ndarray, ndarray]:
        """Cells (ascending, each once) and values of the first steps of a block; `part` keeps f1 and f2 apart.

        They are the same however many steps are asked for.
        """
        cells, values = self._sometimes(block, part, n_steps * self.key.batch_size)
        if len(self.always):
            more = self._always(block, part + 1, n_steps * self.key.batch_size)
            if not len(cells):
                return more
            cells, values = np.concatenate([cells, more[0]]), np.concatenate([values, more[1]])
            order = np.argsort(cells, kind="stable")
            cells, values = cells[order], values[order]
        return cells, values

    def _sometimes(self, block: int, part: int, samples: int) -> tuple[ndarray, ndarray]:
        cells, values = self._points(block, part, samples)
        # Rounding may carry the last point over the end.
        end = int(np.searchsorted(cells, samples * self.key.n_features))
        cells, values = cells[:end], values[:end]
        again = np.flatnonzero(cells[1:] == cells[:-1]) + 1  # a cell hit twice is present once
        return np.delete(cells, again), np.delete(values, again)

    def _points(self, block: int, part: int, samples: int) -> tuple[ndarray, ndarray]:
        """Cells that the points hit, at least as far as `samples` reach, and values."""
        in_block, hazard = self.steps_per_block * self.key.batch_size, self.ends[-1]
        if samples < in_block and hazard > 0:
            raw = generator(self.key.seed, "features", part, block).random_raw(capacity(hazard * samples))
            cells = self._cells(np.cumsum(_gaps(raw)))
            if cells[-1] >= samples * self.key.n_features:
                return cells, _values(raw)
        times, values = _arrivals(generator(self.key.seed, "features", part, block), hazard * in_block)
        return self._cells(times), values

    def _cells(self, times: Float[ndarray, " n"]) -> Int64[ndarray, " n"]:
        """Which cell each point hits; ascending as the points are."""
        if self.key.feature_dist == "uniform":
            cells: ndarray = (times / (self.ends[0] or 1.0)).astype(np.int64)
            return cells
        sample = (times / self.ends[-1]).astype(np.int64)
        feature = np.searchsorted(self.ends, times - sample * self.ends[-1], side="right")
        return np.asarray(sample * self.key.n_features + np.minimum(feature, self.key.n_features - 1))

    def _always(self, block: int, part: int, samples: int) -> tuple[ndarray, ndarray]:
        cells = (np.arange(samples)[:, None] * self.key.n_features + self.always).ravel()
        return cells, _values(generator(self.key.seed, "features", part, block).random_raw(len(cells)))


def _arrivals(bits: np.random.Philox, end: float) -> tuple[ndarray, ndarray]:
    """Points of a unit-rate Poisson process on [0, end) with a uniform value each."""
    times, values, last = [], [], 0.0
    while last < end:
        expected = end - last
        raw = bits.random_raw(capacity(expected))
        chunk = np.cumsum(_gaps(raw)) + last
        times.append(chunk)
        values.append(_values(raw))
        last = float(chunk[-1])
    if not times:
        return np.empty(0), np.empty(0, np.float32)
    all_times = times[0] if len(times) == 1 else np.concatenate(times)
    count = int(np.searchsorted(all_times, end))
    return all_times[:count], np.concatenate(values)[:count]


def capacity(expected: float) -> int:
    """How many arrivals to draw where so many are expected: 8σ more and 32, which almost always suffices."""
    return int(expected + 8 * expected**0.5 + 32)


def _gaps(raw: ndarray) -> Float[ndarray, " n"]:
    """Unit exponentials from the upper 40 bits."""
    uniform = ((raw >> np.uint64(VALUE_BITS)).astype(np.float64) + 0.5) * 2.0**-GAP_BITS
    return np.negative(np.log(uniform, out=uniform), out=uniform)


def _values(raw: ndarray) -> Float32[ndarray, " n"]:
    """Uniform on [0, 1) from the lower 24 bits, exact in float32."""
    return (raw & np.uint64(2**VALUE_BITS - 1)).astype(np.float32) * np.float32(2.0**-VALUE_BITS)


def _difference(plus: tuple[ndarray, ndarray], minus: tuple[ndarray, ndarray]) -> tuple[ndarray, ndarray]:
    """f1 - f2 of two sparse draws: values of a cell that both hit are combined."""
    cells = np.concatenate([plus[0], minus[0]])
    values = np.concatenate([plus[1], -minus[1]])
    order = np.argsort(cells, kind="stable")
    cells, values = cells[order], values[order]
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    return cells[starts], np.add.reduceat(values, starts) if len(starts) else values

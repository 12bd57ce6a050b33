"""The kernels that draw samples, in Triton: those of `model.data.stream`, of all streams of a pack in one launch.

    _count: what each tile of arrivals adds to the time  ->  _cells: where and how strong they are
        ->  _edges: where each step's begin; all three do nothing unless a stream has come to a new block
    _fill: one step's arrivals, and the features that are always there, into the zeros of its samples

A program handles a tile of one stream's arrivals and draws their random words itself: Philox needs no word before.
Arrival times are summed in double precision, tile by tile in a fixed order, where numpy sums them one by one: the last
bits may differ, about 1e-12 of a cell's width, so about one arrival in 1e12 may fall into the neighbouring cell.  A
block that holds more arrivals than expected + 8σ + 32, which happens with probability below 1e-15, loses those beyond.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

TILE = 2048
_FILL_TILE = 1024
EDGES = 512
"""Power of two beyond the 256 steps of a block."""
FIELDS = ("seed", "alive", "steps", "arrivals", "always", "uniform", "done", "drawn")
"""Rows of the table of streams: their seeds, whether they are anybody's, steps of a block, arrivals to draw for it, how
many features are always there (the first ones), whether all are as probable, steps done, and which block is there."""
_SEED, _ALIVE, _STEPS, _ARRIVALS, _ALWAYS, _UNIFORM, _DONE, _DRAWN = (tl.constexpr(i) for i in range(len(FIELDS)))
REALS = ("hazard", "width", "end")
"""Of one sample, of one feature where all are as probable, and of a block."""
_HAZARD, _WIDTH, _END = (tl.constexpr(i) for i in range(len(REALS)))
_FACTOR_0, _FACTOR_1 = tl.constexpr(0xD2E7470EE14C6C93), tl.constexpr(0xCA5A826395121157)
_KEY_STEP_0, _KEY_STEP_1 = tl.constexpr(0x9E3779B97F4A7C15), tl.constexpr(0xBB67AE8584CAA73B)


@triton.jit
def _words(seed, block, part, quads, PURPOSE: tl.constexpr):
    """Philox4x64-10: the four words that each counter stands for, as numpy counts."""
    zero = quads.to(tl.uint64) * 0
    c0, c1, c2, c3 = quads.to(tl.uint64) + 1, zero, zero + block.to(tl.uint64), zero + part.to(tl.uint64)
    k0, k1 = zero + seed.to(tl.uint64, bitcast=True), zero + PURPOSE
    for _ in tl.static_range(10):
        high0, low0 = tl.umulhi(c0, zero + _FACTOR_0), c0 * (zero + _FACTOR_0)
        high2, low2 = tl.umulhi(c2, zero + _FACTOR_1), c2 * (zero + _FACTOR_1)
        c0, c1, c2, c3 = high2 ^ c1 ^ k0, low2, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + (zero + _KEY_STEP_0), k1 + (zero + _KEY_STEP_1)
    return c0, c1, c2, c3


@triton.jit
def _tile_words(seed, block, part, tile, PURPOSE: tl.constexpr, TILE: tl.constexpr):
    """The words of one tile, in order."""
    w0, w1, w2, w3 = _words(seed, block, part, tile * (TILE // 4) + tl.arange(0, TILE // 4).to(tl.int64), PURPOSE)
    return tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))


@triton.jit
def _gaps(words):
    """Unit exponentials from the upper 40 bits."""
    upper = (words >> 24).to(tl.float64)
    return -tl.log((upper + 0.5) * 9.094947017729282e-13)  # 2^-40


@triton.jit
def _values(words):
    """Uniform on [0, 1) from the lower 24 bits, exact in single precision."""
    return (words & 0xFFFFFF).to(tl.int32).to(tl.float32) * 5.9604644775390625e-08  # 2^-24


@triton.jit
def _due(whole_ptr, stream, streams):
    """The block that a stream has come to and that is not there yet; else -1."""
    block = tl.load(whole_ptr + _DONE * streams + stream) // tl.load(whole_ptr + _STEPS * streams + stream)
    alive, drawn = tl.load(whole_ptr + _ALIVE * streams + stream), tl.load(whole_ptr + _DRAWN * streams + stream)
    return tl.where((alive != 0) & (block != drawn), block, -1)


@triton.jit
def _count(whole_ptr, sums_ptr, streams, PURPOSE: tl.constexpr, PARTS: tl.constexpr, TILE: tl.constexpr) -> None:
    tile, row, tiles = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64), tl.num_programs(0)
    stream, part = row // PARTS, 2 * (row % PARTS)
    block, arrivals = _due(whole_ptr, stream, streams), tl.load(whole_ptr + _ARRIVALS * streams + stream)
    if (block < 0) | (tile * TILE >= arrivals):
        return
    words = _tile_words(tl.load(whole_ptr + _SEED * streams + stream), block, part, tile, PURPOSE, TILE)
    tl.store(sums_ptr + row * tiles + tile, tl.sum(_gaps(words)))


@triton.jit
def _cells(
    whole_ptr, real_ptr, ends_ptr, sums_ptr, cells_ptr, values_ptr, streams, most,
    PURPOSE: tl.constexpr, PARTS: tl.constexpr, BATCH: tl.constexpr, FEATURES: tl.constexpr, ROW: tl.constexpr,
    HALVINGS: tl.constexpr, TILE: tl.constexpr,
) -> None:  # fmt: skip
    """Cells ascend; who comes after the block's end lies at its end."""
    tile, row, tiles = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64), tl.num_programs(0)
    stream, part = row // PARTS, 2 * (row % PARTS)
    block, arrivals = _due(whole_ptr, stream, streams), tl.load(whole_ptr + _ARRIVALS * streams + stream)
    if (block < 0) | (tile * TILE >= arrivals):
        return
    words = _tile_words(tl.load(whole_ptr + _SEED * streams + stream), block, part, tile, PURPOSE, TILE)
    before = tl.zeros((TILE,), tl.float64)
    for first in range(0, tile, TILE):
        earlier = first + tl.arange(0, TILE)
        before += tl.load(sums_ptr + row * tiles + earlier, mask=earlier < tile, other=0.0)
    times = tl.sum(before) + tl.cumsum(_gaps(words))
    hazard = tl.load(real_ptr + _HAZARD * streams + stream)
    if tl.load(whole_ptr + _UNIFORM * streams + stream) != 0:
        cell = (times / tl.load(real_ptr + _WIDTH * streams + stream)).to(tl.int64)
        sample = cell // FEATURES
        feature = cell - sample * FEATURES
    else:
        sample = (times / hazard).to(tl.int64)
        rest, feature = times - sample.to(tl.float64) * hazard, sample * 0
        for i in tl.static_range(HALVINGS):  # how many features' stretches end at or before the rest
            tried = feature + (1 << (HALVINGS - 1 - i))
            end = tl.load(ends_ptr + stream * FEATURES + tried - 1, mask=tried <= FEATURES, other=float("inf"))
            feature = tl.where(end <= rest, tried, feature)
        feature = tl.where(feature < FEATURES, feature, FEATURES - 1)
    samples = tl.load(whole_ptr + _STEPS * streams + stream) * BATCH
    at = tile * TILE + tl.arange(0, TILE)
    inside = (times < tl.load(real_ptr + _END * streams + stream)) & (sample < samples)
    place = tl.where(inside, sample * ROW + feature, samples * ROW)
    tl.store(cells_ptr + row * most + at, place, mask=at < arrivals)
    tl.store(values_ptr + row * most + at, _values(words), mask=at < arrivals)


@triton.jit
def _edges(
    whole_ptr, cells_ptr, edges_ptr, streams, most, PARTS: tl.constexpr, CELLS: tl.constexpr, HALVINGS: tl.constexpr,
    EDGES: tl.constexpr,
) -> None:  # fmt: skip
    """How many arrivals lie before each step."""
    row, at = tl.program_id(0).to(tl.int64), tl.arange(0, EDGES)
    stream = row // PARTS
    if _due(whole_ptr, stream, streams) < 0:
        return
    arrivals, found = tl.load(whole_ptr + _ARRIVALS * streams + stream), at.to(tl.int64) * 0
    for i in range(HALVINGS):
        tried = found + (tl.full((EDGES,), 1, tl.int64) << (HALVINGS - 1 - i))
        inside = tried <= arrivals
        cell = tl.load(cells_ptr + row * most + tried - 1, mask=inside, other=0)
        found = tl.where(inside & (cell < at.to(tl.int64) * CELLS), tried, found)
    tl.store(edges_ptr + row * EDGES + at, found)


@triton.jit
def _add(dense_ptr, place, values, inside, SHARED: tl.constexpr) -> None:
    if SHARED:  # two parts may hit a cell, which holds zero before: their order does not matter
        tl.atomic_add(dense_ptr + place, values, mask=inside)
    else:
        tl.store(dense_ptr + place, values, mask=inside)


@triton.jit
def _fill(
    whole_ptr, cells_ptr, values_ptr, edges_ptr, dense_ptr, streams, most, stride,
    PURPOSE: tl.constexpr, PARTS: tl.constexpr, BATCH: tl.constexpr, ROW: tl.constexpr, EDGES: tl.constexpr,
    TILE: tl.constexpr,
) -> None:  # fmt: skip
    row, step = tl.program_id(1).to(tl.int64), tl.num_programs(0) * TILE
    stream, sign = row // PARTS, 1.0 - 2.0 * (row % PARTS)
    if tl.load(whole_ptr + _ALIVE * streams + stream) == 0:
        return
    done, steps = tl.load(whole_ptr + _DONE * streams + stream), tl.load(whole_ptr + _STEPS * streams + stream)
    block, dense = done // steps, dense_ptr + stream * stride
    index, first = done - block * steps, tl.program_id(0) * TILE
    start, end = tl.load(edges_ptr + row * EDGES + index), tl.load(edges_ptr + row * EDGES + index + 1)
    for offset in range(start + first, end, step):
        at = offset + tl.arange(0, TILE)
        cell = tl.load(cells_ptr + row * most + at, mask=at < end, other=0)
        before = tl.load(cells_ptr + row * most + at - 1, mask=(at < end) & (at > 0), other=-1)
        values = tl.load(values_ptr + row * most + at, mask=at < end, other=0.0) * sign
        inside = (at < end) & (cell != before)  # a cell hit twice is present once
        _add(dense, cell - index * BATCH * ROW, values.to(dense_ptr.dtype.element_ty), inside, PARTS > 1)
    always, seed = tl.load(whole_ptr + _ALWAYS * streams + stream), tl.load(whole_ptr + _SEED * streams + stream)
    for offset in range(first, BATCH * always, step):
        at = offset + tl.arange(0, TILE)
        word = index * BATCH * always + at
        w0, w1, w2, w3 = _words(seed, block, 2 * (row % PARTS) + 1, word // 4, PURPOSE)
        lane = word % 4
        chosen = tl.where(lane == 0, w0, tl.where(lane == 1, w1, tl.where(lane == 2, w2, w3)))
        place = at // always * ROW + at % always
        values = _values(chosen) * sign
        _add(dense, place, values.to(dense_ptr.dtype.element_ty), at < BATCH * always, PARTS > 1)


def draw(
    whole: Tensor, real: Tensor, ends: Tensor, sums: Tensor, cells: Tensor, values: Tensor, edges: Tensor,
    purpose: int, batch: int, row: int,
) -> None:  # fmt: skip
    """Draw the blocks that streams have come to.

    Args:
        whole, real: the table of streams, (FIELDS, streams) and (REALS, streams).
        ends: where each feature's stretch of a sample's hazard ends, (streams, n_features).
        sums: to work with, (streams · parts, tiles).
        cells, values, edges: what is drawn, (streams · parts, arrivals) and (streams · parts, edges).
        purpose: of the random words.
        batch, row: samples of a step, and cells of a sample.
    """
    streams, parts, most = whole.shape[1], len(cells) // whole.shape[1], cells.shape[1]
    grid, known = (sums.shape[1], len(cells)), {"PURPOSE": purpose, "PARTS": parts, "TILE": TILE}
    _count[grid](whole, sums, streams, **known)
    _cells[grid](
        whole, real, ends, sums, cells, values, streams, most,
        BATCH=batch, FEATURES=ends.shape[1], ROW=row, HALVINGS=ends.shape[1].bit_length(), **known,
    )  # fmt: skip
    _edges[(len(cells),)](
        whole, cells, edges, streams, most, PARTS=parts, CELLS=batch * row, HALVINGS=most.bit_length(),
        EDGES=edges.shape[1],
    )  # fmt: skip


def fill(
    whole: Tensor, cells: Tensor, values: Tensor, edges: Tensor, dense: Tensor, purpose: int, batch: int, row: int,
    tiles: int,
) -> None:  # fmt: skip
    """Add one step's features to `dense`, (streams, batch, row), which holds zeros."""
    streams = whole.shape[1]
    _fill[(tiles, len(cells))](
        whole, cells, values, edges, dense, streams, cells.shape[1], dense.stride(0),
        PURPOSE=purpose, PARTS=len(cells) // streams, BATCH=batch, ROW=row, EDGES=edges.shape[1], TILE=_FILL_TILE,
    )  # fmt: skip

"""The elementwise work of a training step on a GPU in Triton: each part is one pass over its data.

Imported where it is used and nowhere else: torch's builds for CPUs come without Triton.  A trial's bits depend on the
trial alone: sums go through a program's tile in a fixed tree, then through the tiles in a fixed order, tiles never
reach over two trials, and their sizes follow from the shape, not from the pack.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from monosweep.model.families.two_layer.config import TOLD_BY_ANSWER
from monosweep.model.optimizers import BETA1, BETA2, EPS, NORM_CAP

_TILE = 1024
_LARGE_TILE = 2048
_LARGE = 2**17
"""From so many elements of one trial on, tiles are large: fewer partial sums for all to read."""
_PER_WARP = 256
"""Elements of a tile for each warp: few enough for all that a pass holds to stay in registers."""


@triton.jit
def _activation(e, ACT: tl.constexpr):
    if ACT == "relu":
        h = tl.where(e < 0, 0.0, e)  # keeps NaN, which a maximum may not
    elif ACT == "gelu":
        h = e * 0.5 * (1 + tl.erf(e * 0.7071067811865476))
    else:
        h = e * tl.exp(e)
    return h


@triton.jit
def _slope(e, ACT: tl.constexpr):
    if ACT == "gelu":
        slope = 0.5 * (1 + tl.erf(e * 0.7071067811865476)) + e * 0.3989422804014327 * tl.exp(-0.5 * e * e)
    else:
        slope = (1 + e) * tl.exp(e)
    return slope


@triton.jit
def _activate(e_ptr, h_ptr, bias_ptr, row, width, n, ACT: tl.constexpr, TILE: tl.constexpr) -> None:
    member = tl.program_id(1)
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    own = member.to(tl.int64) * n + at
    e = tl.load(e_ptr + own, mask=at < n, other=0.0).to(tl.float32)
    e += tl.load(bias_ptr + member.to(tl.int64) * row + at % width, mask=at < n, other=0.0)
    tl.store(h_ptr + own, _activation(e, ACT), mask=at < n)


@triton.jit
def _times_slope(
    dh_ptr, e_ptr, bias_ptr, l1_ptr, row, width, n, ACT: tl.constexpr, L1: tl.constexpr, TILE: tl.constexpr
) -> None:
    member = tl.program_id(1)
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    own = member.to(tl.int64) * n + at
    dh = tl.load(dh_ptr + own, mask=at < n, other=0.0).to(tl.float32)
    e = tl.load(e_ptr + own, mask=at < n, other=0.0).to(tl.float32)
    if ACT != "relu":
        e += tl.load(bias_ptr + member.to(tl.int64) * row + at % width, mask=at < n, other=0.0)
    if L1:
        h = _activation(e, ACT)
        sign = tl.where(h > 0, 1.0, 0.0) - tl.where(h < 0, 1.0, 0.0)
        dh += sign * tl.load(l1_ptr + member)
    if ACT == "relu":
        dh = tl.where(e <= 0, 0.0, dh)
    else:
        dh *= _slope(e, ACT)
    tl.store(dh_ptr + own, dh, mask=at < n)


@triton.jit
def _subtract(y_ptr, target_ptr, stream_ptr, stride, sums_ptr, n, TILE: tl.constexpr) -> None:
    member, tile = tl.program_id(1), tl.program_id(0)
    at = tile * TILE + tl.arange(0, TILE)
    own = member.to(tl.int64) * n + at
    theirs = tl.load(stream_ptr + member) * stride + at
    error = tl.load(y_ptr + own, mask=at < n, other=0.0).to(tl.float32)
    error -= tl.load(target_ptr + theirs, mask=at < n, other=0.0)
    tl.store(y_ptr + own, error, mask=at < n)
    tl.store(sums_ptr + member * tl.num_programs(0) + tile, tl.sum(error * error))


@triton.jit
def _total(sums_ptr, out_ptr, scale, N: tl.constexpr, TILE: tl.constexpr) -> None:
    member, at = tl.program_id(0), tl.arange(0, TILE)
    total = tl.zeros((TILE,), tl.float32)
    for start in range(0, N, TILE):
        total += tl.load(sums_ptr + member * N + start + at, mask=start + at < N, other=0.0)
    tl.store(out_ptr + member, tl.sum(total) * scale)


@triton.jit
def _moments(
    p_ptr, g_ptr, bias_g_ptr, m_ptr, v_ptr, mask_ptr, reg_ptr, pull_ptr, sums_ptr,
    bias, width, out, row, scale,
    MASKED: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, EPS: tl.constexpr, TILE: tl.constexpr,
) -> None:  # fmt: skip
    """Finish the gradient, advance m and v, and sum p² and u² of each tensor in this tile."""
    member, tile, tiles = tl.program_id(1), tl.program_id(0), tl.num_programs(0)
    at = tile * TILE + tl.arange(0, TILE)
    own, inside = member.to(tl.int64) * row + at, at < row
    tensor = (at >= bias).to(tl.int32) + (at >= out).to(tl.int32)  # 0, 1, 2: w_in, bias, w_out; padding adds zeros
    is_bias = (at >= bias) & (at < bias + width)
    p = tl.load(p_ptr + own, mask=inside, other=0.0)
    g = tl.load(g_ptr + own, mask=inside & (tensor != 1), other=0.0).to(tl.float32)
    g += tl.load(bias_g_ptr + member.to(tl.int64) * width + at - bias, mask=is_bias, other=0.0)
    pulled = (p - tl.load(pull_ptr + member)) * tl.load(reg_ptr + member)
    g = tl.where(is_bias, g + pulled, g)
    if MASKED:
        g *= tl.load(mask_ptr + own, mask=inside, other=0.0)
    g *= scale
    m = B1 * tl.load(m_ptr + own, mask=inside, other=0.0) + (1 - B1) * g
    v = B2 * tl.load(v_ptr + own, mask=inside, other=0.0) + (1 - B2) * g * g
    tl.store(m_ptr + own, m, mask=inside)
    tl.store(v_ptr + own, v, mask=inside)
    u = tl.div_rn(m, tl.sqrt_rn(v) + EPS)
    for i in tl.static_range(3):
        place = sums_ptr + (member * 6 + 2 * i) * tiles + tile
        tl.store(place, tl.sum(tl.where(tensor == i, p * p, 0.0)))
        tl.store(place + tiles, tl.sum(tl.where(tensor == i, u * u, 0.0)))


@triton.jit
def _update(
    p_ptr, m_ptr, v_ptr, sums_ptr, lr_ptr, bias, out, row,
    CAP: tl.constexpr, EPS: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr,
) -> None:  # fmt: skip
    """Step along u, as far as each tensor's norms say."""
    member, tiles = tl.program_id(1), tl.num_programs(0)
    at, part = tl.program_id(0) * TILE + tl.arange(0, TILE), tl.arange(0, TILES)
    own, inside = member.to(tl.int64) * row + at, at < row
    tensor = (at >= bias).to(tl.int32) + (at >= out).to(tl.int32)
    rate = tl.zeros((TILE,), tl.float32)
    for i in tl.static_range(3):
        place = sums_ptr + (member * 6 + 2 * i) * tiles + part
        p_norm = tl.sqrt_rn(tl.sum(tl.load(place, mask=part < tiles, other=0.0)))
        u_norm = tl.sqrt_rn(tl.sum(tl.load(place + tiles, mask=part < tiles, other=0.0)))
        ratio = tl.where(p_norm > CAP, CAP, p_norm) / tl.where(u_norm == 0, 1.0, u_norm)
        ratio = tl.where((p_norm == 0) | (u_norm == 0), 1.0, ratio)
        rate = tl.where(tensor == i, tl.load(lr_ptr + member) * ratio, rate)
    v = tl.load(v_ptr + own, mask=inside, other=0.0)
    u = tl.div_rn(tl.load(m_ptr + own, mask=inside, other=0.0), tl.sqrt_rn(v) + EPS)
    p = tl.load(p_ptr + own, mask=inside, other=0.0)
    tl.store(p_ptr + own, p - rate * u, mask=inside)


@triton.jit
def _scatter(
    dense_ptr, places_ptr, values_ptr, starts_ptr, ends_ptr, position_ptr, stride, arrivals, steps, cells,
    TILE: tl.constexpr,
) -> None:  # fmt: skip
    stream, position = tl.program_id(1).to(tl.int64), tl.load(position_ptr)
    at = tl.load(starts_ptr + stream * steps + position) + tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = at < tl.load(ends_ptr + stream * steps + position)
    place = tl.load(places_ptr + stream * arrivals + at, mask=inside, other=0)
    inside = inside & (place < cells)
    cell = dense_ptr + stream * stride + place
    value = tl.load(values_ptr + stream * arrivals + at, mask=inside, other=0.0)
    tl.store(cell, tl.load(cell, mask=inside, other=0.0) + value, mask=inside)


def activate(name: str, e: Tensor, bias: Tensor, out: Tensor) -> None:
    """act(e + bias) into `out`, which may be `e`; contiguous, (pack, batch, n_neurons), of any type.

    Args:
        bias: (pack, n_neurons), single precision; a view of rows.
    """
    TOLD_BY_ANSWER[name]  # an unknown one would be solu to the kernel
    n = e[0].numel()
    grid, tile = _grid(e, n)
    _activate[grid](e, out, bias, bias.stride(0), bias.shape[1], n, ACT=name, **tile)


def times_slope(name: str, dh: Tensor, e: Tensor, bias: Tensor, l1: Tensor | None) -> None:
    """(dL/dh + l1 · sign(h)) · act'(e + bias) in the place of dL/dh; (pack, batch, n_neurons) each.

    Args:
        e: what `activate` was given; for `relu`, what came out.
        bias: as there.
        l1: one number for each trial.
    """
    TOLD_BY_ANSWER[name]  # an unknown one would be solu to the kernel
    n = dh[0].numel()
    grid, tile = _grid(dh, n)
    _times_slope[grid](
        dh, e, bias, e if l1 is None else l1, bias.stride(0), bias.shape[1], n, ACT=name, L1=l1 is not None, **tile
    )


def subtract_target(y: Tensor, target: Tensor, stream_of: Tensor, scale: float) -> Tensor:
    """y - target in the place of y, (pack, batch, n_out); `scale` times each trial's sum of its squares.

    Args:
        target: of every data stream, (streams, batch, n_out).
        stream_of: which stream each trial reads.
    """
    n = y[0].numel()
    grid, tile = _grid(y, n)
    sums, out = (torch.empty(shape, dtype=torch.float32, device=y.device) for shape in ((len(y), grid[0]), len(y)))
    _subtract[grid](y, target, stream_of, target.stride(0), sums, n, **tile)
    _total[(len(y),)](sums, out, scale, N=grid[0], TILE=_TILE)
    return out


def lamb(
    stores: tuple[Tensor, Tensor, Tensor], grads: Tensor, bias_grads: Tensor, mask: Tensor | None, reg: Tensor,
    pull: Tensor, scale: float, segments: tuple[slice, slice, slice], lr: Tensor,
) -> None:  # fmt: skip
    """One step of `model.engines.lamb` in two passes; parameters and moments, (pack, row) each, change in place.

    Args:
        grads: times `mask` and `scale`, once the biases' pull, `reg` times their distance from `pull`, is added; zero
            between the segments, as all rows are.
        bias_grads: what `grads` holds nothing of, (pack, n_neurons), in single precision.
        reg, pull, lr: one number for each trial.
    """
    (params, exp_avg, exp_avg_sq), row = stores, grads.shape[1]
    grid, tile = _grid(grads, row)
    bias, out, width = segments[1].start, segments[1].stop, bias_grads.shape[1]
    sums = params.new_empty(len(params), 6, grid[0])
    _moments[grid](
        params, grads, bias_grads, exp_avg, exp_avg_sq, grads if mask is None else mask, reg, pull, sums,
        bias, width, out, row, scale,
        MASKED=mask is not None, B1=BETA1, B2=BETA2, EPS=EPS, **tile,
    )  # fmt: skip
    _update[grid](
        params, exp_avg, exp_avg_sq, sums, lr, bias, out, row,
        CAP=NORM_CAP, EPS=EPS, TILES=triton.next_power_of_2(grid[0]), **tile,
    )  # fmt: skip


def scatter(
    dense: Tensor, places: Tensor, values: Tensor, bounds: Tensor, position: Tensor, cells: int, most: int
) -> None:
    """Add one step's arrivals to the samples, (streams, cells and some to spare); no two of them share a cell.

    Args:
        places, values: of all arrivals, (streams, arrivals); those from place `cells` on are left out.
        bounds: where each step's arrivals begin and where they end, (2, streams, steps).
        position: which step it is, on the device.
        most: arrivals that a step may have.
    """
    grid = (triton.cdiv(most, _TILE), len(dense))
    _scatter[grid](
        dense, places, values, bounds[0], bounds[1], position, dense.stride(0), places.shape[1], bounds.shape[2], cells,
        TILE=_TILE,
    )  # fmt: skip


def _grid(pack: Tensor, n: int) -> tuple[tuple[int, int], dict[str, int]]:
    """(tiles, trials) for `n` elements of each trial, and what a tile is."""
    tile = _LARGE_TILE if n >= _LARGE else _TILE
    return (triton.cdiv(n, tile), len(pack)), {"TILE": tile, "num_warps": tile // _PER_WARP}

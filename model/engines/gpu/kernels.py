"""`elementwise` in Triton, for a GPU: each part is one pass over its data.

Imported where it is used and nowhere else: torch's builds for CPUs come without Triton.  A trial's bits depend on the
trial alone: sums go through a program's tile in a fixed tree, then through the tiles in a fixed order, tiles never
reach over two trials, and their sizes follow from the shape, not from the pack.  Who is nobody costs nothing here.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from monosweep.model.engines.gpu.layout import PaddedLayout
from monosweep.model.families.two_layer.config import TOLD_BY_ANSWER
from monosweep.model.optimizers import BETA1, BETA2, EPS, NORM_CAP

_TILE = 1024
_LARGE_TILE = 2048
_LARGE = 2**17
"""From so many elements of one trial on, tiles are large: fewer partial sums for all to read."""
_PER_WARP = 256
"""Elements of a tile for each warp: few enough for all that a pass holds to stay in registers."""
_ACC = {torch.float32: tl.float32, torch.float64: tl.float64}
"""What sums and parameters are kept in."""


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
def _activate(e_ptr, h_ptr, bias_ptr, alive_ptr, row, width, n,
              ACT: tl.constexpr, ACC: tl.constexpr, TILE: tl.constexpr) -> None:  # fmt: skip
    member = tl.program_id(1)
    if tl.load(alive_ptr + member) == 0:
        return
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    own = member.to(tl.int64) * n + at
    e = tl.load(e_ptr + own, mask=at < n, other=0.0).to(ACC)
    e += tl.load(bias_ptr + member.to(tl.int64) * row + at % width, mask=at < n, other=0.0)
    tl.store(h_ptr + own, _activation(e, ACT), mask=at < n)


@triton.jit
def _times_slope(dh_ptr, e_ptr, bias_ptr, l1_ptr, alive_ptr, row, width, n,
                 ACT: tl.constexpr, ACC: tl.constexpr, TILE: tl.constexpr) -> None:  # fmt: skip
    member = tl.program_id(1)
    if tl.load(alive_ptr + member) == 0:
        return
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    own = member.to(tl.int64) * n + at
    dh = tl.load(dh_ptr + own, mask=at < n, other=0.0).to(ACC)
    e = tl.load(e_ptr + own, mask=at < n, other=0.0).to(ACC)
    if ACT != "relu":
        e += tl.load(bias_ptr + member.to(tl.int64) * row + at % width, mask=at < n, other=0.0)
    h = _activation(e, ACT)
    sign = tl.where(h > 0, 1.0, 0.0) - tl.where(h < 0, 1.0, 0.0)
    dh += sign * tl.load(l1_ptr + member)
    if ACT == "relu":
        dh = tl.where(e <= 0, 0.0, dh)
    else:
        dh *= _slope(e, ACT)
    tl.store(dh_ptr + own, dh, mask=at < n)


@triton.jit
def _subtract(y_ptr, target_ptr, stream_ptr, alive_ptr, stride, sums_ptr, n,
              ACC: tl.constexpr, TILE: tl.constexpr) -> None:  # fmt: skip
    member, tile = tl.program_id(1), tl.program_id(0)
    if tl.load(alive_ptr + member) == 0:
        return
    at = tile * TILE + tl.arange(0, TILE)
    own = member.to(tl.int64) * n + at
    theirs = tl.load(stream_ptr + member) * stride + at
    error = tl.load(y_ptr + own, mask=at < n, other=0.0).to(ACC)
    error -= tl.load(target_ptr + theirs, mask=at < n, other=0.0)
    tl.store(y_ptr + own, error, mask=at < n)
    tl.store(sums_ptr + member * tl.num_programs(0) + tile, tl.sum(error * error))


@triton.jit
def _total(sums_ptr, out_ptr, SCALE: tl.constexpr, N: tl.constexpr, ACC: tl.constexpr, TILE: tl.constexpr) -> None:
    member, at = tl.program_id(0), tl.arange(0, TILE)
    total = tl.zeros((TILE,), ACC)
    for start in range(0, N, TILE):
        total += tl.load(sums_ptr + member * N + start + at, mask=start + at < N, other=0.0)
    tl.store(out_ptr + member, tl.sum(total) * SCALE)


@triton.jit
def _direction(m, v, ACC: tl.constexpr, EPS: tl.constexpr):
    """u of LAMB, rounded as IEEE says."""
    return m / (tl.sqrt(v) + EPS) if tl.float64 == ACC else tl.div_rn(m, tl.sqrt_rn(v) + EPS)


@triton.jit
def _moments(
    p_ptr, g_ptr, bias_g_ptr, m_ptr, v_ptr, mask_ptr, reg_ptr, pull_ptr, alive_ptr, sums_ptr,
    bias, neurons, width, out, row,
    MASKED: tl.constexpr, SCALE: tl.constexpr, B1: tl.constexpr, B2: tl.constexpr, EPS: tl.constexpr,
    ACC: tl.constexpr, TILE: tl.constexpr,
) -> None:  # fmt: skip
    """Finish the gradient, advance m and v, and sum p² and u² of each tensor in this tile."""
    member, tile, tiles = tl.program_id(1), tl.program_id(0), tl.num_programs(0)
    if tl.load(alive_ptr + member) == 0:
        return
    at = tile * TILE + tl.arange(0, TILE)
    own, inside = member.to(tl.int64) * row + at, at < row
    tensor = (at >= bias).to(tl.int32) + (at >= out).to(tl.int32)  # 0, 1, 2: w_in, bias, w_out; padding adds zeros
    is_bias = (at >= bias) & (at < bias + width)
    p = tl.load(p_ptr + own, mask=inside, other=0.0)
    g = tl.load(g_ptr + own, mask=inside & (tensor != 1), other=0.0).to(ACC)
    g += tl.load(bias_g_ptr + member.to(tl.int64) * width + at - bias, mask=is_bias, other=0.0)
    pulled = (p - tl.load(pull_ptr + member)) * tl.load(reg_ptr + member)
    g = tl.where((at >= bias) & (at < bias + neurons), g + pulled, g)
    if MASKED:
        g *= tl.load(mask_ptr + own, mask=inside, other=0.0)
    g *= SCALE
    m = B1 * tl.load(m_ptr + own, mask=inside, other=0.0) + (1 - B1) * g
    v = B2 * tl.load(v_ptr + own, mask=inside, other=0.0) + (1 - B2) * g * g
    tl.store(m_ptr + own, m, mask=inside)
    tl.store(v_ptr + own, v, mask=inside)
    u = _direction(m, v, ACC, EPS)
    for i in tl.static_range(3):
        place = sums_ptr + (member * 6 + 2 * i) * tiles + tile
        tl.store(place, tl.sum(tl.where(tensor == i, p * p, 0.0)))
        tl.store(place + tiles, tl.sum(tl.where(tensor == i, u * u, 0.0)))


@triton.jit
def _norm(sums_ptr, tiles, ACC: tl.constexpr, TILES: tl.constexpr):
    part = tl.arange(0, TILES)
    squares = tl.sum(tl.load(sums_ptr + part, mask=part < tiles, other=0.0))
    return tl.sqrt(squares) if tl.float64 == ACC else tl.sqrt_rn(squares)


@triton.jit
def _update(
    p_ptr, m_ptr, v_ptr, sums_ptr, lr_ptr, alive_ptr, bias, out, row,
    CAP: tl.constexpr, EPS: tl.constexpr, ACC: tl.constexpr, TILE: tl.constexpr, TILES: tl.constexpr,
) -> None:  # fmt: skip
    """Step along u, as far as each tensor's norms say."""
    member, tiles = tl.program_id(1), tl.num_programs(0)
    if tl.load(alive_ptr + member) == 0:
        return
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    own, inside = member.to(tl.int64) * row + at, at < row
    tensor = (at >= bias).to(tl.int32) + (at >= out).to(tl.int32)
    rate = tl.zeros((TILE,), ACC)
    for i in tl.static_range(3):
        place = sums_ptr + (member * 6 + 2 * i) * tiles
        p_norm, u_norm = _norm(place, tiles, ACC, TILES), _norm(place + tiles, tiles, ACC, TILES)
        ratio = tl.where(p_norm > CAP, CAP, p_norm) / tl.where(u_norm == 0, 1.0, u_norm)
        ratio = tl.where((p_norm == 0) | (u_norm == 0), 1.0, ratio)
        rate = tl.where(tensor == i, tl.load(lr_ptr + member) * ratio, rate)
    m = tl.load(m_ptr + own, mask=inside, other=0.0)
    v = tl.load(v_ptr + own, mask=inside, other=0.0)
    p = tl.load(p_ptr + own, mask=inside, other=0.0)
    tl.store(p_ptr + own, p - rate * _direction(m, v, ACC, EPS), mask=inside)


def activate(name: str, e: Tensor, bias: Tensor, alive: Tensor, out: Tensor) -> None:
    """As in `elementwise`."""
    TOLD_BY_ANSWER[name]  # an unknown one would be solu to the kernel
    n = e[0].numel()
    grid, tile = _grid(e, n)
    _activate[grid](e, out, bias, alive, bias.stride(0), bias.shape[1], n, ACT=name, ACC=_ACC[bias.dtype], **tile)


def times_slope(name: str, dh: Tensor, e: Tensor, bias: Tensor, l1: Tensor, alive: Tensor) -> None:
    """As in `elementwise`."""
    TOLD_BY_ANSWER[name]  # an unknown one would be solu to the kernel
    n = dh[0].numel()
    grid, tile = _grid(dh, n)
    _times_slope[grid](
        dh, e, bias, l1, alive, bias.stride(0), bias.shape[1], n, ACT=name, ACC=_ACC[bias.dtype], **tile
    )


def subtract_target(y: Tensor, target: Tensor, stream_of: Tensor, alive: Tensor, scale: float) -> Tensor:
    """As in `elementwise`."""
    n, acc = y[0].numel(), _ACC[target.dtype]
    grid, tile = _grid(y, n)
    sums, out = (torch.empty(shape, dtype=target.dtype, device=y.device) for shape in ((len(y), grid[0]), len(y)))
    _subtract[grid](y, target, stream_of, alive, target.stride(0), sums, n, ACC=acc, **tile)
    _total[(len(y),)](sums, out, SCALE=scale, N=grid[0], ACC=acc, TILE=_TILE)
    return out


def lamb(
    stores: tuple[Tensor, Tensor, Tensor], grads: Tensor, bias_grads: Tensor, mask: Tensor | None, reg: Tensor,
    pull: Tensor, alive: Tensor, lr: Tensor, layout: PaddedLayout, scale: float,
) -> None:  # fmt: skip
    """As in `elementwise`; in two passes."""
    (params, exp_avg, exp_avg_sq), row, acc = stores, layout.row, _ACC[stores[0].dtype]
    grid, tile = _grid(grads, row)
    bias, out, width = layout.segments[1].start, layout.segments[1].stop, bias_grads.shape[1]
    sums = params.new_empty(len(params), 6, grid[0])
    _moments[grid](
        params, grads, bias_grads, exp_avg, exp_avg_sq, grads if mask is None else mask, reg, pull, alive, sums,
        bias, layout.own[1], width, out, row,
        MASKED=mask is not None, SCALE=scale, B1=BETA1, B2=BETA2, EPS=EPS, ACC=acc, **tile,
    )  # fmt: skip
    _update[grid](
        params, exp_avg, exp_avg_sq, sums, lr, alive, bias, out, row,
        CAP=NORM_CAP, EPS=EPS, ACC=acc, TILES=triton.next_power_of_2(grid[0]), **tile,
    )  # fmt: skip


def _grid(pack: Tensor, n: int) -> tuple[tuple[int, int], dict[str, int]]:
    """(tiles, trials) for `n` elements of each trial, and what a tile is."""
    tile = _LARGE_TILE if n >= _LARGE else _TILE
    return (triton.cdiv(n, tile), len(pack)), {"TILE": tile, "num_warps": tile // _PER_WARP}

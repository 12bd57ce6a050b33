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
_STRIP, _COLUMNS = 128, 128
"""Samples whose slopes one program sums up, and neurons that it does that for."""
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
def _times_slope(dh_ptr, e_ptr, bias_ptr, l1_ptr, alive_ptr, sums_ptr, row, width, batch,
                 ACT: tl.constexpr, ACC: tl.constexpr, STRIP: tl.constexpr, ROWS: tl.constexpr,
                 COLUMNS: tl.constexpr) -> None:  # fmt: skip
    """A strip of samples, a few at a time; their sums."""
    strip, member = tl.program_id(1), tl.program_id(2)
    if tl.load(alive_ptr + member) == 0:
        return
    column, l1 = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS), tl.load(l1_ptr + member)
    bias = tl.load(bias_ptr + member.to(tl.int64) * row + column, mask=column < width, other=0.0)[None, :]
    total = tl.zeros((ROWS, COLUMNS), ACC)
    for start in range(strip * STRIP, tl.minimum(strip * STRIP + STRIP, batch), ROWS):
        sample = start + tl.arange(0, ROWS)[:, None]
        inside = (sample < batch) & (column < width)[None, :]
        own = (member.to(tl.int64) * batch + sample) * width + column[None, :]
        dh = tl.load(dh_ptr + own, mask=inside, other=0.0).to(ACC)
        e = tl.load(e_ptr + own, mask=inside, other=0.0).to(ACC)
        if ACT != "relu":
            e += bias
        h = _activation(e, ACT)
        dh += (tl.where(h > 0, 1.0, 0.0) - tl.where(h < 0, 1.0, 0.0)) * l1
        if ACT == "relu":
            dh = tl.where(e <= 0, 0.0, dh)
        else:
            dh *= _slope(e, ACT)
        tl.store(dh_ptr + own, dh, mask=inside)
        total += tl.where(inside, dh, 0.0)
    place = (member * tl.num_programs(1) + strip) * width + column
    tl.store(sums_ptr + place, tl.sum(total, axis=0), mask=column < width)


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
def _total(sums_ptr, out_ptr, width, SCALE: tl.constexpr, N: tl.constexpr, ACC: tl.constexpr, TILE: tl.constexpr,
           COLUMNS: tl.constexpr) -> None:  # fmt: skip
    """Of a trial's partial sums, column by column."""
    member, column = tl.program_id(1), tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    total = tl.zeros((TILE, COLUMNS), ACC)
    for start in range(0, N, TILE):
        part = start + tl.arange(0, TILE)[:, None]
        inside = (part < N) & (column < width)
        total += tl.load(sums_ptr + (member * N + part) * width + column, mask=inside, other=0.0)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    tl.store(out_ptr + member * width + column, tl.sum(total, axis=0) * SCALE, mask=column < width)


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


def times_slope(
    name: str, dh: Tensor, e: Tensor, bias: Tensor, l1: Tensor, alive: Tensor, sums: Tensor
) -> None:  # fmt: skip
    """As in `elementwise`."""
    TOLD_BY_ANSWER[name]  # an unknown one would be solu to the kernel
    (n, batch, width), acc = dh.shape, _ACC[bias.dtype]
    columns = min(_COLUMNS, triton.next_power_of_2(width))
    rows, strips = min(_LARGE_TILE // columns, _STRIP), triton.cdiv(batch, _STRIP)
    parts = torch.empty(n, strips, width, dtype=bias.dtype, device=dh.device)
    _times_slope[(triton.cdiv(width, columns), strips, n)](
        dh, e, bias, l1, alive, parts, bias.stride(0), width, batch,
        ACT=name, ACC=acc, STRIP=_STRIP, ROWS=rows, COLUMNS=columns, num_warps=_LARGE_TILE // _PER_WARP,
    )  # fmt: skip
    _sum_parts(parts, 1.0, sums)


def _sum_parts(parts: Tensor, scale: float, out: Tensor) -> None:
    """`scale` times the sums over a trial's parts, (trials, parts, width), into `out`, (trials, width)."""
    n, n_parts, width = parts.shape
    columns = min(_COLUMNS, triton.next_power_of_2(width))
    _total[(triton.cdiv(width, columns), n)](
        parts, out, width, SCALE=scale, N=n_parts, ACC=_ACC[parts.dtype], TILE=_LARGE_TILE // columns, COLUMNS=columns
    )


def subtract_target(y: Tensor, target: Tensor, stream_of: Tensor, alive: Tensor, scale: float) -> Tensor:
    """As in `elementwise`."""
    n, acc = y[0].numel(), _ACC[target.dtype]
    grid, tile = _grid(y, n)
    sums, out = (target.new_empty(len(y), *shape) for shape in ((grid[0], 1), ()))
    _subtract[grid](y, target, stream_of, alive, target.stride(0), sums, n, ACC=acc, **tile)
    _sum_parts(sums, scale, out)
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

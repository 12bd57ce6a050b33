"""The element-wise parts of one training step, each one pass over memory, compiled by numba.

Between matrix products a step only reads and writes; fusing what touches the same array makes it cost what its
bytes cost.  Every function's bits follow from its arguments alone, however it was compiled (`jit`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from monosweep.model.engines.cpu.jit import compiled
from monosweep.model.engines.cpu.lanes import add_scaled, long_dot, relu_row, relu_slope_row
from monosweep.model.optimizers import BETA1, BETA2, EPS, NORM_CAP


@compiled
def embed(cells, values, read, out):  # type: ignore[no-untyped-def]
    """Σ_i values_i · read[i] of each sample's present features i, into the sample's row of `out`.

    Args:
        cells: sample · n_features + feature (present,), ascending.
        read: (n_features, dimensions).
        out: (samples, dimensions).
    """
    n_features, width = read.shape
    flat = out.reshape(-1)
    for i in range(flat.size):
        flat[i] = 0
    stride, start, source = width * out.itemsize, out.ctypes.data, read.ctypes.data
    for i in range(cells.size):
        sample, feature = divmod(cells[i], n_features)
        add_scaled(flat, values[i], source + feature * stride, start + sample * stride, width)


@compiled
def add_bias(e, bias):  # type: ignore[no-untyped-def]
    """e + bias, in place."""
    for row in range(e.shape[0]):
        for j in range(e.shape[1]):
            e[row, j] += bias[j]


@compiled
def add_columns(values, out, fresh):  # type: ignore[no-untyped-def]
    """The sum of each column into `out`, row after row; added to it unless `fresh`."""
    if fresh:
        out[:] = 0
    for row in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[j] += values[row, j]


@compiled
def relu(e, bias):  # type: ignore[no-untyped-def]
    """max(e + bias, 0), in place; NaN stays."""
    start, stride = e.ctypes.data, e.shape[1] * e.itemsize
    for row in range(e.shape[0]):
        relu_row(e, start + row * stride, bias.ctypes.data, e.shape[1])


@compiled
def relu_slope(dh, h, l1, bias_grads, fresh):  # type: ignore[no-untyped-def]
    """dL/dh into dL/de, in place: (dh + l1) where h > 0, else 0; its columns' sums as `add_columns`."""
    if fresh:
        bias_grads[:] = 0
    stride, back, gate, sums = dh.shape[1] * dh.itemsize, dh.ctypes.data, h.ctypes.data, bias_grads.ctypes.data
    for row in range(dh.shape[0]):
        relu_slope_row(dh, l1, back + row * stride, gate + row * stride, sums, dh.shape[1])


@compiled
def subtract_sparse(y, cells, values, offset):  # type: ignore[no-untyped-def]
    """y -= target, which is zero but for `values` at `cells - offset` of the flattened y; Σ y² after it."""
    flat = y.reshape(-1)
    for i in range(cells.size):
        flat[cells[i] - offset] -= values[i]
    return long_dot(flat, flat)


@compiled
def subtract_dense(y, target):  # type: ignore[no-untyped-def]
    """y -= target; Σ y² after it."""
    flat, other = y.reshape(-1), target.reshape(-1)
    for i in range(flat.size):
        flat[i] -= other[i]
    return long_dot(flat, flat)


@compiled
def to_bf16(values, out):  # type: ignore[no-untyped-def]
    """Single precision to bfloat16, as uint16: 8 significant bits, to the nearest, ties to even; NaN stays NaN."""
    bits, rounded = values.reshape(-1).view(np.uint32), out.reshape(-1)
    for i in range(bits.size):
        rounded[i] = _bf16_bits(bits[i]) >> np.uint32(16)


@compiled
def round_to_bf16(values):  # type: ignore[no-untyped-def]
    """Single precision to values that bfloat16 has, in place."""
    bits = values.reshape(-1).view(np.uint32)
    for i in range(bits.size):
        bits[i] = _bf16_bits(bits[i])


@compiled
def relu_bf16(e, bias, out):  # type: ignore[no-untyped-def]
    """max(bfloat16 of e, a product yet to be rounded, + bias, 0) as bfloat16; what was rounded stays in `e`."""
    words = e.view(np.uint32)
    for row in range(e.shape[0]):
        for j in range(e.shape[1]):
            words[row, j] = _bf16_bits(words[row, j])
        for j in range(e.shape[1]):
            e[row, j] += bias[j]
        for j in range(e.shape[1]):
            # The sign bit makes it negative as an integer too; a rounded NaN has none, and goes on.
            out[row, j] = max(np.int32(_bf16_bits(words[row, j])), np.int32(0)) >> np.int32(16)


@compiled
def relu_slope_bf16(dh, h, l1, out, bias_grads, fresh):  # type: ignore[no-untyped-def]
    """dL/dh, a product yet to be rounded, into dL/de as bfloat16: (dh + l1) where h > 0, else 0; its columns' sums,
    before the last rounding, as `add_columns`."""
    words, zero = dh.view(np.uint32), dh.dtype.type(0)
    if fresh:
        bias_grads[:] = zero
    for row in range(dh.shape[0]):
        for j in range(dh.shape[1]):
            words[row, j] = _bf16_bits(words[row, j])
        for j in range(dh.shape[1]):
            slope = dh[row, j] + l1 if h[row, j] != 0 else zero
            dh[row, j] = slope
            bias_grads[j] += slope
        for j in range(dh.shape[1]):
            out[row, j] = _bf16_bits(words[row, j]) >> np.uint32(16)


@compiled
def subtract_sparse_bf16(y, cells, values, offset, out):  # type: ignore[no-untyped-def]
    """bfloat16 of y - target, where y is a product yet to be rounded; Σ (y - target)² of rounded y.

    `y` holds what it was rounded to afterwards, the target not subtracted.
    """
    total, half = _round_and_sum(y, out), out.reshape(-1)
    flat, words = y.reshape(-1), y.reshape(-1).view(np.uint32)
    for i in range(cells.size):
        place = cells[i] - offset
        answer, value = flat[place], values[i]
        total += float(value) * (float(value) - 2.0 * float(answer))
        flat[place] = answer - value
        half[place] = _bf16_bits(words[place]) >> np.uint32(16)
        flat[place] = answer
    return total


@compiled
def subtract_dense_bf16(y, target, out):  # type: ignore[no-untyped-def]
    """bfloat16 of y - target, where y is a product yet to be rounded; Σ (y - target)² of rounded y."""
    round_to_bf16(y)
    total = subtract_dense(y, target)
    to_bf16(y, out)
    return total


@compiled
def _round_and_sum(y, out):  # type: ignore[no-untyped-def]
    """Round y in place and into `out`, as bfloat16; the sum of its squares."""
    flat, words, rounded = y.reshape(-1), y.reshape(-1).view(np.uint32), out.reshape(-1)
    for i in range(words.size):
        word = _bf16_bits(words[i])
        words[i] = word
        rounded[i] = word >> np.uint32(16)
    return long_dot(flat, flat)


@compiled
def _bf16_bits(word):  # type: ignore[no-untyped-def]
    """A float32's bits rounded to the 16 that bfloat16 keeps; NaN becomes the quiet one."""
    up = (word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    is_nan = (word & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    return np.uint32(0x7FC00000) if is_nan else up


@compiled
def lamb(params, exp_avg, exp_avg_sq, grads, update, constants, lr):  # type: ignore[no-untyped-def]
    """LAMB on one tensor, as `model.engines.lamb.lamb_step`; the step that it took along `update`.

    Args:
        grads: gradients up to the factor that `lamb_constants` was told.
    """
    beta1, fresh1, beta2, fresh2, eps, cap, one = constants
    for i in range(params.size):
        g = grads[i]
        m = beta1 * exp_avg[i] + fresh1 * g
        v = beta2 * exp_avg_sq[i] + fresh2 * g * g
        exp_avg[i], exp_avg_sq[i], update[i] = m, v, m / (np.sqrt(v) + eps)
    p_norm = min(np.sqrt(params.dtype.type(long_dot(params, params))), cap)
    u_norm = np.sqrt(params.dtype.type(long_dot(update, update)))
    ratio = one
    if p_norm != 0 and u_norm != 0:
        ratio = p_norm / u_norm
    step = lr * ratio
    for i in range(params.size):
        params[i] -= step * update[i]
    return step


def lamb_constants(dtype: np.dtype[Any], grad_factor: float) -> Float[ndarray, " 7"]:
    """Constants of `lamb` for gradients that still lack `grad_factor`: β1, its complement, β2, …"""
    fresh1, fresh2 = (1 - BETA1) * grad_factor, (1 - BETA2) * grad_factor**2
    return np.array([BETA1, fresh1, BETA2, fresh2, EPS, NORM_CAP, 1], dtype)

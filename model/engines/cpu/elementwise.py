"""The element-wise parts of one training step, each one pass over memory, compiled by numba.

Between matrix products a step only reads and writes; fusing what touches the same array makes it cost what its
bytes cost.  Sums may be reordered by the compiler, but in one way for one machine, whatever the data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from monosweep.model.engines.cpu.jit import compiled
from monosweep.model.engines.lamb import BETA1, BETA2, EPS, NORM_CAP


@compiled
def relu(e):  # type: ignore[no-untyped-def]
    """max(e, 0), in place."""
    flat = e.reshape(-1)
    zero = flat.dtype.type(0)
    for i in range(flat.size):
        flat[i] = max(flat[i], zero)


@compiled
def relu_slope(dh, h, l1):  # type: ignore[no-untyped-def]
    """dL/dh into dL/de, in place: (dh + l1) where h > 0, else 0."""
    flat, gate = dh.reshape(-1), h.reshape(-1)
    zero = flat.dtype.type(0)
    for i in range(flat.size):
        flat[i] = flat[i] + l1 if gate[i] > zero else zero


@compiled
def subtract_sparse(y, cells, values, offset):  # type: ignore[no-untyped-def]
    """y -= target, which is zero but for `values` at `cells - offset` of the flattened y; Σ y² after it."""
    flat = y.reshape(-1)
    for i in range(cells.size):
        flat[cells[i] - offset] -= values[i]
    return _sum_of_squares(y)


@compiled
def subtract_dense(y, target):  # type: ignore[no-untyped-def]
    """y -= target; Σ y² after it."""
    flat, other = y.reshape(-1), target.reshape(-1)
    for i in range(flat.size):
        flat[i] -= other[i]
    return _sum_of_squares(y)


@compiled
def _sum_of_squares(y):  # type: ignore[no-untyped-def]
    total = 0.0
    for row in range(y.shape[0]):
        part = y.dtype.type(0)
        for i in range(y.shape[1]):
            part += y[row, i] * y[row, i]
        total += part
    return total


@compiled
def round_to_tf32(values, out):  # type: ignore[no-untyped-def]
    """Single precision to TF32: 11 significant bits, to the nearest, ties to even; NaN and infinity stay."""
    bits, rounded = values.reshape(-1).view(np.uint32), out.reshape(-1).view(np.uint32)
    for i in range(bits.size):
        word = bits[i]
        odd = (word >> np.uint32(13)) & np.uint32(1)
        finite = (word & np.uint32(0x7F800000)) != np.uint32(0x7F800000)
        up = np.uint32(0xFFF) + odd if finite else np.uint32(0)
        rounded[i] = (word + up) & np.uint32(0xFFFFE000) if finite else word


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
def relu_bf16(e, out):  # type: ignore[no-untyped-def]
    """max(e, 0) rounded to bfloat16."""
    bits, rounded = e.reshape(-1).view(np.uint32), out.reshape(-1)
    for i in range(bits.size):
        # The sign bit makes it negative as an integer too; a rounded NaN has none, and goes on.
        rounded[i] = max(np.int32(_bf16_bits(bits[i])), np.int32(0)) >> np.int32(16)


@compiled
def relu_slope_bf16(dh, h, l1, out):  # type: ignore[no-untyped-def]
    """dL/dh, a product yet to be rounded, into dL/de as bfloat16: (dh + l1) where h > 0, else 0."""
    flat, gate, rounded = dh.reshape(-1), h.reshape(-1), out.reshape(-1)
    bits = flat.view(np.uint32)
    if l1 != 0:
        for i in range(flat.size):
            bits[i] = _bf16_bits(bits[i])
            flat[i] += l1
    for i in range(flat.size):
        word = _bf16_bits(bits[i]) >> np.uint32(16)
        rounded[i] = word if gate[i] != 0 else np.uint32(0)


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
    total, words = 0.0, y.view(np.uint32)
    for row in range(y.shape[0]):
        part = y.dtype.type(0)
        for i in range(y.shape[1]):
            word = _bf16_bits(words[row, i])
            words[row, i] = word
            out[row, i] = word >> np.uint32(16)
            part += y[row, i] * y[row, i]
        total += part
    return total


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
    p_sum, u_sum = params.dtype.type(0), params.dtype.type(0)
    for i in range(params.size):
        g = grads[i]
        m = beta1 * exp_avg[i] + fresh1 * g
        v = beta2 * exp_avg_sq[i] + fresh2 * g * g
        u = m / (np.sqrt(v) + eps)
        exp_avg[i], exp_avg_sq[i], update[i] = m, v, u
        u_sum += u * u
        p_sum += params[i] * params[i]
    p_norm, u_norm = min(np.sqrt(p_sum), cap), np.sqrt(u_sum)
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

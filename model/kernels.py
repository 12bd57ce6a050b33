"""The element-wise parts of one training step, each one pass over memory, compiled by numba.

Between matrix products a step only reads and writes; fusing what touches the same array makes it cost what its
bytes cost.  Sums may be reordered by the compiler, but in one way for one machine, whatever the data.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from model.lamb import BETA1, BETA2, EPS, NORM_CAP

# Contraction and reordering let sums run in vector registers.  NaN and infinity keep their meaning, because a
# diverging trial is recognised by them.
COMPILE: Any = numba.njit(
    fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy", boundscheck=False, cache=True
)


@COMPILE
def relu(e):  # type: ignore[no-untyped-def]
    """max(e, 0), in place."""
    flat = e.reshape(-1)
    zero = flat.dtype.type(0)
    for i in range(flat.size):
        flat[i] = max(flat[i], zero)


@COMPILE
def relu_slope(dh, h, l1):  # type: ignore[no-untyped-def]
    """dL/dh into dL/de, in place: (dh + l1) where h > 0, else 0."""
    flat, gate = dh.reshape(-1), h.reshape(-1)
    zero = flat.dtype.type(0)
    for i in range(flat.size):
        flat[i] = flat[i] + l1 if gate[i] > zero else zero


@COMPILE
def subtract_sparse(y, cells, values, offset):  # type: ignore[no-untyped-def]
    """y -= target, which is zero but for `values` at `cells - offset` of the flattened y; Σ y² after it."""
    flat = y.reshape(-1)
    for i in range(cells.size):
        flat[cells[i] - offset] -= values[i]
    return _sum_of_squares(y)


@COMPILE
def subtract_dense(y, target):  # type: ignore[no-untyped-def]
    """y -= target; Σ y² after it."""
    flat, other = y.reshape(-1), target.reshape(-1)
    for i in range(flat.size):
        flat[i] -= other[i]
    return _sum_of_squares(y)


@COMPILE
def _sum_of_squares(y):  # type: ignore[no-untyped-def]
    total = 0.0
    for row in range(y.shape[0]):
        part = y.dtype.type(0)
        for i in range(y.shape[1]):
            part += y[row, i] * y[row, i]
        total += part
    return total


@COMPILE
def round_to_tf32(values, out):  # type: ignore[no-untyped-def]
    """Single precision to TF32: 11 significant bits, to the nearest, ties to even; NaN and infinity stay."""
    bits, rounded = values.reshape(-1).view(np.uint32), out.reshape(-1).view(np.uint32)
    for i in range(bits.size):
        word = bits[i]
        odd = (word >> np.uint32(13)) & np.uint32(1)
        finite = (word & np.uint32(0x7F800000)) != np.uint32(0x7F800000)
        up = np.uint32(0xFFF) + odd if finite else np.uint32(0)
        rounded[i] = (word + up) & np.uint32(0xFFFFE000) if finite else word


@COMPILE
def lamb(params, exp_avg, exp_avg_sq, grads, update, constants, lr):  # type: ignore[no-untyped-def]
    """LAMB on one tensor, as `model.lamb.lamb_step`; the step that it took along `update`.

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
    for i in range(params.size):
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

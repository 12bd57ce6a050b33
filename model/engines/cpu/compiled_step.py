"""A chunk of steps of one trial as one compiled function: no Python between two matrix products.

This is the step of `engine` for the common case: ReLU, a bias decay that all neurons feel alike, and products in the
type of the data, with the bits of the step in Python, or of operands rounded to bfloat16 where the processor
multiplies them fast.  At the smallest shapes the interpreter would cost as much as the arithmetic.
"""

from __future__ import annotations

from monosweep.model.config import TrialConfig
from monosweep.model.engines.cpu.elementwise import (
    lamb,
    relu,
    relu_bf16,
    relu_slope,
    relu_slope_bf16,
    round_to_bf16,
    subtract_dense,
    subtract_dense_bf16,
    subtract_sparse,
    subtract_sparse_bf16,
    to_bf16,
)
from monosweep.model.engines.cpu.gemm import gemm, has_bf16
from monosweep.model.engines.cpu.jit import compiled

_WORTHWHILE = 0.8
"""Of the operations: fewer are not worth smaller products and the sums that cancel."""


def is_fused(config: TrialConfig) -> bool:
    """Whether trials of this shape are trained by `train_chunk`."""
    exact = config.precision in ("fp32", "fp64")
    return (exact or is_half(config)) and config.activation == "relu" and config.bias_decay_mode == "rate"


def is_half(config: TrialConfig) -> bool:
    """Whether compiled steps of this shape multiply bfloat16."""
    return config.precision == "bf16" and has_bf16()


def is_gram(config: TrialConfig) -> bool:
    """Whether a step with W2ᵀW2 and HᵀH needs clearly fewer operations than one with the (batch, n_features) error.

    The error takes three products of 2 N k operations a sample.  Instead there are two of 2 k² a sample, and two of
    2 N k² a step; what the targets add is sparse.  So it is for layers narrower than the features are many.
    """
    if config.task == "reprojector" or config.precision == "bf16":
        return False
    n, k, batch = config.n_features, config.n_neurons, config.samples_per_step
    return k * (4 + 4 * n / batch) < _WORTHWHILE * 6 * n


@compiled
def train_chunk(rows, mask, chunk, schedule, buffers, halves, gram, row_buffers, constants, sizes, losses):  # type: ignore[no-untyped-def]
    """Train one trial for as many steps as `losses` has places; each place takes the task loss before its step.

    Args:
        rows: parameters and both moments (row,).
        mask: 1 where a connection exists, else 0 (row,); empty if all exist.
        chunk: x (steps, batch, d_embed + 1); cells and values (present,); dense targets (steps, batch, n_out), empty
            if the targets lie at `cells`; where each block's cells begin, and the end.
        schedule: learning rates and bias decays (steps,); the L1 weight, the bias' regularisation and its target.
        buffers: h and dL/dh (block, n_neurons); error (block, n_out).
        halves: None; for products of bfloat16, then also the type of x, the same three and a row of parameters.
        gram: two (n_neurons, n_neurons), for W2ᵀW2 and HᵀH; empty for the form with the error.
        row_buffers: gradients and the update (row,).
        constants: as `lamb_constants` makes them.
        sizes: d_embed, n_neurons, n_out, and where w_out begins in a row.
    """
    params, exp_avg, exp_avg_sq = rows
    lr, decay, l1, bias_reg, bias_target = schedule
    grads, update = row_buffers
    d, k, n_out, start = sizes
    bias, one = params[d * k : (d + 1) * k], params.dtype.type(1)
    segments = (slice(0, d * k), slice(d * k, (d + 1) * k), slice(start, start + n_out * k))
    batch, block = chunk[0].shape[1], buffers[0].shape[0]
    for step in range(losses.size):
        if gram[0].size:
            decoder = params[segments[2]].reshape(n_out, k)
            gemm(decoder, True, decoder, False, gram[0], False)
        if halves is not None:
            to_bf16(params, halves[3])
        total = 0.0
        for lo in range(0, batch, block):
            if halves is not None:
                total += _half_gradients(grads, chunk, buffers, halves, l1, sizes, step, lo)
            elif gram[0].size:
                total += _gram_gradients(params, grads, chunk, buffers, gram, l1, sizes, step, lo)
            else:
                total += _gradients(params, grads, chunk, buffers, l1, sizes, step, lo)
        losses[step] = total / batch
        if halves is not None:
            round_to_bf16(grads)
        if bias_reg:
            for i in range(k):
                grads[d * k + i] += (bias[i] - bias_target) * bias_reg
        for i in range(mask.size):
            grads[i] *= mask[i]
        for part in segments:
            lamb(params[part], exp_avg[part], exp_avg_sq[part], grads[part], update[part], constants, lr[step])
        for i in range(k):
            bias[i] *= one - decay[step]


@compiled
def _gradients(params, grads, chunk, buffers, l1, sizes, step, lo):  # type: ignore[no-untyped-def]
    """Gradients over the samples of a block from `lo` on, up to the factor 2 / batch; Σ error² over them."""
    x, cells, values, dense, bounds = chunk
    h, dh, error = buffers
    d, k, n_out, start = sizes
    batch, block, end = x.shape[1], h.shape[0], start + n_out * k
    n = min(block, batch - lo)
    samples, h, dh, error = x[step, lo : lo + n], h[:n], dh[:n], error[:n]
    encoder, decoder = params[: (d + 1) * k].reshape(d + 1, k), params[start:end].reshape(n_out, k)
    gemm(samples, False, encoder, False, h, False)
    relu(h)
    gemm(h, False, decoder, True, error, False)
    if dense.size:
        loss = subtract_dense(error, dense[step, lo : lo + n])
    else:
        place = step * -(-batch // block) + lo // block
        present = slice(bounds[place], bounds[place + 1])
        loss = subtract_sparse(error, cells[present], values[present], (step * batch + lo) * n_out)
    gemm(error, True, h, False, grads[start:end].reshape(n_out, k), lo > 0)
    gemm(error, False, decoder, False, dh, False)
    relu_slope(dh, h, l1)
    gemm(samples, True, dh, False, grads[: (d + 1) * k].reshape(d + 1, k), lo > 0)
    return loss


@compiled
def _half_gradients(grads, chunk, buffers, halves, l1, sizes, step, lo):  # type: ignore[no-untyped-def]
    """`_gradients` with operands of bfloat16.  Products are rounded to it, as torch does; gradients by the caller."""
    x, cells, values, dense, bounds = chunk
    h, dh, error = halves[0], halves[1], halves[2]
    d, k, n_out, start = sizes
    batch, block, end = x.shape[1], h.shape[0], start + n_out * k
    n = min(block, batch - lo)
    samples, h, dh, error = x[step, lo : lo + n], h[:n], dh[:n], error[:n]
    wide, outer = buffers[0][:n], buffers[2][:n]
    encoder, decoder = halves[3][: (d + 1) * k].reshape(d + 1, k), halves[3][start:end].reshape(n_out, k)
    gemm(samples, False, encoder, False, wide, False)
    relu_bf16(wide, h)
    gemm(h, False, decoder, True, outer, False)
    if dense.size:
        loss = subtract_dense_bf16(outer, dense[step, lo : lo + n], error)
    else:
        place = step * -(-batch // block) + lo // block
        present = slice(bounds[place], bounds[place + 1])
        loss = subtract_sparse_bf16(outer, cells[present], values[present], (step * batch + lo) * n_out, error)
    gemm(error, True, h, False, grads[start:end].reshape(n_out, k), lo > 0)
    gemm(error, False, decoder, False, wide, False)
    relu_slope_bf16(wide, h, l1, dh)
    gemm(samples, True, dh, False, grads[: (d + 1) * k].reshape(d + 1, k), lo > 0)
    return loss


@compiled
def _gram_gradients(params, grads, chunk, buffers, gram, l1, sizes, step, lo):  # type: ignore[no-untyped-def]
    """As `_gradients`: dL/dh = h W2ᵀW2 - f W2, dL/dW2 = W2 HᵀH - FᵀH, |W2 h - f|² = h W2ᵀW2 h - 2 f W2 h + f²."""
    x, cells, values, _, bounds = chunk
    h, dh, _ = buffers
    d, k, n_out, start = sizes
    batch, block, end = x.shape[1], h.shape[0], start + n_out * k
    n = min(block, batch - lo)
    samples, h, dh = x[step, lo : lo + n], h[:n], dh[:n]
    encoder, decoder = params[: (d + 1) * k].reshape(d + 1, k), params[start:end].reshape(n_out, k)
    into = grads[start:end].reshape(n_out, k)
    gemm(samples, False, encoder, False, h, False)
    relu(h)
    gemm(h, False, gram[0], False, dh, False)
    gemm(h, True, h, False, gram[1], False)
    gemm(decoder, False, gram[1], False, into, lo > 0)
    loss = _sum_of_products(h, dh)
    place = step * -(-batch // block) + lo // block
    for i in range(bounds[place], bounds[place + 1]):
        sample, feature = divmod(cells[i] - (step * batch + lo) * n_out, n_out)
        loss += _subtract_feature(h[sample], dh[sample], decoder[feature], into[feature], values[i])
    relu_slope(dh, h, l1)
    gemm(samples, True, dh, False, grads[: (d + 1) * k].reshape(d + 1, k), lo > 0)
    return loss


@compiled
def _sum_of_products(a, b):  # type: ignore[no-untyped-def]
    total = 0.0
    for row in range(a.shape[0]):
        part = a.dtype.type(0)
        for i in range(a.shape[1]):
            part += a[row, i] * b[row, i]
        total += part
    return total


@compiled
def _subtract_feature(h, dh, weights, grads, value):  # type: ignore[no-untyped-def]
    """What a present feature of strength `value` takes from dL/dh and dL/dW2; what it adds to the loss."""
    answer = h.dtype.type(0)
    for i in range(h.size):
        answer += h[i] * weights[i]
        dh[i] -= value * weights[i]
        grads[i] -= value * h[i]
    return float(value) * (float(value) - 2.0 * float(answer))

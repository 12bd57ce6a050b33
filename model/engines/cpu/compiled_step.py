"""A chunk of steps of one trial as one compiled function: no Python between two matrix products.

This is the step of `engine` for the common case: ReLU, a bias decay that all neurons feel alike, and products in the
type of the data, or of operands rounded to bfloat16 where the processor multiplies them fast.  In the form with the
error it has the bits of the step in Python.  At the smallest shapes the interpreter would cost as much as the
arithmetic.
"""

from __future__ import annotations

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
from monosweep.model.engines.cpu.gemm import gemm, has_amx
from monosweep.model.engines.cpu.jit import compiled
from monosweep.model.engines.cpu.lanes import dot, long_dot
from monosweep.model.families.two_layer.config import REPROJECTS, TwoLayerConfig

_WORTHWHILE = 0.8
"""Of the operations: fewer are not worth smaller products and the sums that cancel."""
_CANCELLED = 2.0**-10
"""A loss that is so small a part of the squares whose difference it is has lost too many digits to them."""


def is_fused(config: TwoLayerConfig) -> bool:
    """Whether trials of this shape are trained by `train_chunk`."""
    exact = config.precision in ("fp32", "fp64")
    return (exact or is_half(config)) and config.activation == "relu" and config.bias_decay_mode == "rate"


def is_half(config: TwoLayerConfig) -> bool:
    """Whether compiled steps of this shape multiply bfloat16."""
    return config.precision == "bf16" and has_amx()


def is_gram(config: TwoLayerConfig) -> bool:
    """Whether a step with W2ᵀW2 and HᵀH needs clearly fewer operations than one with the (batch, n_features) error.

    The error takes three products of 2 N k operations a sample.  Instead there are two of 2 k² a sample, and two of
    2 N k² a step; what the targets add is sparse.  So it is for layers narrower than the features are many.
    """
    if REPROJECTS[config.task] or config.precision == "bf16":
        return False
    n, k, batch = config.n_features, config.n_neurons, config.samples_per_step
    return k * (4 + 4 * n / batch) < _WORTHWHILE * 6 * n


@compiled
def train_chunk(rows, mask, chunk, schedule, buffers, halves, gram, row_buffers, constants, sizes, losses):  # type: ignore[no-untyped-def]
    """Train one trial for as many steps as `losses` has places; each place takes the task loss before its step.

    Args:
        rows: parameters and both moments (row,).
        mask: 1 where a connection exists, else 0 (row,); empty if all exist.
        chunk: x (steps, batch, d_embed); cells and values (present,); dense targets (steps, batch, n_out), empty
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
                total += _half_gradients(params, grads, chunk, buffers, halves, l1, sizes, step, lo)
            elif gram[0].size:
                total += _gram_gradients(params, grads, chunk, buffers, gram, l1, sizes, step, lo)
            else:
                total += _gradients(params, grads, chunk, buffers, l1, sizes, step, lo)
        losses[step] = total / batch
        if halves is not None:
            round_to_bf16(grads[segments[0]])
            round_to_bf16(grads[segments[2]])
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
    samples, h, dh = _block(chunk, buffers, step, lo)
    d, k, _, _ = sizes
    gemm(samples, False, params[: d * k].reshape(d, k), False, h, False)
    relu(h, params[d * k : (d + 1) * k])
    return _rest_with_error(params, grads, chunk, samples, h, dh, buffers[2], l1, sizes, step, lo)


@compiled
def _block(chunk, buffers, step, lo):  # type: ignore[no-untyped-def]
    """The samples of a block, and the places of h and dL/dh for them."""
    n = min(buffers[0].shape[0], chunk[0].shape[1] - lo)
    return chunk[0][step, lo : lo + n], buffers[0][:n], buffers[1][:n]


@compiled
def _present(chunk, block, step, lo):  # type: ignore[no-untyped-def]
    """Which of the chunk's cells lie in a block of so many samples."""
    place = step * -(-chunk[0].shape[1] // block) + lo // block
    return chunk[4][place], chunk[4][place + 1]


@compiled
def _rest_with_error(params, grads, chunk, samples, h, dh, errors, l1, sizes, step, lo):  # type: ignore[no-untyped-def]
    """`_gradients` once h is known."""
    _, cells, values, dense, _ = chunk
    d, k, n_out, start = sizes
    end, error = start + n_out * k, errors[: len(h)]
    decoder = params[start:end].reshape(n_out, k)
    gemm(h, False, decoder, True, error, False)
    if dense.size:
        loss = subtract_dense(error, dense[step, lo : lo + len(h)])
    else:
        first, stop = _present(chunk, len(errors), step, lo)
        loss = subtract_sparse(error, cells[first:stop], values[first:stop], (step * chunk[0].shape[1] + lo) * n_out)
    gemm(error, True, h, False, grads[start:end].reshape(n_out, k), lo > 0)
    gemm(error, False, decoder, False, dh, False)
    relu_slope(dh, h, l1, grads[d * k : (d + 1) * k], lo == 0)
    gemm(samples, True, dh, False, grads[: d * k].reshape(d, k), lo > 0)
    return loss


@compiled
def _half_gradients(params, grads, chunk, buffers, halves, l1, sizes, step, lo):  # type: ignore[no-untyped-def]
    """`_gradients` with operands of bfloat16.  Products are rounded to it, as torch does; gradients by the caller."""
    _, cells, values, dense, _ = chunk
    samples, wide, _ = _block(chunk, buffers, step, lo)
    d, k, n_out, start = sizes
    n = len(samples)
    h, dh, error, outer = halves[0][:n], halves[1][:n], halves[2][:n], buffers[2][:n]
    encoder, decoder = halves[3][: d * k].reshape(d, k), halves[3][start : start + n_out * k].reshape(n_out, k)
    gemm(samples, False, encoder, False, wide, False)
    relu_bf16(wide, params[d * k : (d + 1) * k], h)
    gemm(h, False, decoder, True, outer, False)
    if dense.size:
        loss = subtract_dense_bf16(outer, dense[step, lo : lo + n], error)
    else:
        first, stop = _present(chunk, len(buffers[0]), step, lo)
        offset = (step * chunk[0].shape[1] + lo) * n_out
        loss = subtract_sparse_bf16(outer, cells[first:stop], values[first:stop], offset, error)
    gemm(error, True, h, False, grads[start : start + n_out * k].reshape(n_out, k), lo > 0)
    gemm(error, False, decoder, False, wide, False)
    relu_slope_bf16(wide, h, l1, dh, grads[d * k : (d + 1) * k], lo == 0)
    gemm(samples, True, dh, False, grads[: d * k].reshape(d, k), lo > 0)
    return loss


@compiled
def _gram_gradients(params, grads, chunk, buffers, gram, l1, sizes, step, lo):  # type: ignore[no-untyped-def]
    """As `_gradients`: dL/dh = h W2ᵀW2 - f W2, dL/dW2 = W2 HᵀH - FᵀH, |W2 h - f|² = h W2ᵀW2 h - 2 f W2 h + f²."""
    _, cells, values, _, _ = chunk
    samples, h, dh = _block(chunk, buffers, step, lo)
    d, k, n_out, start = sizes
    end = start + n_out * k
    decoder, into = params[start:end].reshape(n_out, k), grads[start:end].reshape(n_out, k)
    gemm(samples, False, params[: d * k].reshape(d, k), False, h, False)
    relu(h, params[d * k : (d + 1) * k])
    gemm(h, False, gram[0], False, dh, False)
    (first, stop), offset = _present(chunk, len(buffers[0]), step, lo), (step * chunk[0].shape[1] + lo) * n_out
    answers = long_dot(h.reshape(-1), dh.reshape(-1))
    loss, size = answers, answers
    for i in range(first, stop):
        sample, feature = divmod(cells[i] - offset, n_out)
        value = float(values[i])
        loss += value * (value - 2.0 * float(dot(h[sample], decoder[feature])))
        size += value * value
    if loss < _CANCELLED * size:
        return _rest_with_error(params, grads, chunk, samples, h, dh, buffers[2], l1, sizes, step, lo)
    gemm(h, True, h, False, gram[1], False)
    gemm(decoder, False, gram[1], False, into, lo > 0)
    for i in range(first, stop):
        sample, feature = divmod(cells[i] - offset, n_out)
        _subtract_feature(h[sample], dh[sample], decoder[feature], into[feature], values[i])
    relu_slope(dh, h, l1, grads[d * k : (d + 1) * k], lo == 0)
    gemm(samples, True, dh, False, grads[: d * k].reshape(d, k), lo > 0)
    return loss


@compiled
def _subtract_feature(h, dh, weights, grads, value):  # type: ignore[no-untyped-def]
    """What a present feature of strength `value` takes from dL/dh and dL/dW2."""
    for i in range(h.size):
        dh[i] -= value * weights[i]
    for i in range(h.size):
        grads[i] -= value * h[i]

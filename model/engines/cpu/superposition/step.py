"""A chunk of steps of one model of superposition as one compiled function, at the cost of the features that are there.

A sample without features is x̂ = act(b), for all of them at once: only those with a feature are computed, and of their
features only those that are present are read.  Matrices lie with samples side by side, since features are few.

    Samples, a member's rows ──train_chunk──> losses, rows changed in place
"""

from __future__ import annotations

import numpy as np

from monosweep.model.engines.cpu.elementwise import lamb
from monosweep.model.engines.cpu.gemm import gemm
from monosweep.model.engines.cpu.jit import compiled
from monosweep.model.engines.cpu.lanes import long_dot, not_negative

LAMB, ADAM, ADAMW, SGD = range(4)
"""Update rules, as compiled code tells them apart."""
ALIGN = 16
"""Each feature's samples begin at a multiple of so many elements: products read whole registers."""


@compiled
def samples_of(cells, n_features, batch, n_steps, columns, features, bounds, counts):  # type: ignore[no-untyped-def]
    """Number the samples that hold a feature, within each step.

    Args:
        cells: sample · n_features + feature through all steps (present,), ascending.
        columns: takes each cell's sample, counted within its step among those with a feature (present,).
        features: takes each cell's feature (present,).
        bounds: takes where each step's cells begin, and the end (n_steps + 1,).
        counts: takes how many samples of a step hold a feature (n_steps,).
    """
    last, step, count, end = np.int64(-1), 0, np.int32(0), batch
    bounds[0] = 0
    for i in range(cells.size):
        sample = cells[i] // n_features
        while sample >= end:
            counts[step] = count
            step += 1
            bounds[step] = i
            count, end = np.int32(0), end + batch
        if sample != last:
            last = sample
            count += np.int32(1)
        columns[i] = count - np.int32(1)
        features[i] = cells[i] - sample * n_features
    while step < n_steps:
        counts[step] = count
        step += 1
        bounds[step] = cells.size
        count = np.int32(0)


@compiled
def train_chunk(rows, importance, chunk, rates, settings, buffers, sizes, losses):  # type: ignore[no-untyped-def]
    """Train one trial for as many steps as `losses` has places; each place takes the loss before its step.

    With W' = (W over b) and h' = (W x over 1): y = W'ᵀ h', dL/dW' = h' Gᵀ + (W I G over 0) xᵀ, where G is the error
    where an answer passed the ReLU, and I what features count.

    Args:
        rows: parameters and what the optimizer keeps, ((m + 1) n,) each; w, then the bias.
        importance: what each feature counts (n,).
        chunk: columns, features and values (present,), bounds, counts, as `samples_of` gives them.
        rates: learning rates (steps,), and for Adam 1 - β₁^t and √(1 - β₂^t).
        settings: which update rule; LAMB's constants; weight decay, 1 - β₁, β₂, ε, momentum, the factor that gradients
            lack, 1 - β₂.
        buffers: gradients, those through x, W I and the update, of a row each; h' (m + 1, block), dL/dh (m, block);
            answers and features (n, block), the latter zeros, and again afterwards; each flat.
        sizes: n, m, batch, block, whether there is a ReLU.
    """
    params = rows[0]
    columns, features, values, bounds, counts = chunk
    grads, through, counted, update, hs, dhs, answers, dense = buffers
    n, m, batch, block, has_relu = sizes
    both, bias, w = params.reshape(m + 1, n), params[m * n :], params[: m * n].reshape(m, n)
    d_both, d_through = grads.reshape(m + 1, n), through[: m * n].reshape(m, n)
    w_counted, zero, one = counted[: m * n].reshape(m, n), params.dtype.type(0), params.dtype.type(1)
    for step in range(losses.size):
        total, first, stop, n_samples = 0.0, bounds[step], bounds[step + 1], counts[step]
        for d in range(m):
            for f in range(n):
                w_counted[d, f] = w[d, f] * importance[f]
        if n_samples == 0:
            grads[:] = zero
            through[:] = zero
        for lo in range(0, n_samples, block):
            width = min(block, n_samples - lo)
            stride = -(-width // ALIGN) * ALIGN
            last = first
            while last < stop and columns[last] < lo + width:
                dense[features[last] * stride + columns[last] - lo] = values[last]
                last += 1
            h = hs[: (m + 1) * stride].reshape(m + 1, stride)[:, :width]
            dh = dhs[: m * stride].reshape(m, stride)[:, :width]
            x = dense[: n * stride].reshape(n, stride)[:, :width]
            a = answers[: n * stride].reshape(n, stride)[:, :width]
            gemm(w, False, x, False, h[:m], False)
            hs[m * stride : m * stride + width] = one
            gemm(both, True, h, False, a, False)
            if has_relu:
                not_negative(answers, answers.ctypes.data, n * stride)
            for i in range(first, last):
                place, value = features[i] * stride + columns[i] - lo, values[i]
                if has_relu and answers[place] == zero:
                    total += float(importance[features[i]]) * float(value) * float(value)
                else:
                    answers[place] -= value
            for f in range(n):
                row = answers[f * stride : f * stride + width]
                total += float(importance[f]) * long_dot(row, row)
            gemm(h, False, a, True, d_both, lo > 0)
            gemm(w_counted, False, a, False, dh, False)
            gemm(dh, False, x, True, d_through, lo > 0)
            for i in range(first, last):
                dense[features[i] * stride + columns[i] - lo] = zero
            first = last
        empty = batch - n_samples
        for f in range(n):
            answer = max(bias[f], zero) if has_relu else bias[f]
            total += empty * float(importance[f]) * float(answer) * float(answer)
            d_both[m, f] += params.dtype.type(empty) * answer
        losses[step] = total / batch
        for d in range(m + 1):
            for f in range(n):
                d_both[d, f] *= importance[f]
        for i in range(m * n):
            grads[i] += through[i]
        _update(rows, grads, update, rates, settings, m * n, step)


@compiled
def _update(rows, grads, update, rates, settings, n_weights, step):  # type: ignore[no-untyped-def]
    """One optimiser step, as `model.optimizers.update`."""
    lr, first, root_of_second = rates
    kind, constants, decay, fresh1, beta2, eps, momentum, factor, fresh2 = settings
    params, state, other = rows
    if kind == LAMB:
        for part in (slice(0, n_weights), slice(n_weights, params.size)):
            lamb(params[part], state[part], other[part], grads[part], update[part], constants, lr[step])
    elif kind == SGD:
        for i in range(params.size):
            state[i] = momentum * state[i] + (grads[i] * factor + decay * params[i])
            params[i] -= lr[step] * state[i]
    else:
        zero, rate, root = decay - decay, lr[step] / first[step], root_of_second[step]
        shrink, added = (lr[step] * decay, zero) if kind == ADAMW else (zero, decay)
        for i in range(params.size):
            param = params[i] - shrink * params[i]
            g = grads[i] * factor + added * param
            state[i] += fresh1 * (g - state[i])
            other[i] = beta2 * other[i] + fresh2 * g * g
            params[i] = param - rate * (state[i] / (np.sqrt(other[i]) / root + eps))

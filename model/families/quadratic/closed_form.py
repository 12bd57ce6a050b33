"""What the capacity paper derives: the expected loss, the allocation of capacity that makes it least, its thresholds.

Scherlis et al. (arXiv 2210.01892), section 3: y = Σ v_i x_i² and ỹ = ‖W x‖² + b, features independent, of mean 0,
variance 1 and kurtosis k = E[x⁴].  With eqs. 12-13 written by capacities, feature i costs at best

    L_i(C) = v_i² (k - 1) · 2 (1 - C) / ((k - 3) C + 2)

of which eqs. 15-18 minimise the sum over Σ C = D, 0 ≤ C ≤ 1.  Torch-free.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy import ndarray


def kurtosis(feature_prob: float) -> float:
    """k of a feature that is present with probability p, and then uniform on ±√(3/p).

    >>> kurtosis(0.6), kurtosis(0.05)
    (3.0, 36.0)
    """
    return 9 / (5 * feature_prob)


def expected_loss(
    w: Float64[ndarray, "d_hidden n_features"], bias: float, v: Float64[ndarray, " n_features"], k: float
) -> float:
    """E[(ỹ - y)²] (eqs. 12-13), for any bias: that of the paper is the best, -Σ (‖W_i‖² - v_i).

    >>> expected_loss(np.array([[1.0, 0]]), 1.0, np.array([1.0, 1.0]), 5.0)
    4.0
    """
    gram = w.T @ w
    excess = np.diag(gram) - v
    between = np.square(gram).sum() - np.square(np.diag(gram)).sum()
    return float((k - 1) * np.square(excess).sum() + 2 * between + (bias + excess.sum()) ** 2)


def optimal_capacities(v: Float64[ndarray, " n_features"], k: float, d: int) -> Float64[ndarray, " n_features"]:
    """The capacities of the least expected loss: of n features in d dimensions with importances v (eqs. 15-18).

    For k ≤ 3 the d most important features have one dimension each, the first of equals.

    >>> optimal_capacities(np.ones(6), 36.0, 3).tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    >>> optimal_capacities(np.array([1.0, 1.0, 2.0]), 2.0, 1).tolist()
    [0.0, 0.0, 1.0]
    """
    found, some = np.zeros(len(v)), v > 0
    if some.sum() <= d:
        found[some] = 1
    elif k <= 3:
        found[np.argsort(-v, kind="stable")[:d]] = 1
    else:
        found[some] = _shared_out(v[some], k, d)
    return found


def _shared_out(v: Float64[ndarray, " n_features"], k: float, d: int) -> Float64[ndarray, " n_features"]:
    """clip(a v_i / λ - c, 0, 1) with the λ for which it sums to d: the sum is linear in 1/λ between where one of them
    begins or ends."""

    def at(inverse: float) -> Float64[ndarray, " n_features"]:
        return np.clip(((k - 1) * inverse * v - 2) / (k - 3), 0, 1)

    ends = np.sort(np.concatenate([2 / ((k - 1) * v), 1 / v]))
    totals = np.array([at(end).sum() for end in ends])
    return at(float(np.interp(d, totals, ends)))


def optimal_loss(v: Float64[ndarray, " n_features"], k: float, d: int) -> float:
    """The least expected loss (eqs. 14-18).

    >>> round(optimal_loss(np.ones(6), 36.0, 3), 4)  # 6 · 35 / 18.5
    11.3514
    """
    c = optimal_capacities(v, k, d)
    return float((np.square(v) * (k - 1) * 2 * (1 - c) / ((k - 3) * c + 2)).sum())


def full_from(k: float, n: int, d: int) -> float:
    """The importance V from which one of n features, the others of importance 1, has a dimension of its own.

    >>> round(full_from(36.0, 6, 3), 4)
    2.3026
    """
    return (k - 1) * (n - 1) / ((k - 3) * (d - 1) + 2 * (n - 1)) if k > 3 else 1.0


def none_until(k: float, n: int, d: int) -> float:
    """The importance V up to which that feature is ignored.

    >>> round(none_until(36.0, 6, 3), 4)
    0.0917
    """
    return 2 * (n - 1) / ((k - 3) * d + 2 * (n - 1)) if k > 3 else 1.0

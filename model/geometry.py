"""How vectors of features lie to each other: how much of a dimension each has to itself, and which interfere.

Scherlis et al., *Polysemanticity and Capacity in Neural Networks* (arXiv 2210.01892), eq. 3 and section 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from numpy import ndarray
from torch import Tensor

NORM_TOLERANCE = 0.1
"""A column that is no longer than this is in no block."""
COSINE_TOLERANCE = 0.1
"""Columns interfere if the cosine between them is beyond this."""


def capacities(w: Float[Tensor, "pack rows n_features"]) -> Float64[Tensor, "pack n_features"]:
    """C_i = (W·i · W·i)² / Σ_j (W·i · W·j)², 0 for a zero column (Scherlis et al., eq. 3).

    >>> capacities(torch.eye(2)[None]).tolist()
    [[1.0, 1.0]]
    >>> capacities(torch.ones(1, 1, 4)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    w = w.double()
    lengths = torch.linalg.vector_norm(w, dim=1)
    scale = lengths.amax(dim=1)[:, None, None]
    w = w / torch.where(scale > 0, scale, 1.0)  # so that no square overflows
    gram = torch.stack([one.T @ one for one in w]).square_()
    total = gram.sum(dim=2)
    return torch.where(lengths > 0, gram.diagonal(dim1=1, dim2=2) / total.where(total > 0, 1.0), 0.0)


@dataclass(frozen=True, slots=True)
class Blocks:
    """Features that interfere, directly or through others, in blocks."""

    of: Int64[ndarray, " n_features"]
    """Each feature's block, from 0 by their first features; -1 for one that is hardly represented."""
    sizes: Int64[ndarray, " blocks"]
    """How many features each has."""
    capacity: Float64[ndarray, " blocks"]
    """Σ C_i of each."""
    deviation: Float64[ndarray, " blocks"]
    """How far the columns of each are from a multiple of a semi-orthogonal matrix: of its round(Σ C) largest singular
    values the largest over the smallest, less 1."""


def blocks(w: Float[Tensor, "rows n_features"], capacity: Float64[Tensor, " n_features"]) -> Blocks:
    """The connected components of the features of `w` under interference, with `NORM_TOLERANCE` and `COSINE_TOLERANCE`.

    >>> digon = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> found = blocks(digon, capacities(digon[None])[0])
    >>> found.of.tolist(), found.sizes.tolist(), found.capacity.tolist()
    ([0, 0, 1], [2, 1], [1.0, 1.0])
    """
    columns: ndarray = w.double().cpu().numpy()
    lengths = np.linalg.norm(columns, axis=0)
    there = lengths > NORM_TOLERANCE
    unit = columns / np.where(there, lengths, 1.0)
    meet = (np.abs(unit.T @ unit) > COSINE_TOLERANCE) & there & there[:, None]
    of, n = np.full(len(lengths), -1), 0
    for feature in np.flatnonzero(there):
        if of[feature] < 0:
            of[_reached(meet, int(feature))] = n
            n += 1
    shares = capacity.cpu().numpy()
    sums = np.array([shares[of == block].sum() for block in range(n)])
    spread = [_deviation(columns[:, of == block], total) for block, total in enumerate(sums)]
    return Blocks(of, np.bincount(of[there], minlength=n), sums, np.array(spread))


def _reached(meet: ndarray, first: int) -> ndarray:
    """Which features are connected with one."""
    reached = np.zeros(len(meet), bool)
    reached[first] = True
    while (more := meet[reached].any(axis=0) & ~reached).any():
        reached |= more
    return reached


def _deviation(columns: ndarray, capacity: float) -> float:
    rank = max(1, min(round(capacity), *columns.shape))
    values = np.linalg.svd(columns, compute_uv=False)[:rank]
    return float(values[0] / values[-1] - 1)

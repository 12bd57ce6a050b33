"""Fronts of vectors of which less is better in every place, and the volume that they dominate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def undominated(vectors: Array) -> NDArray[np.bool_]:
    """Which of (points, objectives) no other dominates; equals stand beside one another, NaN never stands there.

    >>> undominated(np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 3.0]])).tolist()
    [True, True, False]
    """
    found = np.zeros(len(vectors), np.bool_)
    kept = np.empty((0, vectors.shape[1]))
    for place in np.lexsort(vectors.T[::-1]):  # who dominates a point comes before it
        one = vectors[place]
        if np.isnan(one).any() or ((kept <= one).all(axis=1) & (kept < one).any(axis=1)).any():
            continue
        found[place] = True
        kept = np.vstack([kept, one])
    return found


def hypervolume(vectors: Array, reference: Array) -> float:
    """How much lies between (points, objectives) and a worse point `reference`, each part counted once.

    Zitzler and Thiele, *Multiobjective optimization using evolutionary algorithms* (1998); by slices along the last
    objective.

    >>> hypervolume(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([2.0, 2.0]))
    3.0
    """
    inside = vectors[(vectors < reference).all(axis=1)]  # NaN is not
    if not len(inside):
        return 0.0
    if len(reference) == 1:
        return float(reference[0] - inside.min())
    inside = inside[undominated(inside)]
    inside = inside[np.argsort(inside[:, -1])]
    edges = [*inside[:, -1], reference[-1]]
    thick = [(n, edges[n] - edges[n - 1]) for n in range(1, len(edges)) if edges[n] > edges[n - 1]]
    return float(sum(width * hypervolume(inside[:n, :-1], reference[:-1]) for n, width in thick))

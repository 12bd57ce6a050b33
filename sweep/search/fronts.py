"""Orders of vectors of which less is better in every place: fronts, and how alone one stands in its front.

Deb, Pratap, Agarwal and Meyarivan, *A fast and elitist multiobjective genetic algorithm: NSGA-II* (2002).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray


def fronts(vectors: Float64[ndarray, "points objectives"]) -> Int64[ndarray, " points"]:
    """The front of each point: 0 if no other dominates it, 1 if none does once front 0 is away, …

    >>> fronts(np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 3.0], [2.0, 2.0]])).tolist()
    [0, 0, 1, 0]
    """
    found = np.full(len(vectors), -1)
    if vectors.shape[1] == 1:
        return np.unique(vectors[:, 0], return_inverse=True)[1].astype(np.int64)
    front = 0
    while (rest := np.flatnonzero(found < 0)).size:
        found[rest[_undominated(vectors[rest])]] = front
        front += 1
    return found


def _undominated(vectors: Float64[ndarray, "points objectives"]) -> ndarray:
    """Which points no other dominates; each is held against those that come before it in one order."""
    order = np.lexsort(vectors.T[::-1])
    kept: list[int] = []
    for place in order:
        held = vectors[kept]
        worse = (held <= vectors[place]).all(1) & (held < vectors[place]).any(1)
        if not worse.any():
            kept.append(int(place))
    return np.array(kept)


def crowding(vectors: Float64[ndarray, "points objectives"]) -> Float64[ndarray, " points"]:
    """How far the neighbours of each point of one front are from each other, summed over objectives of range 1; inf at
    the ends.

    >>> crowding(np.array([[0.0, 4.0], [1.0, 3.0], [4.0, 0.0]])).tolist()
    [inf, 2.0, inf]
    """
    found = np.zeros(len(vectors))
    for values in vectors.T:
        order = np.argsort(values, kind="stable")
        found[order[[0, -1]]] = np.inf
        width = values[order[-1]] - values[order[0]]
        if np.isfinite(width) and width > 0:
            found[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / width
    return found


def ranks(vectors: Float64[ndarray, "points objectives"]) -> Int64[ndarray, " points"]:
    """Places from the best, 0, to the last: by front, within it the lonelier first; equals in the order given."""
    front = fronts(vectors)
    lonely = np.zeros(len(vectors))
    if vectors.shape[1] > 1:
        for number in range(front.max(initial=-1) + 1):
            there = front == number
            lonely[there] = crowding(vectors[there])
    places = np.empty(len(vectors), np.int64)
    places[np.lexsort((-lonely, front))] = np.arange(len(vectors))
    return places

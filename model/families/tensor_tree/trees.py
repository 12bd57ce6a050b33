"""Trees of tensors: how one is begun, grown by splitting, and multiplied out again.

Growing: rest (…, i, …, j, …) ──split──> leaf (i, j, k) and rest (…, k)      until the rest has three indices
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Edge:
    """An inner edge, and the tensor that was split off with it."""

    below: tuple[int, int]
    """What its tensor's first two indices are: indices of the tensor, from 0, or -1, -2, … for edges 0, 1, …"""
    leaf: Tensor
    """(i, j, k), orthonormal over k."""
    dropped: float
    """Σ s² of the singular values that were not kept."""

    @property
    def rank(self) -> int:
        """The size of k."""
        return int(self.leaf.shape[2])


@dataclass(frozen=True, slots=True)
class Growing:
    """A tree that is being grown."""

    rest: Tensor
    """What is not split yet."""
    labels: tuple[int, ...]
    """What its indices are, as of `Edge.below`."""
    edges: tuple[Edge, ...] = ()

    @classmethod
    def of(cls, tensor: Tensor) -> Growing:
        """No edge yet."""
        return cls(tensor, tuple(range(tensor.ndim)))

    @property
    def done(self) -> bool:
        """Whether nothing is left to split."""
        return self.rest.ndim <= 3

    @property
    def n_elements(self) -> int:
        """Of all tensors."""
        return self.rest.size + sum(edge.leaf.size for edge in self.edges)

    def rank(self, i: int, j: int, threshold: float) -> int:
        """What splitting off the axes i < j would keep; one singular value decomposition."""
        matrix = _matrix(self.rest, i, j)
        return _kept(np.linalg.svd(matrix, compute_uv=False), threshold, max(matrix.shape))

    def split(self, i: int, j: int, threshold: float) -> Growing:
        """Split off the axes i < j of the rest; the new edge is the last of what remains.  One decomposition."""
        matrix = _matrix(self.rest, i, j)
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        rank = _kept(values, threshold, max(matrix.shape))
        shape, labels = list(self.rest.shape), list(self.labels)
        leaf = left[:, :rank].reshape(shape[i], shape[j], rank)
        below = labels[i], labels[j]
        for axis in (j, i):
            del shape[axis], labels[axis]
        rest = (values[:rank, None] * right[:rank]).T.reshape(*shape, rank)
        edge = Edge(below, leaf, float(np.square(values[rank:]).sum()))
        return Growing(rest, (*labels, -1 - len(self.edges)), (*self.edges, edge))

    def leaves(self, edge: int) -> tuple[int, ...]:
        """The tensor's indices on the side of an edge that was split off, in order."""
        found: list[int] = []
        for label in self.edges[edge].below:
            found += (label,) if label >= 0 else self.leaves(-1 - label)
        return tuple(sorted(found))

    def product(self) -> Tensor:
        """The tree multiplied out, with the tensor's indices in their order."""
        tensor, labels = self.rest, list(self.labels)
        for i in reversed(range(len(self.edges))):
            axis = labels.index(-1 - i)
            tensor = np.tensordot(tensor, self.edges[i].leaf, axes=(axis, 2))
            del labels[axis]
            labels += self.edges[i].below
        return np.transpose(tensor, np.argsort(labels))


def _matrix(tensor: Tensor, i: int, j: int) -> Tensor:
    """Axes i and j as rows, the others as columns."""
    return np.moveaxis(tensor, (i, j), (0, 1)).reshape(tensor.shape[i] * tensor.shape[j], -1)


def _kept(values: NDArray[np.floating[Any]], threshold: float, size: int) -> int:
    """How many singular values, in falling order, are kept: at least one, and none that is but rounding.

    Args:
        size: the larger side of the matrix that they are of, as in `numpy.linalg.matrix_rank`.
    """
    squares = np.square(values)
    rounding = np.square(values[0] * size * np.finfo(np.float64).eps)
    return max(1, int(np.count_nonzero(squares > max(threshold * squares.sum(), rounding))))

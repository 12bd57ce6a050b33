"""The tensors that are decomposed: (2, 2, …), float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from monosweep.model.config import Meanings
from monosweep.model.data.random import generator
from monosweep.model.families.tensor_tree.config import TensorTreeConfig

Tensor = NDArray[np.float64]


def tensor_of(config: TensorTreeConfig) -> Tensor:
    """A trial's tensor, of n_indices indices.

    >>> tensor_of(TensorTreeConfig(tensor="ratio", n_indices=4))[1, 0, 1].tolist()    # x = 2, y = 2 and 3
    [1.0, 0.5]
    """
    return _TENSORS[config.tensor](config)


def _ising(coupling: float, n: int, bonds: Iterator[tuple[int, int]]) -> Tensor:
    spins = np.indices((2,) * n)
    energy = np.zeros((2,) * n)
    for one, other in bonds:
        energy += spins[one] * spins[other]
    return np.exp(-coupling * energy)


def _chain(config: TensorTreeConfig) -> Tensor:
    n = config.n_indices
    return _ising(config.coupling, n, ((i, i + 1) for i in range(n - 1)))


def _square(config: TensorTreeConfig) -> Tensor:
    n, side = config.n_indices, math.isqrt(config.n_indices)
    right = [(i, i + 1) for i in range(n) if (i + 1) % side]
    down = [(i, i + side) for i in range(n - side)]
    return _ising(config.coupling, n, iter(right + down))


def _normal(config: TensorTreeConfig) -> Tensor:
    return np.random.Generator(generator(config.seed, "tensor")).standard_normal((2,) * config.n_indices)


def _binary(config: TensorTreeConfig) -> Tensor:
    uniform = np.random.Generator(generator(config.seed, "tensor")).random((2,) * config.n_indices)
    return (uniform < config.density).astype(np.float64)


def _ratio(config: TensorTreeConfig) -> Tensor:
    """The first half of the indices are the bits of x, the highest first; the others those of y."""
    n = config.n_indices
    numbers = np.arange(2 ** (n // 2), dtype=np.float64)
    return (1 / (np.abs(numbers[None, :] - config.slope * numbers[:, None]) + 1)).reshape((2,) * n)


_TENSORS: Meanings[Callable[[TensorTreeConfig], Tensor]] = Meanings(
    "tensor", {"ising_chain": _chain, "ising_square": _square, "normal": _normal, "binary": _binary, "ratio": _ratio}
)

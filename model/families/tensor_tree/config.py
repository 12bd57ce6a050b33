"""What the decomposition of a tensor into a tree is: its knobs and what it reports.  Torch-free.

Jermyn, *Efficient Decomposition of High-Rank Tensors* (arXiv 1708.07471).  What the paper leaves open is as its code
has it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from monosweep.model.config import ConfigError
from monosweep.model.family import Description
from monosweep.model.procedure import PROCEDURE, ProcedureConfig
from monosweep.model.records import Point

_LARGEST_EXPONENT = 300.0
"""|coupling| times bonds, so that weights and their squares are finite."""
_MOST_INDICES = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorTreeConfig(ProcedureConfig):
    """One trial: a tensor is decomposed into a tree of tensors of three indices each.

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.
    """

    FAMILY: ClassVar[str] = "tensor_tree"

    n_steps: int = 4096
    """Singular value decompositions that the method may do; what is not decomposed by then stays as one tensor."""
    tensor: Literal["ising_chain", "ising_square", "normal", "binary", "ratio"] = "ising_chain"
    """exp(-coupling Σ s s') over neighbours, of spins 0 and 1 in an open chain or an open square; `normal` numbers;
    `binary` ones among zeros; or 1 / (|y - slope x| + 1), of x and y by their bits."""
    n_indices: int = 8
    """Indices of the tensor, 2 values each; a square number for `ising_square`, and even for `ratio`."""
    coupling: float = 1.0
    """Of the two Ising models: the J of their weights."""
    density: float = 0.05
    """Of `binary`: the probability of a one, above 0, up to 1."""
    slope: float = 1.0
    """Of `ratio`."""
    threshold: float = 1e-6
    """Singular values s are kept for which s² / Σ s² is above this, and the largest; 0, to keep all, to 1."""
    method: Literal["greedy", "brute_force"] = "greedy"
    """`greedy` splits off the pair of indices that leaves the least rank, then again; `brute_force` tries every
    tree."""

    def check_sizes(self) -> None:
        """As the base class says."""
        self._check_sizes(("n_indices",))

    def check(self) -> None:
        """As the base class says."""
        n = self.n_indices
        if not 3 <= n <= _MOST_INDICES:
            raise ConfigError(f"n_indices must lie in 3 … {_MOST_INDICES}; got {n}")
        if self.tensor == "ising_square" and math.isqrt(n) ** 2 != n:
            raise ConfigError(f"n_indices of ising_square must be a square number such as 9; got {n}")
        if self.tensor == "ratio" and n % 2:
            raise ConfigError(f"n_indices of ratio must be even, half of them for x; got {n}")
        if not 0 < self.density <= 1:
            raise ConfigError(f"density must lie above 0, up to 1; got {self.density:g}")
        if not 0 <= self.threshold < 1:
            raise ConfigError(f"threshold must be 0 or more and below 1; got {self.threshold:g}")
        if abs(self.coupling) * 2 * n > _LARGEST_EXPONENT:
            most = _LARGEST_EXPONENT / (2 * n)
            raise ConfigError(f"coupling must lie in ±{most:g} for {n} indices; got {self.coupling:g}")

    def step_cost(self) -> float:
        """About what it takes to decompose the whole tensor as a matrix of four rows."""
        return 2e4 + math.ldexp(100.0, self.n_indices)


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """How small the tree is; no field is NaN."""

    loss: float
    """log10 of the elements of all its tensors."""
    min_loss: float
    """The same: the tree is the smallest of those tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """The tree that was found."""

    n_elements: int
    """Of all its tensors."""
    compression: float
    """n_elements over those of the tensor."""
    truncation_error: float
    """|tensor - tree| / |tensor|, measured on the tree multiplied out."""
    largest_rank: int
    """Of its inner edges; 1 if it has none."""
    n_trees: int
    """Trees tried to their end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeRecord:
    """One inner edge of one trial's tree."""

    step: int
    """Singular value decompositions done."""
    edge: int
    """In the order in which edges were cut, from 0."""
    indices: str
    """The tensor's indices on the side that was split off, counted from 0."""
    rank: int
    """Singular values kept."""
    dropped: float
    """Σ s² of those not kept, over |tensor|²."""


TENSOR_TREE = Description(
    TensorTreeConfig, Metrics, tables={"tree": EdgeRecord}, losses=Losses, point=Point, kind=PROCEDURE
)

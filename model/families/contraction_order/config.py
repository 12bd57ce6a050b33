"""What a search for a contraction order is: its knobs and what it reports.  Torch-free.

Schindler and Jermyn, *Algorithms for Tensor Network Contraction Ordering* (arXiv 2001.08063).  What the paper leaves
open is as its code has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar, Literal

from monosweep.model.config import ConfigError
from monosweep.model.family import Description
from monosweep.model.procedure import PROCEDURE, ProcedureConfig
from monosweep.model.records import Point

PEERS: Mapping[str, str] = {
    "cotengra_greedy": "cotengra", "cotengra_random_greedy": "cotengra", "cotengra_hyper": "cotengra",
    "opt_einsum_dp": "opt_einsum",
}  # fmt: skip
"""Methods of other libraries, and which."""
GREEDY_EVALUATIONS = 14_281
"""Cost evaluations of the greedy algorithm on 35 bonds with a look-ahead of 2: the paper's budget for all methods."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContractionOrderConfig(ProcedureConfig):
    """One trial: a method is given a network and so many evaluations of the cost of an order of its bonds.

    Raises:
        ConfigError: if a value has the wrong type or lies outside its range.
    """

    FAMILY: ClassVar[str] = "contraction_order"

    n_steps: int = GREEDY_EVALUATIONS
    """Cost evaluations that the method may spend: of whole orders or, of `greedy`, of their next bonds; of `exhaustive`
    and `dynamic`, of pairs of tensors that may be contracted last; of cotengra and opt_einsum, trees."""
    network: Literal["random", "lattice", "regular", "tree", "given"] = "random"
    """Which tensors share a bond: each pair with edge_prob; neighbours on a square lattice with open ends; a random
    graph of one degree; a random tree; or as `edges` says."""
    size: int = 10
    """Tensors; of a lattice, along either side."""
    edge_prob: float = 0.8
    """Of `random`: the probability that two tensors share a bond, in (0, 1]."""
    degree: int = 3
    """Of `regular`: bonds of each tensor."""
    bond_dim: int = 10
    """Dimension of every bond, above 1, but for those that `edges` gives another."""
    instance: int = 0
    """Fixes the random graph; `seed` fixes the method."""
    edges: str = ""
    """Of `given`: pairs of tensors counted from 0, each with a dimension if it is not bond_dim, such as
    `0-1 1-2:4 0-2`."""
    method: Literal[
        "greedy", "annealing", "genetic", "exhaustive", "dynamic", "cotengra_greedy", "cotengra_random_greedy",
        "cotengra_hyper", "opt_einsum_dp",
    ] = "greedy"  # fmt: skip
    """`greedy` with look-ahead, dual `annealing` of random keys and the `genetic` algorithm as in the paper; all trees
    of contractions, one by one (`exhaustive`) or by dynamic programming (`dynamic`); or today's libraries: cotengra's
    greedy, random greedy and hyper-optimiser, and opt_einsum's dynamic programming, which count multiplications."""
    look_ahead: int = 2
    """Of `greedy`: how many bonds are contracted to judge the first of them."""
    population: int = 20
    """Of `genetic`: orders in a generation, the best of which stays as it is."""
    mutation_rate: float = 0.6
    """Of `genetic`: share of the others that have two bonds exchanged; 0 to 1."""
    initial_temp: float = 5230.0
    """Of `annealing`: SciPy's initial_temp, in (0.01, 5e4]; the loss there is the cost's natural logarithm."""
    visit: float = 2.62
    """Of `annealing`: SciPy's visit, how far it jumps, in (1, 3]."""
    accept: float = -5.0
    """Of `annealing`: SciPy's accept, in (-1e4, -5]; the less, the fewer steps upwards are taken."""
    local_search: Literal["L-BFGS-B", "none"] = "L-BFGS-B"
    """Of `annealing`: SciPy's local search as in the paper, which on a cost of steps finds no slope, or none."""

    def check_sizes(self) -> None:
        """As the base class says."""
        self._check_sizes(("size", "degree", "bond_dim", "look_ahead", "population"))

    def check(self) -> None:
        """As the base class says."""
        self._check_not_negative(("instance",))
        for name, low, high in (
            ("edge_prob", 0, 1), ("initial_temp", 0.01, 5e4), ("visit", 1, 3), ("accept", -1e4, -5),
        ):  # fmt: skip
            if not low < getattr(self, name) <= high:
                raise ConfigError(f"{name} must lie above {low:g}, up to {high:g}; got {getattr(self, name):g}")
        if not 0 <= self.mutation_rate <= 1:
            raise ConfigError(f"mutation_rate must lie in 0 … 1; got {self.mutation_rate:g}")
        if self.bond_dim < 2:
            raise ConfigError(f"bond_dim must be 2 or more; got {self.bond_dim}")
        if self.population < 2:
            raise ConfigError(f"population must be 2 or more; got {self.population}")
        if self.size < 2 and self.network != "given":
            raise ConfigError(f"size must be 2 or more; got {self.size}")
        if self.network == "regular" and (self.degree >= self.size or self.size * self.degree % 2):
            raise ConfigError(
                f"a regular graph needs a degree below its size and an even size * degree; got degree {self.degree} "
                f"and size {self.size}"
            )
        if (self.network == "given") != bool(self.edges):
            raise ConfigError(f"edges are for network given, which needs them; got {self.edges!r} with {self.network}")

    def check_here(self) -> None:
        """As the base class says."""
        library = PEERS.get(self.method)
        if library and not find_spec(library):
            raise ConfigError(
                f"method {self.method} needs {library}, which is not installed here; pip install 'monosweep[peers]'"
            )

    def step_cost(self) -> float:
        """About what Python takes to walk through an order; a library's tree takes longer."""
        return 3e7 if self.method == "cotengra_hyper" else 1e6 if self.method in PEERS else 3e4


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """How good the order is that was found; no field is NaN."""

    loss: float
    """log10 of the summed cost of the order: to contract a bond costs the product of the dimensions of all bonds of
    the one or two tensors that it joins."""
    min_loss: float
    """The same: the order is the best of those evaluated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metrics:
    """The network, and the order that was found."""

    n_bonds: int
    """Bonds of the network."""
    log2_largest: float
    """log2 of the elements of the largest tensor on the way."""
    optimum: float | None
    """log10 of the least summed cost of any order, by dynamic programming; null for more than 12 tensors
    and for bonds of several dimensions."""
    gap: float | None
    """loss - optimum, in decades; null where that is."""
    bond_order: str
    """The bonds as they are contracted, counted from 0 in the order in which the network lists them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressRecord:
    """One improvement of one trial."""

    step: int
    """Cost evaluations done."""
    loss: float
    """log10 of the summed cost of the best order so far."""


CONTRACTION_ORDER = Description(
    ContractionOrderConfig, Metrics, tables={"progress": ProgressRecord}, losses=Losses, point=Point, kind=PROCEDURE
)

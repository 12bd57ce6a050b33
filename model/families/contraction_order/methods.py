"""The ways to look for a good order, each within its budget of cost evaluations; from a network to an order.

Search.evaluate(order) ──> effort.spend, the cost, effort.note        ──> Search.order, Search.progress
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.optimize import dual_annealing

from monosweep.model.config import Meanings
from monosweep.model.families.contraction_order.config import PEERS, ContractionOrderConfig
from monosweep.model.families.contraction_order.cost import Costs, State, log10
from monosweep.model.families.contraction_order.graph import Network
from monosweep.model.families.contraction_order.parts import best_order
from monosweep.model.families.contraction_order.peers import orders
from monosweep.model.procedure import Effort, Spent

_FOREVER = 10**9
"""Iterations of dual annealing, which the budget ends."""


class Search:
    """A network, a budget, and the best order found so far."""

    def __init__(self, network: Network, effort: Effort) -> None:
        self.costs, self.effort = Costs(network), effort
        self.order: Sequence[int] = ()
        self.progress: list[tuple[int, float]] = []
        """Evaluations and log10 of the cost at each improvement."""
        self._least = 0

    @property
    def n_bonds(self) -> int:
        """As many as an order has."""
        return len(self.costs.network.bonds)

    def evaluate(self, order: Sequence[int]) -> int:
        """What an order costs, for one evaluation.

        Raises:
            Spent: if there is none left.
        """
        self.effort.spend()
        cost = self.costs.total(order)
        self.found(order, cost)
        return cost

    def found(self, order: Sequence[int], cost: int) -> None:
        """An order whose cost is known."""
        if not self.order or cost < self._least:
            self.order, self._least = tuple(order), cost
            self.progress.append((self.effort.step, log10(cost)))
        self.effort.note(self.progress[-1][1])


def search(config: ContractionOrderConfig, network: Network, effort: Effort, random: np.random.Generator) -> Search:
    """The best order that the trial's method finds within its budget."""
    found = Search(network, effort)
    try:
        _METHODS[config.method](config, found, random)
    except Spent:
        if not found.order:
            raise
    return found


def _greedy(config: ContractionOrderConfig, found: Search, random: np.random.Generator) -> None:
    """Each time the bond that begins the cheapest next few; of equally cheap ones any."""
    state, left, order = found.costs.start(), list(range(found.n_bonds)), list[int]()
    try:
        while left:
            cheapest, least = list[int](), 0
            for first, cost in _sequences(found.costs, state, left, min(config.look_ahead, len(left))):
                found.effort.spend()
                if not cheapest or cost < least:
                    cheapest, least = [first], cost
                elif cost == least:
                    cheapest.append(first)
            order.append(cheapest[int(random.integers(len(cheapest)))])
            left.remove(order[-1])
            _, state = found.costs.step(state, order[-1])
    finally:  # what no evaluation is left for follows as the network lists it
        whole = [*order, *left]
        found.found(whole, found.costs.total(whole))


def _sequences(costs: Costs, state: State, left: Sequence[int], depth: int) -> Iterator[tuple[int, int]]:
    """The first bond of every sequence of so many that are left, and what the sequence costs."""
    for first in left:
        cost, after = costs.step(state, first)
        if depth == 1:
            yield first, cost
        else:
            rest = [bond for bond in left if bond != first]
            yield from ((first, cost + more) for _, more in _sequences(costs, after, rest, depth - 1))


def _annealing(config: ContractionOrderConfig, found: Search, random: np.random.Generator) -> None:
    """SciPy's dual annealing of a key for each bond, by which they are sorted."""

    def log_cost(keys: Float64[ndarray, " bonds"]) -> float:
        return math.log(found.evaluate(np.argsort(keys, kind="stable").tolist()))

    dual_annealing(
        log_cost, [(0.0, 1.0)] * found.n_bonds, maxiter=_FOREVER, maxfun=_FOREVER, rng=random,
        initial_temp=config.initial_temp, visit=config.visit, accept=config.accept,
        no_local_search=config.local_search == "none",
    )  # fmt: skip


def _genetic(config: ContractionOrderConfig, found: Search, random: np.random.Generator) -> None:
    """Generations without crossover: the fitter, the more offspring; some of these have two bonds exchanged, and the
    best order stays."""
    size = config.population
    population = np.array([random.permutation(found.n_bonds) for _ in range(size)])
    n_mutated = int(config.mutation_rate * (size - 1))
    while True:
        costs = np.array([math.log(found.evaluate(order.tolist())) for order in population])
        fitness = _fitness(costs)
        best = population[np.argmax(fitness)]
        offspring = population[random.choice(size, size - 1, p=fitness / fitness.sum())]
        for order in offspring[:n_mutated]:
            first, second = random.integers(found.n_bonds, size=2)
            order[[first, second]] = order[[second, first]]
        population = np.concatenate([offspring, best[None]])


def _fitness(costs: Float64[ndarray, " population"]) -> Float64[ndarray, " population"]:
    """From e - .99 for the least cost down to .01 for the largest, whatever their spread."""
    spread = np.ptp(costs) or 1.0
    return np.asarray(np.exp(1 - (costs - costs.min()) / spread) - 0.99)


def _exhaustive(config: ContractionOrderConfig, found: Search, random: np.random.Generator) -> None:
    """All trees of contractions: whatever two connected parts are contracted last."""
    _by_parts(found, remembered=False)


def _dynamic(config: ContractionOrderConfig, found: Search, random: np.random.Generator) -> None:
    """The same, each part once."""
    _by_parts(found, remembered=True)


def _peer(config: ContractionOrderConfig, found: Search, random: np.random.Generator) -> None:
    """A library's trees, one evaluation each."""
    for order in orders(config.method, found.costs, int(random.integers(2**31)), found.effort.spend):
        found.found(order, found.costs.total(order))


def _by_parts(found: Search, remembered: bool) -> None:
    order = best_order(found.costs, found.effort.spend, remembered)
    found.found(order, found.costs.total(order))


_Method = Callable[[ContractionOrderConfig, Search, np.random.Generator], None]
_METHODS: Meanings[_Method] = Meanings(
    "method",
    {
        "greedy": _greedy, "annealing": _annealing, "genetic": _genetic, "exhaustive": _exhaustive,
        "dynamic": _dynamic, **dict.fromkeys(PEERS, _peer),
    },
)  # fmt: skip

"""The best order there is: of every part of a network, from the best orders of the two parts that it is made of.

All bonds between two parts are contracted together.  Where bonds have one dimension no order costs less; where they
have several, an order that leaves a small loop until a tensor of none but the same bonds has come may, by a little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

from monosweep.model.families.contraction_order.cost import Costs
from monosweep.model.families.contraction_order.graph import Network

MOST_FOR_OPTIMUM = 12
"""Tensors of a network whose optimum is looked for beside the trial; with each more it takes three times as long."""


def best_order(costs: Costs, spend: Callable[[], None] = lambda: None, remembered: bool = True) -> list[int]:
    """An order that costs least of those that contract all bonds of two tensors together.

    Args:
        spend: is told of each pair of parts that is looked at.
        remembered: whether a part that has been seen is not looked at again.
    """
    order = list[int]()
    for part in components(costs.network):
        order += Parts(costs, part, spend, remembered).best((1 << len(part)) - 1)[1]
    return order


@lru_cache(maxsize=256)
def optimum(network: Network) -> int | None:
    """The least cost of any order; None for networks of which it would take too long to find, or whose bonds have
    several dimensions."""
    if network.n_tensors > MOST_FOR_OPTIMUM or len(set(network.dims)) > 1:
        return None
    costs = Costs(network)
    return costs.total(best_order(costs))


def components(network: Network) -> list[list[int]]:
    """The tensors of each connected part that has bonds."""
    part = list(range(network.n_tensors))
    for a, b in network.bonds:
        part = [part[a] if p == part[b] else p for p in part]
    parts = [[tensor for tensor in range(network.n_tensors) if part[tensor] == p] for p in sorted(set(part))]
    return [tensors for tensors in parts if len(tensors) > 1]


class Parts:
    """The best order of each part of a connected network: of two connected parts, each by its own best order, what is
    between them last.

    Args:
        spend: is told of each pair of parts.
        remembered: whether a part that has been seen is not looked at again.
    """

    def __init__(self, costs: Costs, tensors: Sequence[int], spend: Callable[[], None], remembered: bool) -> None:
        self._costs, self._spend, self._remembered = costs, spend, remembered
        self._ends = [0] * (1 << len(tensors))
        for part in range(1, len(self._ends)):  # a bond with both ends inside is none
            lowest = (part & -part).bit_length() - 1
            self._ends[part] = self._ends[part & (part - 1)] ^ costs.masks[tensors[lowest]]
        self._best: dict[int, tuple[int | None, list[int]]] = {}

    def best(self, part: int) -> tuple[int | None, list[int]]:
        """The least cost of contracting a part, and how; None if it is not connected."""
        if part & (part - 1) == 0:
            return 0, []
        if self._remembered and part in self._best:
            return self._best[part]
        least: int | None = None
        order = list[int]()
        lowest, ends = part & -part, self._ends
        first = (part - 1) & part
        while first:
            second = part ^ first
            if first & lowest and ends[first] & ends[second]:
                self._spend()
                (of_first, before), (of_second, then) = self.best(first), self.best(second)
                if of_first is not None and of_second is not None:
                    cost = of_first + of_second + self._costs.pair(ends[first], ends[second])
                    if least is None or cost < least:
                        least, order = cost, [*before, *then, *self._costs.shared(ends[first], ends[second])]
            first = (first - 1) & part
        self._best[part] = least, order
        return least, order

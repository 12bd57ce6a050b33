"""What it costs to contract a network's bonds in some order, in exact whole numbers.

To contract a bond is to sum over it.  If it joins two tensors they become one, and other bonds that both had become
loops of that one, each to be contracted in its own turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import cache

from monosweep.model.families.contraction_order.graph import Network

_BITS = 8


State = tuple[list[int], list[int]]
"""A network some of whose bonds are contracted: the bonds of each tensor, and in which tensor each one has gone up."""


class Costs:
    """A network's costs; sets of bonds are the bits of whole numbers."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.masks = [0] * network.n_tensors
        """Bonds of each tensor."""
        for bond, pair in enumerate(network.bonds):
            for tensor in pair:
                self.masks[tensor] |= 1 << bond
        dims = network.dims
        self._powers = _powers(dims[0], len(dims)) if len(set(dims)) == 1 else None
        self._chunks = [_products(dims[i : i + _BITS]) for i in range(0, len(dims), _BITS)]

    def size(self, mask: int) -> int:
        """Product of the dimensions of some bonds."""
        if self._powers is not None:
            return self._powers[mask.bit_count()]
        found = 1
        for chunk in self._chunks:
            found *= chunk[mask & 255]
            mask >>= _BITS
        return found

    def total(self, order: Iterable[int]) -> int:
        """The summed cost of contracting bonds one after another; all of them, or the first few."""
        masks, gone_into = list(self.masks), list(range(len(self.masks)))
        bonds, size, cost = self.network.bonds, self.size, 0
        for bond in order:
            a, b = bonds[bond]
            while gone_into[a] != a:
                a = gone_into[a]
            while gone_into[b] != b:
                b = gone_into[b]
            union = masks[a] | masks[b]
            gone_into[b] = a
            masks[a] = union & ~(1 << bond)
            cost += size(union)
        return cost

    def largest(self, order: Iterable[int]) -> int:
        """The elements of the largest tensor on the way."""
        state, found = self.start(), max(map(self.size, self.masks))
        for bond in order:
            _, state = self.step(state, bond)
            found = max(found, self.size(state[0][state[1][self.network.bonds[bond][0]]]))
        return found

    def start(self) -> State:
        """Before any bond is contracted."""
        return list(self.masks), list(range(len(self.masks)))

    def step(self, state: State, bond: int) -> tuple[int, State]:
        """What it costs to contract a bond next, and what there is then."""
        masks, gone_into = state
        a, b = (gone_into[tensor] for tensor in self.network.bonds[bond])
        union, masks = masks[a] | masks[b], list(masks)
        masks[a] = union & ~(1 << bond)
        if a != b:
            gone_into = [a if tensor == b else tensor for tensor in gone_into]
        return self.size(union), (masks, gone_into)

    def pair(self, first: int, second: int) -> int:
        """What it costs to contract all bonds that two tensors share, the larger first, which is least."""
        union, cost = first | second, 0
        for bond in self.shared(first, second):
            cost += self.size(union)
            union &= ~(1 << bond)
        return cost

    def shared(self, first: int, second: int) -> list[int]:
        """The bonds of two tensors, the larger first."""
        common = first & second
        bonds = [bond for bond in range(len(self.network.dims)) if common >> bond & 1]
        return sorted(bonds, key=lambda bond: -self.network.dims[bond])


def log10(cost: int) -> float:
    """Of a whole number as large as may be."""
    return math.log10(cost)


@cache
def _powers(dim: int, n: int) -> tuple[int, ...]:
    return tuple(dim**k for k in range(n + 1))


def _products(dims: Sequence[int]) -> list[int]:
    """By set of these bonds."""
    found = [1]
    for dim in dims:
        found += [product * dim for product in found]
    return found + [0] * (2**_BITS - len(found))

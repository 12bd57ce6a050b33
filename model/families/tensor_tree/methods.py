"""How a tree is found: the paper's greedy algorithm, and every tree there is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

from monosweep.model.config import Meanings
from monosweep.model.families.tensor_tree.config import TensorTreeConfig
from monosweep.model.families.tensor_tree.trees import Growing, Tensor
from monosweep.model.procedure import Effort, Spent


@dataclass(slots=True)
class Found:
    """The smallest tree so far."""

    tree: Growing
    n_trees: int = 0
    """Trees that were tried to their end."""

    def take(self, tree: Growing, effort: Effort) -> None:
        """A tree that is done."""
        self.n_trees += 1
        if not self.tree.done or tree.n_elements < self.tree.n_elements:
            self.tree = tree
        effort.note(math.log10(self.tree.n_elements))


def search(config: TensorTreeConfig, tensor: Tensor, effort: Effort) -> Found:
    """The smallest tree that the method finds with what it may spend; one is grown as far as that goes."""
    found = Found(Growing.of(tensor))
    try:
        if not found.tree.done:
            _METHODS[config.method](config, found, effort)
            return found
    except Spent:
        pass
    if found.tree.done and not found.n_trees:  # a tensor of three indices is its own tree
        effort.spend()
        found.take(found.tree, effort)
    return found


def _greedy(config: TensorTreeConfig, found: Found, effort: Effort) -> None:
    """Of pairs that leave the same rank the first is split off."""
    tree = found.tree
    while not tree.done:
        ranks = {}
        for pair in combinations(range(tree.rest.ndim), 2):
            effort.spend()
            ranks[pair] = tree.rank(*pair, config.threshold)
        effort.spend()
        found.tree = tree = tree.split(*min(ranks, key=lambda pair: (ranks[pair], pair)), config.threshold)
    found.take(tree, effort)


def _brute_force(config: TensorTreeConfig, found: Found, effort: Effort) -> None:
    for tree in all_trees(found.tree, config.threshold, effort):
        found.take(tree, effort)


def all_trees(start: Growing, threshold: float, effort: Effort) -> Iterator[Growing]:
    """Every unrooted binary tree once, (2n - 5)!! of them, those that begin alike with the same decompositions.

    A tree is rooted at index 0, which is never split off.  Each is grown in one order only: of two splits that do not
    need each other, the one whose part has the lower least index comes first.
    """

    def grown(tree: Growing, parts: tuple[tuple[int, int], ...], keys: tuple[int, ...]) -> Iterator[Growing]:
        """parts: of each axis but the first, its least index and the split that made it, from 1; keys: least indices of
        the splits so far."""
        if tree.done:
            yield tree
            return
        for a, b in combinations(range(len(parts)), 2):
            key, needs = min(parts[a][0], parts[b][0]), max(parts[a][1], parts[b][1])
            if any(earlier > key for earlier in keys[needs:]):
                continue
            effort.spend()
            rest = tuple(part for i, part in enumerate(parts) if i not in (a, b))
            split = tree.split(a + 1, b + 1, threshold)
            yield from grown(split, (*rest, (key, len(keys) + 1)), (*keys, key))

    yield from grown(start, tuple((i, 0) for i in start.labels[1:]), ())


_METHODS: Meanings[Callable[[TensorTreeConfig, Found, Effort], None]] = Meanings(
    "method", {"greedy": _greedy, "brute_force": _brute_force}
)

"""Tensor networks as graphs: which tensors share a bond, and its dimension."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from monosweep.model.config import ConfigError, Meanings
from monosweep.model.data.random import generator
from monosweep.model.families.contraction_order.config import ContractionOrderConfig

_EDGE = re.compile(r"(\d+)-(\d+)(?::(\d+))?")
_TRIES = 1000


@dataclass(frozen=True, slots=True)
class Network:
    """A closed network: every index is a bond of two tensors, and no two tensors share more than one."""

    n_tensors: int
    bonds: tuple[tuple[int, int], ...]
    """The tensors that each bond joins, the lower first."""
    dims: tuple[int, ...]
    """Of each bond."""


def network_of(config: ContractionOrderConfig) -> Network:
    """A trial's network.

    Raises:
        ConfigError: if it has no bonds, or `edges` are none.

    >>> network_of(ContractionOrderConfig(network="lattice", size=2)).bonds
    ((0, 1), (0, 2), (1, 3), (2, 3))
    """
    network = _NETWORKS[config.network](config, np.random.Generator(generator(config.instance, "graph")))
    if not network.bonds:
        raise ConfigError(f"the network must have a bond; {config.network} {config.size} of instance "
                          f"{config.instance} has none; raise edge_prob, or choose another instance")  # fmt: skip
    return network


def _of(n_tensors: int, bonds: set[tuple[int, int]], dim: int) -> Network:
    return Network(n_tensors, tuple(sorted(bonds)), (dim,) * len(bonds))


def _random(config: ContractionOrderConfig, random: np.random.Generator) -> Network:
    pairs = list(combinations(range(config.size), 2))
    there = random.random(len(pairs)) < config.edge_prob
    return _of(config.size, {pair for pair, is_there in zip(pairs, there, strict=True) if is_there}, config.bond_dim)


def _lattice(config: ContractionOrderConfig, random: np.random.Generator) -> Network:
    side = config.size
    places = [(row, column) for row in range(side) for column in range(side)]
    right = {(r * side + c, r * side + c + 1) for r, c in places if c + 1 < side}
    down = {(r * side + c, (r + 1) * side + c) for r, c in places if r + 1 < side}
    return _of(side * side, right | down, config.bond_dim)


def _regular(config: ContractionOrderConfig, random: np.random.Generator) -> Network:
    """Ends are paired at random until no tensor is paired with itself and no two are paired twice."""
    ends = np.repeat(np.arange(config.size), config.degree)
    for _ in range(_TRIES):
        pairs = np.sort(random.permutation(ends).reshape(-1, 2), axis=1)
        bonds = {(int(a), int(b)) for a, b in pairs if a != b}
        if len(bonds) == len(pairs):
            return _of(config.size, bonds, config.bond_dim)
    raise ConfigError(f"no regular graph of degree {config.degree} was found in {_TRIES} tries; lower the degree")


def _tree(config: ContractionOrderConfig, random: np.random.Generator) -> Network:
    """All labelled trees are as likely: decoded from Prüfer's sequence."""
    n = config.size
    sequence = random.integers(n, size=n - 2).tolist()
    missing = [1 + sequence.count(i) for i in range(n)]
    bonds = set()
    for joint in sequence:
        leaf = missing.index(1)
        bonds.add((min(leaf, joint), max(leaf, joint)))
        missing[leaf] -= 1
        missing[joint] -= 1
    first, second = [i for i in range(n) if missing[i] == 1]
    return _of(n, bonds | {(first, second)}, config.bond_dim)


def _given(config: ContractionOrderConfig, random: np.random.Generator) -> Network:
    dims: dict[tuple[int, int], int] = {}
    for word in config.edges.split():
        found = _EDGE.fullmatch(word)
        if found is None or found[1] == found[2]:
            raise ConfigError(f"edges must be words such as 0-1 or 0-1:4, of two tensors each; got {word!r}")
        pair = min(int(found[1]), int(found[2])), max(int(found[1]), int(found[2]))
        dim = int(found[3] or config.bond_dim)
        if pair in dims or dim < 2:
            raise ConfigError(f"edges must name each pair once, with a dimension of 2 or more; got {word!r}")
        dims[pair] = dim
    return Network(1 + max(max(pair) for pair in dims), tuple(dims), tuple(dims.values()))


_NETWORKS: Meanings[Callable[[ContractionOrderConfig, np.random.Generator], Network]] = Meanings(
    "network", {"random": _random, "lattice": _lattice, "regular": _regular, "tree": _tree, "given": _given}
)

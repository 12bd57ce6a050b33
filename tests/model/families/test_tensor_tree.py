"""Trees of tensors: every tree once, brute force against ranks told otherwise, errors, budgets."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from monosweep.model.config import ConfigError
from monosweep.model.families import config_of
from monosweep.model.families.tensor_tree.config import TensorTreeConfig
from monosweep.model.families.tensor_tree.methods import all_trees, search
from monosweep.model.families.tensor_tree.procedure import TensorTree
from monosweep.model.families.tensor_tree.tensors import tensor_of
from monosweep.model.families.tensor_tree.trees import Growing
from monosweep.model.procedure import Effort, Outcome
from monosweep.sweep.spec.sweep_spec import expand, load_spec

Tensor = NDArray[np.float64]
KINDS = ("ising_chain", "ising_square", "normal", "binary", "ratio")
DECOMPOSITIONS = {4: 3, 5: 21, 6: 160, 7: 1485, 8: 16611, 9: 218386}
"""What brute force takes: trees that begin alike share theirs."""


def run(**values: Any) -> tuple[Outcome, Effort]:
    config = config_of({"family": "tensor_tree", **values})
    effort = Effort(config.n_steps, lambda effort: True)
    return TensorTree.run(config, effort), effort


def n_trees(n: int) -> int:
    """(2n - 5)!!"""
    return math.prod(range(2 * n - 5, 0, -2))


def parts_of(outcome: Outcome) -> list[set[int]]:
    return [set(map(int, told.split())) for told in outcome.tables["tree"]["indices"]]


def elements(n: int, parts: list[set[int]], ranks: list[int]) -> int:
    """Of all tensors of a tree, from its inner edges alone: a tensor's edges are the largest parts within its own."""
    everything = set(range(n))
    edges = [({i}, 2) for i in range(n)] + list(zip(parts, ranks, strict=True))
    total = 0
    for whole, own in [*zip(parts, ranks, strict=True), (everything, 1)]:
        inside = [edge for edge in edges if edge[0] < whole]
        below = [edge for edge in inside if not any(edge[0] < other for other, _ in inside)]
        assert set().union(*(part for part, _ in below)) == whole
        total += own * math.prod(rank for _, rank in below)
    return total


def smallest(tensor: Tensor) -> int:
    """Elements of the smallest tree, from the ranks of all matrices that the tensor is, by dynamic programming."""
    n = tensor.ndim

    def rank(part: tuple[int, ...]) -> int:
        rest = [i for i in range(n) if i not in part]
        return int(np.linalg.matrix_rank(np.transpose(tensor, (*part, *rest)).reshape(2 ** len(part), -1)))

    best: dict[tuple[int, ...], tuple[int, int]] = {(i,): (0, 2) for i in range(1, n)}
    for size in range(2, n):
        for part in combinations(range(1, n), size):
            own = rank(part) if size < n - 1 else 2
            options = []
            for k in range(1, size):
                for one in combinations(part, k):
                    other = tuple(i for i in part if i not in one)
                    (below, r), (beside, s) = best[one], best[other]
                    options.append(below + beside + r * s * own)
            best[part] = min(options), own
    return best[tuple(range(1, n))][0]


@pytest.mark.parametrize("n", [4, 5, 6, 7])
def test_every_tree_is_tried_once(n: int) -> None:
    tensor, effort = np.ones((2,) * n), Effort(10**6, lambda effort: True)
    trees = list(all_trees(Growing.of(tensor), 0.5, effort))
    shapes = Counter(frozenset(tree.leaves(edge) for edge in range(len(tree.edges))) for tree in trees)
    assert len(trees) == len(shapes) == n_trees(n) and effort.step == DECOMPOSITIONS[n]
    assert all(0 not in part for shape in shapes for part in shape), "rooted at index 0"


def test_the_presets_give_brute_force_what_it_takes() -> None:
    presets = [f"tree/{name}" for name in ("ising", "square", "random", "ratio")]
    configs = [config for preset in presets for config in expand(load_spec(preset))]
    brute = [config for config in configs if config.method == "brute_force"]
    assert len(configs) == 52 + 24 + 58 + 60 + 30 and {config.n_indices for config in brute} == set(range(4, 10))
    assert all(config.n_steps >= DECOMPOSITIONS[config.n_indices] for config in brute)
    outcome, _ = run(method="brute_force", n_indices=8, n_steps=17000)
    assert outcome.metrics["n_trees"] == n_trees(8)


@pytest.mark.long
def test_nine_indices_have_135135_trees() -> None:
    outcome, effort = run(method="brute_force", n_indices=9, n_steps=220000)
    assert outcome.metrics["n_trees"] == n_trees(9) == 135135 and effort.step == DECOMPOSITIONS[9]


@given(st.integers(0, 99), st.permutations(range(6)), st.sampled_from([0.3, 1.0, -2.0]))
@settings(max_examples=12, deadline=None)
def test_brute_force_finds_the_smallest_tree(seed: int, order: list[int], coupling: float) -> None:
    """Of a chain whose spins are in any order, some of whose bonds are cut; ranks are told by another algorithm."""
    random = np.random.default_rng(seed)
    bonds = [(order[i], order[i + 1]) for i in range(5) if random.random() < 0.7] + [(order[0], order[3])]
    spins = np.indices((2,) * 6)
    tensor = np.exp(-coupling * sum(spins[a] * spins[b] for a, b in bonds))
    config = TensorTreeConfig(n_indices=6, method="brute_force", threshold=1e-20)
    tree = search(config, tensor, Effort(1000, lambda effort: True)).tree
    assert tree.n_elements == smallest(tensor)


@given(
    st.sampled_from(KINDS), st.integers(4, 7), st.sampled_from([0.0, 1e-12, 1e-6, 1e-3, 0.05]), st.integers(0, 9),
    st.sampled_from([-3.0, 0.2, 1.0]),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_trees_are_what_they_say(kind: str, n: int, threshold: float, seed: int, number: float) -> None:
    """Elements and errors recomputed; brute force is never larger than greedy where nothing is cut off."""
    n = {"ising_square": 4, "ratio": 2 * (n // 2)}.get(kind, n)
    values = {"tensor": kind, "n_indices": n, "threshold": threshold, "seed": seed, "coupling": number, "slope": number}
    both = {method: run(method=method, density=0.3, **values)[0] for method in ("greedy", "brute_force")}
    for method, outcome in both.items():
        metrics, edges, parts = outcome.metrics, outcome.tables["tree"], parts_of(outcome)
        assert len(parts) == n - 3 and len({frozenset(part) for part in parts}) == n - 3
        assert metrics["n_elements"] == elements(n, parts, list(edges["rank"]))
        assert outcome.loss == math.log10(metrics["n_elements"]) and metrics["largest_rank"] == max(edges["rank"])
        assert metrics["compression"] == metrics["n_elements"] / 2**n
        assert metrics["truncation_error"] == pytest.approx(math.sqrt(sum(edges["dropped"])), abs=1e-7)
        assert all(dropped <= max(threshold, 1e-27) * 2**n for dropped in edges["dropped"])
        assert metrics["n_trees"] == (1 if method == "greedy" else n_trees(n))
    if threshold == 0:
        assert both["brute_force"].metrics["n_elements"] <= both["greedy"].metrics["n_elements"]
        assert all(outcome.metrics["truncation_error"] < 1e-5 for outcome in both.values())


def test_singular_values_are_kept_above_the_threshold_each() -> None:
    """A matrix of four rows whose squares are 90, 9, .9 and .1 percent."""
    random = np.random.default_rng(0)
    left, right = (np.linalg.qr(random.normal(size=(n, 4)))[0] for n in (4, 8))
    tensor = (left * np.sqrt([0.9, 0.09, 0.009, 0.001]) @ right.T).reshape(2, 2, 2, 2, 2)
    ranks = {threshold: Growing.of(tensor).rank(0, 1, threshold) for threshold in (0.0, 0.0011, 0.01, 0.1, 0.95)}
    assert ranks == {0.0: 4, 0.0011: 3, 0.01: 2, 0.1: 1, 0.95: 1}
    tree = Growing.of(tensor).split(0, 1, 0.01)
    assert tree.edges[0].rank == 2 and tree.edges[0].dropped == pytest.approx(0.01)
    assert np.linalg.norm(tensor - tree.product()) == pytest.approx(0.1)
    np.testing.assert_allclose(np.einsum("ijk,ijl->kl", tree.edges[0].leaf, tree.edges[0].leaf), np.eye(2), atol=1e-12)


def test_greedy_splits_off_the_pair_of_the_least_rank() -> None:
    """Pairs 0, 3 and 1, 2 hang together; every other pair has rank 4."""
    random = np.random.default_rng(1)
    tensor = np.einsum("ad,bc,ef->abcdef", *(random.normal(size=(2, 2)) for _ in range(3)))
    found = search(TensorTreeConfig(n_indices=6), tensor, Effort(1000, lambda effort: True))
    assert [found.tree.leaves(edge) for edge in range(2)] == [(0, 3), (1, 2)]
    assert [edge.rank for edge in found.tree.edges] == [1, 1, 1]


def test_tensors_by_hand() -> None:
    def tensor(kind: str, n: int, **values: Any) -> Tensor:
        return tensor_of(config_of({"family": "tensor_tree", "tensor": kind, "n_indices": n, **values}))

    chain, square = tensor("ising_chain", 4, coupling=0.5), tensor("ising_square", 9, coupling=-0.25)
    for spins in product((0, 1), repeat=4):
        assert chain[spins] == pytest.approx(math.exp(-0.5 * sum(spins[i] * spins[i + 1] for i in range(3))))
    bonds = [((i, j), (i, j + 1)) for i in range(3) for j in range(2)]
    bonds += [((i, j), (i + 1, j)) for i in range(2) for j in range(3)]
    for spins in product((0, 1), repeat=9):
        at = {(i // 3, i % 3): spin for i, spin in enumerate(spins)}
        assert square[spins] == pytest.approx(math.exp(0.25 * sum(at[a] * at[b] for a, b in bonds)))
    ratio = tensor("ratio", 6, slope=0.5)
    for bits in product((0, 1), repeat=6):
        x, y = (int("".join(map(str, half)), 2) for half in (bits[:3], bits[3:]))
        assert ratio[bits] == pytest.approx(1 / (abs(y - 0.5 * x) + 1))
    normal = tensor("normal", 14)
    assert abs(normal.mean()) < 0.03 and abs(normal.std() - 1) < 0.03
    assert tensor("binary", 14).mean() == pytest.approx(0.05, abs=0.006)
    assert not np.array_equal(normal, tensor("normal", 14, seed=1)) and np.array_equal(normal, tensor("normal", 14))


@pytest.mark.parametrize("method", ["greedy", "brute_force"])
def test_no_more_is_spent_than_there_is(method: str) -> None:
    """What greedy has grown by then is a tree whose last tensor has more than three indices."""
    _, effort = run(method=method, n_indices=6)
    needed, found = effort.step, []
    for n_steps in (1, 15, 16, 17, needed - 1, needed):
        outcome, effort = run(method=method, n_indices=6, n_steps=n_steps)
        assert effort.step == n_steps and outcome.metrics["truncation_error"] < 1e-3
        found.append((len(outcome.tables["tree"]["rank"]), outcome.metrics["n_trees"]))
    if method == "greedy":
        assert found == [(0, 0), (0, 0), (1, 0), (1, 0), (2, 0), (3, 1)]
    else:
        assert [n for n, _ in found] == [0, 3, 3, 3, 3, 3] and found[0][1] == 0 < found[1][1] <= found[2][1]
        assert found[-2][1] == 104 and found[-1][1] == 105


def test_a_tensor_of_zeros_and_one_of_three_indices() -> None:
    outcome, _ = run(tensor="binary", n_indices=4, density=1e-9, method="brute_force")
    assert outcome.metrics["truncation_error"] == 0 and outcome.metrics["largest_rank"] == 1
    outcome, effort = run(n_indices=3)
    assert (outcome.metrics["n_elements"], outcome.metrics["n_trees"], effort.step) == (8, 1, 1)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"n_indices": 2}, r"n_indices must lie in 3 … 24; got 2"),
        ({"n_indices": 25}, r"n_indices must lie in 3 … 24; got 25"),
        ({"tensor": "ising_square"}, r"n_indices of ising_square must be a square number such as 9; got 8"),
        ({"tensor": "ratio", "n_indices": 5}, r"n_indices of ratio must be even, half of them for x; got 5"),
        ({"density": 0.0}, r"density must lie above 0, up to 1; got 0"),
        ({"threshold": 1.0}, r"threshold must be 0 or more and below 1; got 1"),
        ({"coupling": 20.0}, r"coupling must lie in ±18\.75 for 8 indices; got 20"),
        ({"method": "genetic"}, r"method must be one of greedy, brute_force; got 'genetic'"),
        ({"tensor": "ising"}, r"tensor must be .*; got 'ising'"),
    ],
)
def test_bad_values_are_one_line(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as raised:
        config_of({"family": "tensor_tree", **values})
    assert "\n" not in str(raised.value)

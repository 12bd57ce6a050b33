"""Contraction orders: costs against a counter written otherwise, dynamic programming against all there is, budgets."""

from __future__ import annotations

import math
import random
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monosweep.model.config import ConfigError
from monosweep.model.families import config_of
from monosweep.model.families.contraction_order import config
from monosweep.model.families.contraction_order.config import GREEDY_EVALUATIONS, PEERS
from monosweep.model.families.contraction_order.cost import Costs
from monosweep.model.families.contraction_order.graph import Network, network_of
from monosweep.model.families.contraction_order.parts import best_order, components, optimum
from monosweep.model.families.contraction_order.peers import Terms
from monosweep.model.families.contraction_order.procedure import ContractionOrder
from monosweep.model.procedure import Effort, Outcome, Spent
from monosweep.sweep.__main__ import main
from monosweep.sweep.spec.sweep_spec import expand, load_spec

METHODS = ("greedy", "annealing", "genetic", "dynamic", "exhaustive", *PEERS)


def run(**values: Any) -> tuple[Outcome, Effort]:
    config = config_of({"family": "contraction_order", "n_steps": 300, **values})
    effort = Effort(config.n_steps, lambda effort: True)
    return ContractionOrder.run(config, effort), effort


def counted(network: Network, order: list[int]) -> int:
    """The summed cost, by the bonds' names: tensors are sets of those that still lie open or are loops."""
    tensors: list[set[int]] = [set() for _ in range(network.n_tensors)]
    for bond, (first, second) in enumerate(network.bonds):
        tensors[first].add(bond)
        tensors[second].add(bond)
    total = 0
    for bond in order:
        with_it = [tensor for tensor in tensors if bond in tensor]
        joined = set().union(*with_it)
        total += math.prod(network.dims[other] for other in joined)
        tensors = [tensor for tensor in tensors if bond not in tensor] + [joined - {bond}]
    assert not any(tensors)
    return total


@st.composite
def networks(draw: st.DrawFn, most: int = 6, most_bonds: int = 15) -> Network:
    n = draw(st.integers(2, most))
    pairs = list(combinations(range(n), 2))
    bonds = draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=min(most_bonds, len(pairs)), unique=True))
    dims = draw(st.lists(st.integers(2, 9), min_size=len(bonds), max_size=len(bonds)))
    return Network(n, tuple(sorted(bonds)), tuple(dims))


@given(networks(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_costs_are_those_of_a_counter_of_names(network: Network, random: Any) -> None:
    order = list(range(len(network.bonds)))
    random.shuffle(order)
    costs = Costs(network)
    assert costs.total(order) == counted(network, order)
    state, total = costs.start(), 0
    for bond in order:
        cost, state = costs.step(state, bond)
        total += cost
    assert total == costs.total(order) and {state[0][tensor] for tensor in set(state[1])} == {0}


@given(networks(most=5, most_bonds=5))
@settings(max_examples=25, deadline=None)
def test_no_order_costs_less_than_the_best_one(network: Network) -> None:
    alike = Network(network.n_tensors, network.bonds, (network.dims[0],) * len(network.dims))
    assert optimum(alike) == min(counted(alike, list(order)) for order in permutations(range(len(alike.bonds))))


def test_with_several_dimensions_some_order_may_cost_less() -> None:
    """A loop of 2 is left until a tensor of one bond of 3 has come: 64 in place of 65."""
    network = Network(4, ((0, 1), (0, 2), (0, 3), (1, 2)), (2, 4, 3, 4))
    costs = Costs(network)
    assert optimum(network) is None and costs.total(best_order(costs)) == costs.total([3, 1, 0, 2]) == 65
    assert costs.total([3, 1, 2, 0]) == 64


@given(networks(most=6))
@settings(max_examples=30, deadline=None)
def test_dynamic_programming_is_as_good_as_looking_at_all_trees(network: Network) -> None:
    costs, looked = Costs(network), [0, 0]

    def spend(which: int) -> None:
        looked[which] += 1

    totals = [costs.total(best_order(costs, lambda i=i: spend(i), bool(i))) for i in (0, 1)]  # type: ignore[misc]
    assert totals[0] == totals[1] and looked[1] <= looked[0]


def test_it_is_so_with_eight_tensors() -> None:
    values = {"network": "regular", "degree": 2, "size": 8, "bond_dim": 3, "n_steps": 10**7}
    (all_of_them, much), (dynamic, little) = (run(method=method, **values) for method in ("exhaustive", "dynamic"))
    assert all_of_them.loss == dynamic.loss and dynamic.metrics["gap"] == 0 and little.step < much.step


@pytest.mark.parametrize("method", METHODS)
def test_every_order_is_whole_counted_and_within_the_budget(method: str) -> None:
    for network, size in (("random", 5), ("lattice", 2), ("regular", 6), ("tree", 7)):
        values = {"network": network, "size": size, "bond_dim": 4, "instance": 3, "method": method, "seed": 1}
        n_steps = {"dynamic": 100_000, "exhaustive": 100_000, "cotengra_hyper": 5}.get(method, 300)
        outcome, effort = run(**values, n_steps=n_steps)
        graph = network_of(config_of({"family": "contraction_order", **values}))
        order = list(map(int, outcome.metrics["bond_order"].split()))
        assert sorted(order) == list(range(outcome.metrics["n_bonds"]))
        assert outcome.loss == math.log10(counted(graph, order))
        assert 0 <= outcome.metrics["gap"] == pytest.approx(outcome.loss - outcome.metrics["optimum"])
        steps, losses = outcome.tables["progress"]["step"], outcome.tables["progress"]["loss"]
        assert losses[-1] == outcome.loss and (np.diff(losses) < 0).all() and (np.diff(steps) > 0).all()
        assert effort.left >= 0 and steps[-1] <= effort.step
        if method in ("annealing", "genetic", "cotengra_random_greedy", "cotengra_hyper"):
            assert effort.left == 0
        if method in ("cotengra_greedy", "opt_einsum_dp"):
            assert effort.step == 1
        again, _ = run(**values, n_steps=100_000 if method in ("dynamic", "exhaustive") else 300)
        assert (again.loss, again.metrics) == (outcome.loss, outcome.metrics)


def test_greedy_makes_as_many_evaluations_as_in_the_paper() -> None:
    random10 = expand(load_spec("contraction/random10"))
    greedy = next(config for config in random10 if config.method == "greedy")  # type: ignore[attr-defined]
    effort = Effort(10**6, lambda effort: True)
    outcome = ContractionOrder.run(greedy, effort)
    assert effort.step == GREEDY_EVALUATIONS == greedy.n_steps and outcome.metrics["n_bonds"] == 35
    assert outcome.metrics["optimum"] == pytest.approx(20.54, abs=0.005)  # the least that the authors found
    assert outcome.loss - outcome.metrics["optimum"] == outcome.metrics["gap"] > 1
    cut, left = run(network="given", edges=greedy.edges, n_steps=100)  # type: ignore[attr-defined]
    assert left.step == 100 and cut.loss > 20.6


def test_look_ahead_sees_what_one_step_does_not() -> None:
    losses = [run(network="lattice", size=3, look_ahead=depth, n_steps=10**6)[0].loss for depth in (1, 2, 3)]
    assert losses[2] <= losses[0]


def test_networks_are_of_their_kind() -> None:
    def graph(**values: Any) -> Network:
        return network_of(config_of({"family": "contraction_order", **values}))

    assert len(graph(network="lattice", size=6).bonds) == 60 and graph(network="lattice", size=6).n_tensors == 36
    degrees = np.bincount(np.array(graph(network="regular", size=12, degree=5, instance=2).bonds).ravel())
    assert set(degrees.tolist()) == {5}
    tree = graph(network="tree", size=20, instance=7)
    assert len(tree.bonds) == 19 and components(tree) == [list(range(20))]
    n_bonds = [len(graph(instance=i).bonds) for i in range(200)]
    assert abs(np.mean(n_bonds) - 36) < 1 and graph(instance=4) == graph(instance=4) != graph(instance=5)
    assert graph(network="given", edges="2-0:3 1-2") == Network(3, ((0, 2), (1, 2)), (3, 10))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"network": "given"}, "edges are for network given, which needs them; got '' with given"),
        ({"edges": "0-1"}, "edges are for network given"),
        ({"network": "given", "edges": "0-1 1"}, "edges must be words such as 0-1 or 0-1:4, of two tensors each; got"),
        ({"network": "given", "edges": "0-1 1-0"}, "must name each pair once, with a dimension of 2 or more; got"),
        ({"network": "regular", "size": 5}, "an even size * degree; got degree 3 and size 5"),
        ({"edge_prob": 0}, "edge_prob must lie above 0, up to 1; got 0"),
        ({"mutation_rate": 2}, "mutation_rate must lie in 0 … 1; got 2"),
        ({"bond_dim": 1}, "bond_dim must be 2 or more; got 1"),
        ({"edge_prob": 0.001, "size": 2}, "the network must have a bond"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint.replace("*", r"\*")):
        run(**values)


def test_too_small_a_budget_is_said() -> None:
    with pytest.raises(Spent):
        run(method="dynamic", n_steps=10)


# -- other libraries


def test_a_path_becomes_an_order_of_bonds() -> None:
    """By hand: a square with a diagonal, and two tensors apart; 1 and 2 first, then 0, then 3."""
    network = Network(7, ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (5, 6)), (2, 3, 4, 5, 6, 7))
    terms = Terms(Costs(network))
    assert terms.inputs == [(0, 1), (0, 2, 3), (1, 2, 4), (3, 4), (5,), (5,)], "tensor 4 has no bonds"
    path = [(1, 2), (0, 4), (0, 3), (0, 1), (0, 1)]
    assert terms.order(path) == [2, 1, 0, 4, 3, 5]
    assert terms.order([(1, 2, 0), (0, 3), (0, 1), (0, 1)]) == [2, 1, 0, 4, 3, 5]


@pytest.mark.parametrize("method", PEERS)
def test_libraries_draw_what_the_seed_says_and_leave_pythons_generator_alone(method: str) -> None:
    random.seed(17)
    before = random.getstate()
    values = {"size": 9, "edge_prob": 0.5, "method": method, "n_steps": 4}
    first, again = (run(**values, seed=1)[0] for _ in range(2))
    assert first.metrics == again.metrics and first.loss == again.loss
    np.testing.assert_array_equal(first.tables["progress"]["loss"], again.tables["progress"]["loss"])
    assert random.getstate() == before
    if method == "cotengra_random_greedy":
        assert len({run(**values, seed=seed)[0].metrics["bond_order"] for seed in range(5)}) > 1


def test_libraries_come_near_the_least_cost() -> None:
    """They count multiplications of whole contractions, which is not quite the paper's cost."""
    for instance in range(3):
        values = {"size": 8, "instance": instance, "n_steps": 5}
        gaps = {method: run(**values, method=method)[0].metrics["gap"] for method in PEERS}
        assert 0 <= gaps["opt_einsum_dp"] < 0.3 and 0 <= gaps["cotengra_hyper"] < 0.3
        assert gaps["cotengra_greedy"] < 4


@pytest.mark.parametrize("method", PEERS)
def test_a_library_that_is_not_there_is_told_before_anything_starts(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    argv = ["launch", "contraction/random10", "--set", f"method={method}", "--out", str(tmp_path / "results")]
    assert main(argv) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"method {method} needs {PEERS[method]}" in error and "[peers]" in error
    assert not (tmp_path / "results").exists()

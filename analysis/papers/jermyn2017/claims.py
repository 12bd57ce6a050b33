"""The paper's findings as claims: how near the greedy algorithm comes to the smallest tree, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosweep.analysis.claims.claim import AT_LEAST_NONE, Accept, Claim, Need, whole
from monosweep.analysis.claims.evidence import Evidence, Number, seeds
from monosweep.analysis.claims.study import Study
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.jermyn2017.batches import (
    BRUTE_INDICES,
    GREEDY_INDICES,
    ISING,
    METHODS,
    RANDOM,
    RATIO,
    SQUARE,
    TREE,
)
from monosweep.model.families.tensor_tree.config import TensorTreeConfig

GREEDY, BRUTE = METHODS
_NEAR = Accept(high=1.2, reason="a fifth larger at most; by what is cut off it may even be smaller")


def per(name: str, batch: str, value: Callable[[Sequence[Row]], Number]) -> Callable[[Evidence[Any]], list[Number]]:
    """A number for each value of a knob, where the tensors have no seeds."""

    def statistic(evidence: Evidence[Any]) -> list[Number]:
        rows = evidence.batch(batch)
        return [value([row for row in rows if row[name] == each]) for each in sorted({row[name] for row in rows})]

    return statistic


def over_smallest(rows: Sequence[Row]) -> Number:
    """Elements of the greedy tree over those of the smallest, geometric mean over tensors that both were given."""
    sizes = {(row["method"], _tensor(row)): row["n_elements"] for row in rows}
    tensors = sorted({tensor for _, tensor in sizes} & {tensor for method, tensor in sizes if method == BRUTE})
    return math.exp(float(np.mean([math.log(sizes[GREEDY, one] / sizes[BRUTE, one]) for one in tensors])))


def _tensor(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("tensor", "n_indices", "coupling", "slope"))


def kept(kind: str) -> Callable[[Sequence[Row]], float]:
    """Elements of the smallest tree over the tensor's, geometric mean over sizes."""
    return lambda rows: math.exp(
        float(np.mean([math.log(r["compression"]) for r in rows if (r["tensor"], r["method"]) == (kind, BRUTE)]))
    )


def saved(rows: Sequence[Row]) -> Number:
    """By what factor more normal tensors keep than sparse ones."""
    return kept("normal")(rows) / kept("binary")(rows)


def growth(method: str, column: str, of: Callable[[int], float]) -> Callable[[Sequence[Row]], Number]:
    """Slope of the logarithm of a column against `of` the number of indices."""

    def value(rows: Sequence[Row]) -> Number:
        mine = [row for row in rows if row["method"] == method]
        x, y = [of(row["n_indices"]) for row in mine], [math.log(row[column]) for row in mine]
        return float(np.polyfit(x, y, 1)[0])

    return value


def _near(name: str, where: str, batch: str, statistic: Callable[[Evidence[Any]], list[Number]]) -> Claim:
    return Claim(
        name=name,
        finding=f"The greedy tree is about as small as the smallest ({where}).",
        needs=whole(batch),
        effect=False,
        measure="elements of the greedy tree over those of the smallest",
        paper="near 1",
        statistic=statistic,
        accepted={TREE.name: _NEAR},
        bounds=AT_LEAST_NONE,
    )


def _chains(method: str, n_indices: Sequence[int]) -> tuple[Need, ...]:
    return (Need(batch=ISING, only={"method": (method,), "n_indices": n_indices}),)


CLAIMS: tuple[Claim, ...] = (
    _near("greedy, square", "two-dimensional Ising models", SQUARE, per("coupling", SQUARE, over_smallest)),
    _near("greedy, ratio", "1 / (|y − αx| + 1), five α", RATIO, per("slope", RATIO, over_smallest)),
    _near("greedy, random", "normal and sparse binary tensors", RANDOM, seeds(over_smallest, RANDOM)),
    Claim(
        name="chain, memory",
        finding="What a tree of the one-dimensional Ising model takes grows as the number of its spins.",
        needs=_chains(GREEDY, GREEDY_INDICES),
        effect=True,
        measure="exponent of the elements of the greedy tree against n − 2, of each coupling",
        paper="1 (bounded ranks)",
        statistic=per("coupling", ISING, growth(GREEDY, "n_elements", lambda n: math.log(n - 2))),
        accepted={TREE.name: Accept(low=0.9, high=1.1, reason="linear; 0 if the number of spins did nothing")},
    ),
    Claim(
        name="greedy, work",
        finding="The greedy algorithm takes O(n³) decompositions.",
        needs=_chains(GREEDY, GREEDY_INDICES),
        effect=True,
        measure="exponent of the decompositions done against n, 4 to 16, of each coupling",
        paper="3",
        statistic=per("coupling", ISING, growth(GREEDY, "last_step", math.log)),
        accepted={TREE.name: Accept(low=2.5, high=3.5, reason="n³/6 with what smaller powers add at n of 4 to 16")},
    ),
    Claim(
        name="brute force, work",
        finding="Brute force takes (2n − 5)!! trees, which is more than exponential.",
        needs=_chains(BRUTE, BRUTE_INDICES),
        effect=True,
        measure="growth of the logarithm of the decompositions done with each further index, 4 to 9, of each coupling",
        paper="above log 2",
        statistic=per("coupling", ISING, growth(BRUTE, "last_step", float)),
        accepted={TREE.name: Accept(low=math.log(2), reason="twice as many with each index at least")},
    ),
    Claim(
        name="normal tensors",
        finding="Tensors of independent normal numbers are not compressed.",
        needs=(Need(batch=RANDOM, only={"tensor": ("normal",), "method": (BRUTE,)}),),
        effect=False,
        measure="elements of the smallest tree over the tensor's, mean over sizes",
        paper="1 or more",
        statistic=seeds(kept("normal"), RANDOM),
        accepted={TREE.name: Accept(low=1.0, reason="no smaller than the tensor")},
        bounds=AT_LEAST_NONE,
    ),
    Claim(
        name="sparse tensors",
        finding="Sparse binary tensors are compressed more than normal ones.",
        needs=(Need(batch=RANDOM, only={"method": (BRUTE,)}),),
        effect=True,
        measure="what normal tensors keep over what sparse ones keep",
        paper="above 1",
        statistic=seeds(saved, RANDOM),
        accepted={TREE.name: Accept(low=1.2, reason="a fifth more; 1 if the kind of tensor did nothing")},
        bounds=AT_LEAST_NONE,
    ),
)
JERMYN2017 = Study(name="jermyn2017", families=(TensorTreeConfig.FAMILY,), sizes=(TREE,), claims=CLAIMS)

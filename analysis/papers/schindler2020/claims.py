"""The paper's findings as claims: how cheap the orders are that each method finds, and which method is better."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosweep.analysis.claims.claim import Accept, Claim, Need, whole
from monosweep.analysis.claims.evidence import NO_EFFECT, Evidence, Number, order, seeds
from monosweep.analysis.claims.study import Study
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.schindler2020.batches import (
    BY_SIZE,
    CONTRACTION,
    MEDIANS,
    NUMBERS_OF_TENSORS,
    OPTIMUM,
    RANDOM10,
)
from monosweep.model.families.contraction_order.config import ContractionOrderConfig

RUNS = 5
"""Of a median: one for so many seeds."""
_NEAR = 0.3


def medians(method: str) -> Callable[[Evidence[Any]], list[Number]]:
    """The median cost of every five runs of a method, in the order of their seeds."""

    def statistic(evidence: Evidence[Any]) -> list[Number]:
        rows = [row for row in evidence.batch(RANDOM10) if row["method"] == method]
        losses = [row["loss"] for row in sorted(rows, key=lambda row: row["seed"])]
        fives = [losses[i : i + RUNS] for i in range(0, len(losses) - RUNS + 1, RUNS)]
        return [float(np.median(five)) for five in fives]

    return statistic


def below(better: str, worse: str) -> Callable[[Sequence[Row]], Number]:
    """By how many decades one method's order is cheaper than another's, mean over the networks."""
    return lambda rows: _mean(rows, worse) - _mean(rows, better)


def grows(better: str, worse: str) -> Callable[[Sequence[Row]], Number]:
    """Spearman's coefficient of the number of tensors and that; no effect where it is the same at all of them."""

    def value(rows: Sequence[Row]) -> Number:
        ahead = [
            _mean(same, worse) - _mean(same, better)
            for size in NUMBERS_OF_TENSORS
            if (same := [row for row in rows if row["size"] == size])
        ]
        return order(NUMBERS_OF_TENSORS, ahead) if len(ahead) == len(NUMBERS_OF_TENSORS) else NO_EFFECT

    return value


def _mean(rows: Sequence[Row], method: str) -> float:
    return float(np.mean([row["loss"] for row in rows if row["method"] == method]))


def _median_claim(method: str) -> Claim:
    value = MEDIANS[method]
    return Claim(
        name=f"{method}, median",
        finding=f"On their network the median of {method} runs is {value - OPTIMUM:.1f} decades above the least cost.",
        needs=(Need(batch=RANDOM10, only={"method": (method,)}, seeds=2 * RUNS),),
        effect=False,
        measure=f"log10 of the summed cost, median of every {RUNS} runs",
        paper=f"{value} (40 runs)",
        statistic=medians(method),
        accepted={CONTRACTION.name: Accept(low=value - _NEAR, high=value + _NEAR, reason="a factor of two either way")},
    )


def _ranking(name: str, batch: str, better: str, worse: str, paper: str) -> Claim:
    where = "their network" if batch == RANDOM10 else f"random networks of {NUMBERS_OF_TENSORS[0]} to 12 tensors"
    return Claim(
        name=name,
        finding=f"At equal budgets {better} finds cheaper orders than {worse} ({where}).",
        needs=(Need(batch=batch, only={"method": (better, worse)}),),
        effect=True,
        measure=f"decades by which the order of {better} is cheaper than that of {worse}, mean over networks",
        paper=paper,
        statistic=seeds(below(better, worse), batch),
        accepted={CONTRACTION.name: Accept(low=0.05, reason="a tenth cheaper; 0 if the method did nothing")},
    )


_AHEAD = MEDIANS["greedy"] - MEDIANS["annealing"], MEDIANS["annealing"] - MEDIANS["genetic"]
CLAIMS: tuple[Claim, ...] = (
    *map(_median_claim, MEDIANS),
    _ranking("annealing over greedy", RANDOM10, "annealing", "greedy", f"{_AHEAD[0]:.2f} (medians)"),
    _ranking("genetic over annealing", RANDOM10, "genetic", "annealing", f"{_AHEAD[1]:.2f} (medians)"),
    _ranking("annealing over greedy, sizes", BY_SIZE, "annealing", "greedy", "above 0"),
    _ranking("genetic over annealing, sizes", BY_SIZE, "genetic", "annealing", "above 0"),
    Claim(
        name="grows with size",
        finding="What global search saves over the greedy algorithm grows with the network.",
        needs=whole(BY_SIZE),
        effect=True,
        measure="Spearman's coefficient of the number of tensors and the decades between greedy and genetic",
        bounds=(-1.0, 1.0),
        paper="positive",
        statistic=seeds(grows("genetic", "greedy"), BY_SIZE),
        accepted={CONTRACTION.name: Accept(low=0.5, reason="clearly rising over four sizes; 0 if size did nothing")},
    ),
)
SCHINDLER2020 = Study(
    name="schindler2020", families=(ContractionOrderConfig.FAMILY,), sizes=(CONTRACTION,), claims=CLAIMS
)  # fmt: skip

"""What the article's claims measure: one number per seed, or per half of the restarts where the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.claims.batch import same
from monosweep.analysis.claims.evidence import MISSING, NO_EFFECT, Evidence, Number, by_seed, over
from monosweep.analysis.families.superposition.features import Features, features_of
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.elhage2022.batches import CLUSTER, PHASE, PLATEAUS

Statistic = Callable[[Evidence[Any]], list[Number]]
FOUR_NINTHS = 4 / 9
NEAR, AROUND = 0.005, 0.025
"""How far D may be from 4/9 to lie at it, and to lie around it."""


def at(column: str, *probs: float) -> Callable[[Sequence[Row]], float]:
    """The mean of a column over these probabilities."""
    return lambda rows: float(np.mean(list(over(rows, "feature_prob", column, probs).values())))


def more_at(column: str, prob: float, base: float) -> Callable[[Sequence[Row]], float]:
    """By how much a column is more at one probability than at another."""
    return lambda rows: at(column, prob)(rows) - at(column, base)(rows)


def median_share(batch: str) -> Statistic:
    """The median dimensionality of the features that are represented, per seed."""

    def median(shares: NDArray[np.float64]) -> Number:
        return float(np.median(shares)) if len(shares) else NO_EFFECT

    return lambda evidence: _of_shares(evidence, batch, median)


def _of_shares(evidence: Evidence[Any], batch: str, value: Callable[[NDArray[np.float64]], Number]) -> list[Number]:
    """A number of the dimensionalities of all trials of a seed; missing where one left no features."""
    features = features_of(evidence.root, evidence.batch(batch))
    found: list[Number] = []
    for _, rows in sorted(by_seed(evidence.batch(batch)).items()):
        there = all(row["trial_id"] in features for row in rows)
        found.append(value(np.concatenate([features[r["trial_id"]].shares for r in rows])) if there else MISSING)
    return found


def density_at_four_ninths(evidence: Evidence[Any]) -> list[Number]:
    """How densely dimensionalities lie at 4/9 for how densely around it, over all probabilities, per seed; no effect
    where none lies around it."""

    def ratio(shares: NDArray[np.float64]) -> Number:
        off = np.abs(shares - FOUR_NINTHS)
        near, beside = (off <= NEAR).sum() / NEAR, ((off > NEAR) & (off <= AROUND)).sum() / (AROUND - NEAR)
        return float(near / beside) if beside else NO_EFFECT

    return _of_shares(evidence, CLUSTER, ratio)


def best(rows: Sequence[Row]) -> Row:
    """The restart with the least loss."""
    return min(rows, key=lambda row: (row["loss"], row["trial_id"]))


def last_share(importance: float, prob: float, of_models: Callable[[list[float]], float]) -> Statistic:
    """The share of a dimension that the last feature has in the best restart, both models as one, per half of them."""

    def statistic(evidence: Evidence[Any]) -> list[Number]:
        rows = [row for row in evidence.batch(PHASE) if same(row["last_importance"], importance)]
        models = [_best_halves(evidence, [row for row in rows if row["n_features"] == n], prob) for n in (2, 3)]
        return [of_models([one.last_share for one in half]) for half in zip(*models, strict=True)] or [MISSING]

    return statistic


def off_plateaus(plateaus: Mapping[float, Sequence[float]]) -> Statistic:
    """How far the median dimensionality of the best restart of `plateaus` is from what it is to be at some
    probabilities, where it is furthest, per half of the restarts."""

    def statistic(evidence: Evidence[Any]) -> list[Number]:
        rows, wanted = evidence.batch(PLATEAUS), [(p, share) for share, probs in plateaus.items() for p in probs]
        off = [
            [abs(float(np.median(one.shares)) - share) if len(one.shares) else share for one in halves]
            for p, share in wanted
            if (halves := _best_halves(evidence, rows, p))
        ]
        return [max(half) for half in zip(*off, strict=True)] if len(off) == len(wanted) else [MISSING]

    return statistic


def _best_halves(evidence: Evidence[Any], rows: Sequence[Row], prob: float) -> list[Features]:
    """The features of the best of every second restart at a probability, and of the rest; none if either left none."""
    here = sorted((row for row in rows if same(row["feature_prob"], prob)), key=lambda row: row["seed"])
    halves = [here[0::2], here[1::2]]
    kept = [best(half) for half in halves]
    features = features_of(evidence.root, kept)
    return [features[row["trial_id"]] for row in kept] if len(features) == len(kept) else []

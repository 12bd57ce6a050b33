"""What the article's claims measure: one number per seed, or per half of the restarts where the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.claims.batch import same
from monosweep.analysis.claims.evidence import Evidence, by_seed, over
from monosweep.analysis.families.superposition.features import Features, features_of
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.elhage2022.batches import CLUSTER, PHASE, PLATEAUS, RESTARTS

Statistic = Callable[[Evidence[Any]], list[float]]
FOUR_NINTHS = 4 / 9
NEAR, AROUND = 0.005, 0.025
"""How far D may be from 4/9 to lie at it, and to lie around it."""


def at(column: str, *probs: float) -> Callable[[Sequence[Row]], float | None]:
    """The mean of a column over these probabilities, of a seed that has them."""

    def value(rows: Sequence[Row]) -> float | None:
        found = over(rows, "feature_prob", column, probs)
        return None if found is None else float(np.mean(list(found.values())))

    return value


def median_share(batch: str, *probs: float) -> Statistic:
    """The median dimensionality of the features that are represented at these probabilities, per seed."""
    return lambda evidence: [float(np.median(shares)) for shares in _shares(evidence, batch, probs) if len(shares)]


def _shares(evidence: Evidence[Any], batch: str, probs: Sequence[float]) -> list[NDArray[np.float64]]:
    """By seed; of those that have all these probabilities, or of all if none is given."""
    features = features_of(evidence.root, evidence.batch(batch))
    found = []
    for _, rows in sorted(by_seed(evidence.batch(batch)).items()):
        mine = [row for row in rows if not probs or any(same(row["feature_prob"], p) for p in probs)]
        if all(row["trial_id"] in features for row in mine) and len(mine) >= max(1, len(probs)):
            found.append(np.concatenate([features[row["trial_id"]].shares for row in mine]))
    return found


def density_at_four_ninths(evidence: Evidence[Any]) -> list[float]:
    """How densely dimensionalities lie at 4/9 for how densely around it, over all probabilities, per seed."""
    found = []
    for shares in _shares(evidence, CLUSTER, ()):
        off = np.abs(shares - FOUR_NINTHS)
        near, beside = (off <= NEAR).sum() / NEAR, ((off > NEAR) & (off <= AROUND)).sum() / (AROUND - NEAR)
        if beside:
            found.append(float(near / beside))
    return found


def best(rows: Sequence[Row]) -> Row:
    """The restart with the least loss."""
    return min(rows, key=lambda row: (row["loss"], row["trial_id"]))


def last_share(importance: float, prob: float, of_models: Callable[[list[float]], float]) -> Statistic:
    """The share of a dimension that the last feature has in the best restart, both models as one, per half of them."""

    def statistic(evidence: Evidence[Any]) -> list[float]:
        rows = [row for row in evidence.batch(PHASE) if same(row["last_importance"], importance)]
        models = [_best_halves(evidence, [row for row in rows if row["n_features"] == n], prob) for n in (2, 3)]
        return [of_models([one.last_share for one in half]) for half in zip(*models, strict=False)]

    return statistic


def off_plateaus(plateaus: Mapping[float, Sequence[float]]) -> Statistic:
    """How far the median dimensionality of the best restart of `plateaus` is from what it is to be at some
    probabilities, where it is furthest, per half of the restarts."""

    def statistic(evidence: Evidence[Any]) -> list[float]:
        rows, wanted = evidence.batch(PLATEAUS), [(p, share) for share, probs in plateaus.items() for p in probs]
        off = [
            [abs(float(np.median(one.shares)) - share) if len(one.shares) else share for one in halves]
            for p, share in wanted
            if (halves := _best_halves(evidence, rows, p))
        ]
        return [max(half) for half in zip(*off, strict=True)] if len(off) == len(wanted) else []

    return statistic


def _best_halves(evidence: Evidence[Any], rows: Sequence[Row], prob: float) -> list[Features]:
    """The features of the best of the even restarts at a probability, and of the odd ones; none if some are missing."""
    here = [row for row in rows if same(row["feature_prob"], prob)]
    halves = [[row for row in here if row["seed"] % 2 == half] for half in (0, 1)]
    if any(len(half) < RESTARTS // 2 for half in halves):
        return []
    kept = [best(half) for half in halves]
    features = features_of(evidence.root, kept)
    return [features[row["trial_id"]] for row in kept] if len(features) == len(kept) else []

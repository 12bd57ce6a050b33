"""What the article's claims measure: one number per seed, or per half of the restarts where the best is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.claims.batch import same
from monosweep.analysis.claims.evidence import Evidence, by_seed, over
from monosweep.analysis.families.superposition.features import features_of
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.elhage2022.batches import CLUSTER, PHASE, RESTARTS

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
        rows = [
            row
            for row in evidence.batch(PHASE)
            if same(row["last_importance"], importance) and same(row["feature_prob"], prob)
        ]
        halves = [[row for row in rows if row["seed"] % 2 == half] for half in (0, 1)]
        models = [[[row for row in half if row["n_features"] == n] for n in (2, 3)] for half in halves]
        whole = [each for each in models if all(len(restarts) >= RESTARTS // 2 for restarts in each)]
        kept = [[best(restarts) for restarts in each] for each in whole]
        features = features_of(evidence.root, [row for each in kept for row in each])
        return [
            of_models([features[row["trial_id"]].last_share for row in each])
            for each in kept
            if all(row["trial_id"] in features for row in each)
        ]

    return statistic


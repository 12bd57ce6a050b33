"""Norms and dimensionalities of models' features at their end.  Between the table `features` and a paper's claims."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.knobs import Row
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.storage import quoted

REPRESENTED = 0.5
"""A feature is represented if its column of W is longer than this."""


@dataclass(frozen=True, slots=True)
class Features:
    """One trial's features, in their order."""

    norm: NDArray[np.float64]
    dimensionality: NDArray[np.float64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """The dimensionalities of those that are represented."""
        return self.dimensionality[self.norm > REPRESENTED]

    @property
    def last_share(self) -> float:
        """The dimensionality of the last feature; 0 if it is not represented."""
        return float(self.dimensionality[-1]) if self.norm[-1] > REPRESENTED else 0.0


def features_of(root: Root, rows: Sequence[Row]) -> dict[str, Features]:
    """The features of each of these trials that left some, by trial_id."""
    if not rows:
        return {}
    ids = ", ".join(quoted(row["trial_id"]) for row in rows)
    found = root.sql(
        f"""
        SELECT trial_id, list(norm ORDER BY feature) AS norms, list(dimensionality ORDER BY feature) AS shares
        FROM (
            SELECT * FROM features WHERE trial_id IN ({ids}) QUALIFY step = max(step) OVER (PARTITION BY trial_id)
        ) GROUP BY trial_id ORDER BY trial_id
        """
    ).to_pylist()
    return {row["trial_id"]: Features(np.array(row["norms"]), np.array(row["shares"])) for row in found}

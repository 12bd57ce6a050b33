"""Counts of a network's neurons at its end, by their r and bias.  Between the table `neurons` and a paper's claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monosweep.analysis.knobs import Row
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.storage import quoted

POSITIVE_BIAS = 0.05
"""Above it a neuron counts as polysemantic (section 3)."""


def neuron_counts(root: Root, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Of each trial: how many neurons are monosemantic or of positive bias at its end, and the first ones' median bias.

    Columns: trial_id, n_mono, n_mono_negative (of them, with negative bias), mono_bias, n_positive, n_positive_poly.
    """
    if not rows:
        return []
    ids = ", ".join(quoted(row["trial_id"]) for row in rows)
    found: list[dict[str, Any]] = root.sql(
        f"""
        SELECT trial_id, count(*) FILTER (mono) AS n_mono,
            count(*) FILTER (mono AND bias < 0) AS n_mono_negative,
            median(bias) FILTER (mono) AS mono_bias,
            count(*) FILTER (bias > {POSITIVE_BIAS}) AS n_positive,
            count(*) FILTER (bias > {POSITIVE_BIAS} AND NOT mono) AS n_positive_poly
        FROM (
            SELECT n.*, r > mono_threshold AS mono FROM neurons n JOIN trials t USING (trial_id)
            WHERE trial_id IN ({ids}) QUALIFY step = max(step) OVER (PARTITION BY trial_id)
        ) GROUP BY trial_id ORDER BY trial_id
        """
    ).to_pylist()
    return found

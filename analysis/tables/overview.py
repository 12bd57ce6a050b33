"""What is in a root, as SQL: its sweeps with their counts, and why trials ended early."""

from __future__ import annotations

from monosweep.analysis.tables.storage import quoted
from monosweep.model.records import TrialStatus

_COUNTS = ", ".join(f"count(*) FILTER (t.status = {quoted(status)}) AS {status.value}" for status in TrialStatus)
SWEEPS = f"""
WITH members AS (SELECT sweep, trial_id FROM asked UNION SELECT sweep, trial_id FROM trials
                 WHERE sweep NOT IN (SELECT sweep FROM asked))
SELECT m.sweep, count(*) AS asked, {_COUNTS}
FROM members m LEFT JOIN trials t USING (trial_id) GROUP BY m.sweep ORDER BY m.sweep
"""
"""Of a root that does not say what was asked for, the trials that have a row."""
ENDED_EARLY = f"status IN ({quoted(TrialStatus.FAILED)}, {quoted(TrialStatus.DIVERGED)})"


def reasons(source: str = "trials", condition: str = "true") -> str:
    """Why trials failed or diverged, the most frequent first: status, first line, how many, one of them.

    Args:
        source: what stands after FROM.
        condition: an SQL condition that is sound.
    """
    return f"""
SELECT status, coalesce(nullif(trim(split_part(error, chr(10), 1)), ''), 'no reason told') AS line,
    count(*) AS n, min(trial_id) AS trial_id
FROM {source} WHERE {ENDED_EARLY} AND {condition} GROUP BY ALL ORDER BY n DESC, status, line
"""

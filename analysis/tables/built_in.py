"""Trials of one of our families that a user's file adds metrics to, `mine.py:two_layer`, as trials of that family.

of_built_in -> SQL -> rows -> as_built_in -> figures and claims, which know `two_layer` alone
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monosweep.analysis.knobs import OWN_KNOBS, Row
from monosweep.analysis.tables.storage import quoted


def built_in(family: str) -> str:
    """Our own family that a family is, or extends; a user's own is itself.

    >>> [built_in(name) for name in ("two_layer", "mine.py:two_layer", "toy.py:Toy")]
    ['two_layer', 'two_layer', 'toy.py:Toy']
    """
    of_ours = family.rpartition(":")[2]
    return of_ours if of_ours in OWN_KNOBS else family


def of_built_in(families: Iterable[str]) -> str:
    """The SQL condition that a trial is of one of these families, or of one that extends it.

    >>> of_built_in(["two_layer"])
    "regexp_extract(family, '[^:]*$') IN ('two_layer')"
    """
    names = sorted(families)
    ours, others = [name for name in names if name in OWN_KNOBS], [name for name in names if name not in OWN_KNOBS]
    said = [f"regexp_extract(family, '[^:]*$') IN ({', '.join(map(quoted, ours))})"] if ours else []
    said += [f"family IN ({', '.join(map(quoted, others))})"] if others else []
    return f"({' OR '.join(said)})" if len(said) > 1 else said[0] if said else "false"


def as_built_in(rows: Sequence[Row]) -> list[Row]:
    """The rows, in their order, as those of the families that theirs extend.

    Metrics change nothing of how a trial is trained: of trials with the same knobs only the first is kept, and our
    family's own is the first.
    """
    kept: dict[tuple[object, ...], str] = {}
    for row in sorted(rows, key=lambda row: row["family"] != built_in(row["family"])):
        kept.setdefault(_trained(row), row["trial_id"])
    return [{**row, "family": built_in(row["family"])} for row in rows if kept[_trained(row)] == row["trial_id"]]


def _trained(row: Row) -> tuple[object, ...]:
    """All that a trial was trained from; of a user's own family its id says it."""
    family = built_in(row["family"])
    if family not in OWN_KNOBS:
        return (row["trial_id"],)
    return (family, *(row[knob.name] for knob in OWN_KNOBS[family] if knob.name != "family"))

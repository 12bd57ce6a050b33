"""Whether the tables have the trials that a claim needs, and which of them count.  Between evidence and verdicts.

    Claim.needs, Evidence -> Coverage: the whole seeds of the declared points alone, or what is lacking

A seed counts where it has every point of every need.  A batch of which half the trials or more did not complete is not
covered, whatever the others say: those that are left are no fair sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from monosweep.analysis.claims.batch import Batch, Point
from monosweep.analysis.claims.claim import Claim, Need
from monosweep.analysis.claims.evidence import Evidence, by_seed
from monosweep.analysis.knobs import Row, said


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """What a claim may be judged by."""

    evidence: Evidence[Any]
    """The whole seeds, at the declared points."""
    n_seeds: int
    lacking: str
    """Why it is not covered, and what to launch; empty if it is."""
    left_out: str
    """Trials that are there and do not count, and why; empty if all do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Found:
    """One need in the tables."""

    need: Need
    name: str
    """The preset."""
    by_seed: dict[int, list[Row]]
    """Completed trials at declared points."""
    whole: set[int]
    lost: list[Row]
    """Trials at needed points that did not complete."""
    lacks: dict[int, set[Point]]
    """By seed, of those that are not whole."""


def cover(claim: Claim, evidence: Evidence[Any]) -> Coverage:
    """What of the evidence counts for a claim."""
    found = [_find(need, evidence) for need in claim.needs if need.at(evidence.size.name)]
    whole = set.intersection(*(one.whole for one in found))
    kept: dict[str, list[Row]] = {}
    for one in found:  # a claim may need a batch twice, with other points or sizes
        rows = kept.setdefault(one.need.batch, [])
        there = {id(row) for row in rows}
        rows += [row for seed in sorted(whole) for row in one.by_seed[seed] if id(row) not in there]
    lacking = _lacking(claim, found, whole)
    return Coverage(
        evidence=evidence.of(kept), n_seeds=len(whole), lacking=lacking,
        left_out="" if lacking else "; ".join([*_left_out(found, whole), *_otherwise(found, evidence)]),
    )  # fmt: skip


def _find(need: Need, evidence: Evidence[Any]) -> _Found:
    batch = evidence.size.batches[need.batch]
    points, counted = batch.points(need.only), batch.counted(need.only)
    here = by_seed([row for row in evidence.batch(need.batch) if batch.point(row) in counted])
    lacks = {seed: missing for seed, rows in here.items() if (missing := points - _at(batch, rows))}
    return _Found(
        need=need, name=f"{evidence.size.name}/{need.batch}", by_seed=here, whole=set(here) - set(lacks),
        lost=[row for row in batch.pick(evidence.lost) if batch.point(row) in points and _alike(row, evidence)],
        lacks=lacks,
    )  # fmt: skip


def _alike(row: Row, evidence: Evidence[Any]) -> bool:
    return evidence.precision in (None, row.get("precision"))


def _at(batch: Batch, rows: Iterable[Row]) -> set[Point]:
    return {batch.point(row) for row in rows}


def _lacking(claim: Claim, found: Sequence[_Found], whole: set[int]) -> str:
    none = [one.name for one in found if not one.by_seed and not one.lost]
    if none:
        return f"launch {' and '.join(none)}"
    for one in found:
        n = len(one.lost) + sum(map(len, one.by_seed.values()))
        if 2 * len(one.lost) >= n:
            return f"of {n} trials of {one.name} {_ends(one.lost)}"
    least = max(one.need.seeds for one in found)
    if len(whole) >= least:
        return ""
    short = [f"{one.name} lacks {_points(one)}" for one in found if one.lacks] or [
        f"there are {len(whole)} of {least} seeds"
    ]
    parts = f" with {claim.also}" if claim.also else ""
    again = " and ".join(one.name for one in found if len(one.whole) < least) or found[0].name
    return f"too few trials: {'; '.join(short)}; launch {again}{parts}"


def _points(one: _Found) -> str:
    """What every seed lacks, or else what the first one does."""
    everywhere = set.intersection(*one.lacks.values()) if not one.whole else set()
    seed, first = min(one.lacks.items())
    points = sorted(everywhere or first, key=repr)
    shown = ", ".join(" ".join(said(name, value) for name, value in point) for point in points[:3])
    more = f" and {len(points) - 3} more" if len(points) > 3 else ""
    gone = f" ({_ends(one.lost)})" if one.lost else ""
    return f"{shown}{more}{gone}" if everywhere else f"{shown}{more} of seed {seed}{gone}"


def _left_out(found: Sequence[_Found], whole: set[int]) -> list[str]:
    """A clause for each batch with seeds that do not count."""
    told = []
    for one in found:
        seeds = sorted(({row["seed"] for row in one.lost} | set(one.by_seed)) - whole)
        if seeds:
            why = f", of which {_ends(one.lost)}" if one.lost else ""
            told.append(f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))} of {one.name}{why}")
    return told


def _otherwise(found: Sequence[_Found], evidence: Evidence[Any]) -> list[str]:
    """A clause for each batch that has trials of other precisions."""
    return [
        f"{len(others)} trials of {one.name} that are not {evidence.precision}"
        for one in found
        if (others := evidence.otherwise(one.need.batch))
    ]


def _ends(lost: Sequence[Row]) -> str:
    counts = Counter(str(row["status"]) for row in lost)
    return " and ".join(f"{n} {status}" for status, n in sorted(counts.items()))

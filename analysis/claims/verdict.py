"""Findings, checked: claims and the tables' evidence in, verdicts out.

    Root -> studies' claims per size -> Verdict(holds | fails | undecided | not covered) -> `monosweep claims`

Deterministic: the same tables give the same verdicts.  A claim's number is the mean over seeds of its statistic, with
Student's 95 % interval over seeds.  It holds where the whole interval lies in the accepted range, fails where all of it
lies outside, and is undecided where neither is so; a single seed decides nothing.  A seed in which there is no effect
to measure has no number and speaks against the claim: it fails if that is so in all seeds, and cannot hold if in some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from monosweep.analysis.claims.batch import Size
from monosweep.analysis.claims.claim import Accept, Claim, short
from monosweep.analysis.claims.coverage import Coverage, cover
from monosweep.analysis.claims.evidence import Absent, Evidence, Number
from monosweep.analysis.claims.study import Study
from monosweep.analysis.knobs import Row
from monosweep.analysis.stats.intervals import interval
from monosweep.analysis.tables.built_in import as_built_in, of_built_in
from monosweep.analysis.tables.guard import conditions
from monosweep.analysis.tables.root import Root
from monosweep.model.records import TrialStatus

if TYPE_CHECKING:
    import pyarrow as pa


class Outcome(StrEnum):
    """What the tables say of a claim."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"
    NOT_COVERED = "not covered"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One claim at one size."""

    study: str
    """The paper's, by the name of its `Study`."""
    claim: str
    size: str
    """Its name, such as `small`."""
    finding: str
    measure: str
    paper: str
    ours: float | None
    """Mean over seeds; None if not covered."""
    low: float | None
    """Student's 95 % interval of that mean over seeds, with `high`; None for fewer than two seeds."""
    high: float | None
    n_seeds: int
    """Seeds with a number."""
    n_without: int
    """Seeds without one, because there is no effect to measure."""
    left_out: str
    """Trials that are there and were not counted, and why."""
    accepted: str
    reason: str
    """Why that range; of a claim that is not covered, what is missing."""
    outcome: Outcome


def check(root: Root, studies: Sequence[Study], where: str | None = None) -> list[Verdict]:
    """A verdict on each claim of each study, at every one of its sizes of which the tables hold trials.

    Studies of which they hold none are left out, unless they hold none of any: then each is judged at its last size,
    and says what to launch; those whose families are there at all, if some are.

    Raises:
        QueryError: if the SQL condition `where` is at fault.
    """
    families = {family for study in studies for family in study.families}
    ours = conditions(where, of_built_in(families))
    rows = as_built_in(root.sql(f"SELECT * FROM trials WHERE {ours} ORDER BY trial_id").to_pylist())
    about = {study.name: [row for row in rows if row["family"] in study.families] for study in studies}
    found = [
        (study, _evidence(root, own, size))
        for study in studies
        for size in study.sizes
        if (own := list(filter(size.holds, about[study.name])))
    ]
    nothing = [(study, Evidence(root, [], study.sizes[-1])) for study in studies if about[study.name] or not rows]
    return [judge(claim, one, study.name) for study, one in found or nothing for claim in study.claims]


def _evidence(root: Root, rows: Sequence[Row], size: Size) -> Evidence[Any]:
    done = [row for row in rows if row["status"] == TrialStatus.COMPLETED]
    return Evidence(root, done, size, [row for row in rows if row["status"] != TrialStatus.COMPLETED])


def judge(claim: Claim, evidence: Evidence[Any], study: str) -> Verdict:
    """One claim of a study on one size's evidence."""
    accept = claim.accepted.get(evidence.size.name)
    if accept is None:
        return _verdict(claim, evidence, None, study=study, reason=claim.beyond[evidence.size.name])
    covered = cover(claim, evidence)
    if covered.lacking:
        return _verdict(claim, evidence, accept, study=study, reason=covered.lacking)
    found = claim.statistic(covered.evidence)
    values = [value for value in found if not isinstance(value, Absent)]
    n_without = sum(value is Absent.NO_EFFECT for value in found)
    if not values and not n_without:
        return _verdict(claim, evidence, accept, study=study, reason=_missing(claim, evidence))
    measured = interval(values) if values else None
    low, high = (claim.within(measured.low), claim.within(measured.high)) if measured else (None, None)
    return _verdict(
        claim, evidence, accept, study=study, reason=accept.reason, ours=measured and measured.mean, low=low,
        high=high, n_seeds=len(values), n_without=n_without, left_out=_left_out(covered, claim, found),
        outcome=_with_those_without(outcome(accept, low, high), len(values), n_without),
    )  # fmt: skip


def _with_those_without(said: Outcome, n_seeds: int, n_without: int) -> Outcome:
    """What is said if some seeds have no effect to measure."""
    if not n_seeds:
        return Outcome.FAILS if n_without > 1 else Outcome.UNDECIDED
    return Outcome.UNDECIDED if n_without and said is Outcome.HOLDS else said


def outcome(accept: Accept, low: float | None, high: float | None) -> Outcome:
    """What an interval says of a claim with this range."""
    if low is None or high is None:
        return Outcome.UNDECIDED
    if accept.low <= low and high <= accept.high:
        return Outcome.HOLDS
    return Outcome.FAILS if high < accept.low or low > accept.high else Outcome.UNDECIDED


def _verdict(claim: Claim, evidence: Evidence[Any], accept: Accept | None, **values: Any) -> Verdict:
    nothing = {
        "ours": None, "low": None, "high": None, "n_seeds": 0, "n_without": 0, "left_out": "",
        "outcome": Outcome.NOT_COVERED,
    }  # fmt: skip
    return Verdict(
        claim=claim.name, size=evidence.size.name, finding=claim.finding, measure=claim.measure, paper=claim.paper,
        accepted=str(accept or ""), **{**nothing, **values},
    )  # fmt: skip


def _missing(claim: Claim, evidence: Evidence[Any]) -> str:
    """What to launch for a claim of which the trials are there and something beside them is not."""
    presets = " and ".join(f"{evidence.size.name}/{need.batch}" for need in claim.needs)
    return f"launch {presets} with {claim.also or 'what it measures'}"


def _left_out(covered: Coverage, claim: Claim, found: Sequence[Number]) -> str:
    missing = sum(value is Absent.MISSING for value in found)
    without = [f"{missing} of {covered.n_seeds} seeds lack {claim.also}"] if missing else []
    return "; ".join(filter(None, [covered.left_out, *without]))


def as_rows(verdicts: Sequence[Verdict]) -> pa.Table:
    """Everything about each verdict, for `--format json`."""
    import pyarrow as pa  # late: a verb prints its help without it

    columns = {name: [asdict(v)[name] for v in verdicts] for name in Verdict.__dataclass_fields__}
    columns["outcome"] = [str(outcome) for outcome in columns["outcome"]]
    return pa.table(columns)


def as_lines(verdicts: Sequence[Verdict]) -> pa.Table:
    """What a person reads: a line per verdict."""
    import pyarrow as pa  # late, as above

    return pa.table(
        {
            "study": [v.study for v in verdicts],
            "size": [v.size for v in verdicts],
            "claim": [v.claim for v in verdicts],
            "measure": [v.measure for v in verdicts],
            "paper": [v.paper for v in verdicts],
            "ours (95 % interval, seeds)": [_ours(v) for v in verdicts],
            "accepted": [v.accepted or "-" for v in verdicts],
            "verdict": [_said(v) for v in verdicts],
        }
    )


def summary(verdicts: Sequence[Verdict]) -> str:
    """One line for all of them."""
    counts = {outcome: sum(v.outcome is outcome for v in verdicts) for outcome in Outcome}
    return ", ".join(f"{n} {outcome}" for outcome, n in counts.items())


def _ours(verdict: Verdict) -> str:
    without = f"{verdict.n_without} without effect" if verdict.n_without else ""
    if verdict.ours is None:
        return without or "-"
    if verdict.low is None or verdict.high is None:
        return f"{short(verdict.ours)} ({'; '.join(filter(None, ['one seed', without]))})"
    seeds = "; ".join(filter(None, [str(verdict.n_seeds), without]))
    return f"{short(verdict.ours)} ({short(verdict.low)} to {short(verdict.high)}, {seeds})"


def _said(verdict: Verdict) -> str:
    if verdict.outcome is Outcome.NOT_COVERED:
        return f"not covered: {verdict.reason}"
    return f"{verdict.outcome}; left out: {verdict.left_out}" if verdict.left_out else str(verdict.outcome)

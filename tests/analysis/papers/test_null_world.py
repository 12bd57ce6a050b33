"""Where no knob does anything, hardly a claim of an effect holds; nor does one where nothing differs at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from monosweep.analysis.claims.claim import Need
from monosweep.analysis.claims.coverage import cover
from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.claims.verdict import Outcome, judge
from monosweep.analysis.papers.jermyn2022.batches import SMALL
from monosweep.analysis.papers.jermyn2022.claims import CLAIMS
from monosweep.analysis.papers.studies import STUDIES

from ..paper_tables import ideal_rows
from .null_world import RESULTS, STAYS, dealt, rates

EFFECTS = [claim for claim in CLAIMS if claim.effect]
DRAWS = 12


def test_of_one_papers_claims_of_effects_a_twentieth_holds_at_most(tmp_path: Path) -> None:
    found = rates(tmp_path, DRAWS, 1)
    assert set(found) == {("jermyn2022", claim.name) for claim in EFFECTS}
    assert np.mean(list(found.values())) <= 0.05, found


@pytest.mark.long
def test_of_all_claims_of_effects_a_twentieth_holds_at_most(tmp_path: Path) -> None:
    found = rates(tmp_path, 5)
    assert set(found) == {(study.name, claim.name) for study in STUDIES for claim in study.claims if claim.effect}
    assert np.mean(list(found.values())) <= 0.05, found


def test_the_table_that_is_kept_has_every_claim_and_keeps_to_that() -> None:
    cells = [line.split(" | ") for line in (RESULTS / "null-world.md").read_text().splitlines() if line[-2:] == " |"]
    *each, mean = [(study[2:], name, float(value[:-2])) for study, name, value in cells[2:]]
    assert [(s, n) for s, n, _ in each] == [(s.name, c.name) for s in STUDIES for c in s.claims if c.effect]
    assert mean[2] == pytest.approx(np.mean([value for _, _, value in each]), abs=1e-3) and mean[2] <= 0.05


def test_values_are_dealt_out_and_knobs_stay() -> None:
    rows = ideal_rows(SMALL, "LR1")
    mixed = dealt(rows, np.random.default_rng(0))
    assert [{n: row[n] for n in STAYS & set(row)} for row in mixed] == [{n: r[n] for n in STAYS & set(r)} for r in rows]
    for name in ("trial_id", "min_loss", "mono_per_feature"):
        before, after = ([row[name] for row in some] for some in (rows, mixed))
        assert before != after and sorted(before) == sorted(after)


@pytest.mark.parametrize("claim", EFFECTS, ids=lambda claim: claim.name)
def test_no_effect_holds_where_every_trial_finds_the_same(claim: Any, flat: list[dict[str, Any]]) -> None:
    """Without noise every interval is a point, and a range that has no effect in it would hold."""
    verdict = judge(claim, Evidence(None, flat, SMALL), "")  # type: ignore[arg-type]
    assert verdict.outcome in (Outcome.FAILS, Outcome.UNDECIDED)


@pytest.fixture(scope="module")
def flat() -> list[dict[str, Any]]:
    rows = ideal_rows(SMALL)
    first = {name: value for name, value in rows[0].items() if name not in STAYS and name != "trial_id"}
    return [row | first for row in rows]


@pytest.mark.parametrize("claim", [c for c in EFFECTS if "rank" in c.measure], ids=lambda claim: claim.name)
def test_one_flat_seed_keeps_an_order_from_holding(claim: Any, flat: list[dict[str, Any]]) -> None:
    rows = [same if row["seed"] == 0 else row for row, same in zip(ideal_rows(SMALL), flat, strict=True)]
    verdict = judge(claim, Evidence(None, rows, SMALL), "")  # type: ignore[arg-type]
    assert (verdict.outcome, verdict.n_seeds, verdict.n_without) == (Outcome.UNDECIDED, 2, 1)


def test_a_batch_that_is_needed_twice_gives_all_of_its_trials() -> None:
    """Half of the rates by one need, half by another."""
    batch = SMALL.batches["LR1"]
    (claim,) = [claim for claim in CLAIMS if claim.name == "LR1 more mono"]
    rates_there = sorted({row["lr"] for row in ideal_rows(SMALL, "LR1")})
    halves = [Need(batch="LR1", only={"lr": tuple(some)}) for some in (rates_there[:2], rates_there[2:])]
    evidence = Evidence(cast(Any, None), ideal_rows(SMALL, "LR1"), SMALL)
    once = cover(claim, evidence).evidence.batch("LR1")
    twice = cover(replace(claim, needs=tuple(halves)), evidence).evidence.batch("LR1")
    assert len(once) == len(twice) == len(batch.pick(ideal_rows(SMALL, "LR1")))
    assert {row["lr"] for row in twice} == set(rates_there)

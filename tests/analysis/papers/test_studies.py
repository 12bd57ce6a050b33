"""Several papers side by side: which are judged, by whose trials, and how they are named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from monosweep.analysis.claims.batch import Batch
from monosweep.analysis.claims.claim import Accept, Claim, whole
from monosweep.analysis.claims.study import Study
from monosweep.analysis.claims.verdict import Outcome, check
from monosweep.analysis.cli import claims
from monosweep.analysis.papers.jermyn2022.claims import JERMYN2022
from monosweep.analysis.papers.studies import STUDIES, StudyError, named
from monosweep.analysis.tables.root import open_root
from monosweep.sweep.spec.sweep_spec import expand, load_spec

from ..conftest import Made
from ..test_families import TOY as TOY_FAMILY
from ..test_families import make_toy


@dataclass(frozen=True, kw_only=True)
class One:
    """One size with one batch."""

    name: str
    batches: Mapping[str, Batch]

    def holds(self, row: Mapping[str, Any]) -> bool:
        return self.batches["a"].holds(row)


def study(name: str, family: str, **base: Any) -> Study:
    sizes = [One(name=f"{name}-size", batches={"a": Batch(name="a", base=base)})]
    claim = Claim(
        name="lr", finding="", needs=whole("a"), effect=False, measure="highest lr", paper="",
        statistic=lambda evidence: evidence.per_seed(lambda rows: max(row["lr"] for row in rows), "a"),
        accepted={sizes[0].name: Accept(low=0, reason="none is below")},
    )  # fmt: skip
    return Study(name=name, families=(family,), sizes=sizes, claims=[claim])


SMALL, TOY = study("small", "two_layer", n_neurons=128), study("toy", TOY_FAMILY, d_hidden=5)
ABSENT, ELSEWHERE = study("absent", TOY_FAMILY, d_hidden=3), study("elsewhere", "third", d_hidden=3)


def found(made: Made, *studies: Study) -> list[tuple[str, str, Outcome]]:
    return [(v.study, v.size, v.outcome) for v in check(open_root(str(made.path)), studies)]


@pytest.fixture
def two(quick: Made) -> Made:
    """Trials of two families."""
    make_toy(quick.path)
    return quick


def test_each_study_is_judged_by_trials_of_its_own(two: Made) -> None:
    expected = [("small", "small-size", Outcome.HOLDS), ("toy", "toy-size", Outcome.UNDECIDED)]
    assert found(two, SMALL, TOY) == expected  # the toy has one seed
    verdicts = check(open_root(str(two.path)), [SMALL, TOY])
    assert [round(v.ours, 3) for v in verdicts if v.ours is not None] == [0.03, 0.02]


def test_studies_of_which_there_is_no_trial_are_told_only_if_there_is_none_of_any(two: Made) -> None:
    assert found(two, SMALL, ABSENT, ELSEWHERE) == [("small", "small-size", Outcome.HOLDS)]
    assert found(two, ABSENT, ELSEWHERE) == [("absent", "absent-size", Outcome.NOT_COVERED)]
    assert found(two, ELSEWHERE) == [("elsewhere", "elsewhere-size", Outcome.NOT_COVERED)]
    (verdict,) = check(open_root(str(two.path)), [ELSEWHERE])
    assert verdict.reason == "launch elsewhere-size/a"


def test_the_verb_judges_the_studies_that_are_named(two: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert claims([str(two.path), "jermyn2022", "jermyn2022"]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2 + len(JERMYN2022.claims) and out.splitlines()[2].startswith("jermyn2022")
    with pytest.raises(StudyError, match=r"^unknown study 'jermyn'; did you mean 'jermyn2022'\?$"):
        claims([str(two.path), "jermyn"])
    assert named(()) == STUDIES


def test_studies_and_their_claims_are_told_apart_by_name() -> None:
    assert len({study.name for study in STUDIES}) == len(STUDIES)
    for one in STUDIES:
        assert len({claim.name for claim in one.claims}) == len(one.claims)
        assert len({size.name for size in one.sizes}) == len(one.sizes)
        for claim in one.claims:
            for size in one.sizes:
                needed = {need.batch for need in claim.needs if need.at(size.name)}
                carried = size.name in claim.accepted and needed <= set(size.batches)
                assert carried != (size.name in claim.beyond), (one.name, claim.name)


@pytest.mark.parametrize("size", [size for study in STUDIES for size in study.sizes], ids=lambda size: size.name)
def test_presets_sweep_what_claims_need(size: Any) -> None:
    """Every point of a batch's grid, and no other but the finer ones."""
    for name, batch in size.batches.items():
        trained = batch.pick([config.to_dict() for config in expand(load_spec(f"{size.name}/{name}"))])
        assert {batch.point(row) for row in trained} == batch.counted({}) and batch.points({}) <= batch.counted({})
        for part in getattr(batch, "parts", [batch]):
            assert not part.finer or set(part.finer) <= set(part.grid)


def test_points_that_claims_need_are_of_their_batches() -> None:
    for study in STUDIES:
        for claim, size in product(study.claims, study.sizes):
            for need in claim.needs:
                if size.name in claim.accepted and need.at(size.name):
                    batch = size.batches[need.batch]
                    assert batch.points(need.only) and batch.points(need.only) <= batch.points({}), claim.name

"""`make small-paper`: its verdict, and the numbers that it writes."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monosweep.analysis.claims.verdict import check, outcome
from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.figures.data import Selection, load
from monosweep.analysis.papers.jermyn2022 import small as small_paper
from monosweep.analysis.papers.jermyn2022.batches import SMALL
from monosweep.analysis.papers.jermyn2022.claims import CLAIMS, JERMYN2022
from monosweep.analysis.papers.jermyn2022.figure_numbers import plain
from monosweep.analysis.papers.jermyn2022.figures import NUMBERED, info_of
from monosweep.analysis.tables.root import open_root

from ...conftest import Made
from ...paper_tables import SPOILT, ideal_rows

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


def judged(made: Made, to: Path) -> int:
    return small_paper.main([str(made.path), "--to", str(to), "--experiments", str(to / "none.md")])


def test_true_tables_pass_and_their_numbers_are_written(
    small: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = judged(small, tmp_path)
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    assert "0 holds, 0 fails, 40 undecided, 1 not covered" in out  # of one seed
    claims = json.loads((tmp_path / "small-claims.json").read_text())
    assert claims["device"] == "a processor" and len(claims["claims"]) == 41
    assert "| LR1 same loss |" in (tmp_path / "small-claims.md").read_text()
    figures = json.loads((tmp_path / "small-figures.json").read_text())
    assert list(figures) == ["about", *NUMBERED]
    assert [name for name, one in figures.items() if "missing" in one] == []
    assert (tmp_path / "small-figures.json").stat().st_size < 300_000
    data = load(open_root(str(small.path)), Selection(), FAMILY)
    wide = info_of("fig17", data).series[-1]
    assert figures["fig17"]["series"][-1]["median_loss"] == pytest.approx(wide.medians["loss"], rel=1e-3)
    assert figures["fig26"]["diagonal"]["mean"] == pytest.approx(0.25, abs=1e-3)
    assert figures["fig24"]["mean output by monosemantic neurons"]["one"]["whole"][-1] == pytest.approx(1, abs=1e-3)


def test_a_failure_needs_an_experiment(made: Made, tmp_path: Path) -> None:
    spoilt = [SPOILT["RP1 one each"](row) for row in ideal_rows(SMALL, "RP1", seeds=2)]
    made.write("trials", "s", "p0", [{k: v for k, v in row.items() if k != "sweep"} for row in spoilt])
    one = replace(JERMYN2022, claims=[claim for claim in CLAIMS if claim.name == "RP1 one each"])
    verdicts = check(open_root(str(made.path)), [one])
    experiments = tmp_path / "experiments.md"
    assert small_paper.open_ends(verdicts, small_paper.explained(experiments)) == [
        "RP1 one each fails, and no experiment says why"
    ]
    experiments.write_text("# Experiments: RP1 one each\n\n## LR5 loss\n")
    assert len(small_paper.open_ends(verdicts, small_paper.explained(experiments))) == 1
    experiments.write_text("## LR5 loss\n\n## RP1 more, RP1 one each\n")
    assert small_paper.open_ends(verdicts, small_paper.explained(experiments)) == []


def test_what_is_missing_is_named(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{k: v for k, v in row.items() if k != "sweep"} for row in ideal_rows(SMALL, "G3", seeds=1)]
    made.write("trials", "s", "p0", rows)
    assert judged(made, tmp_path) == 1
    err = capsys.readouterr().err
    assert "small-paper: RP1 one each: launch small/RP1" in err and "second kink" not in err
    figures = json.loads((tmp_path / "small-figures.json").read_text())
    assert "series" in figures["fig13"] and figures["fig19"]["missing"].startswith("fig19 shows RP1")


@pytest.mark.parametrize(
    ("value", "number"),
    [(15872.0, 15872), (0.123456, 0.1235), (float("nan"), None), ((1, "a"), [1, "a"]), ({0.5: True}, {"0.5": True})],
)
def test_numbers_are_rounded_but_steps_are_not(value: Any, number: Any) -> None:
    assert plain(value) == number


def test_the_recorded_verdicts_are_those_of_todays_ranges() -> None:
    """Of the run that is kept: a range or a measure that changes must be judged again, or told as not rerun."""
    recorded = json.loads((RESULTS / "small-claims.json").read_text())["claims"]
    by_name = {claim.name: claim for claim in CLAIMS}
    assert [one["claim"] for one in recorded] == list(by_name)
    for one in recorded:
        claim, accept = by_name[one["claim"]], by_name[one["claim"]].accepted.get("small")
        assert (one["measure"], one["accepted"]) == (claim.measure, str(accept or ""))
        if accept and "not rerun" not in one["reason"]:
            assert (one["outcome"], one["reason"]) == (outcome(accept, one["low"], one["high"]), accept.reason)


def test_files_that_are_not_committed_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a", *words], check=True)

    folder = tmp_path / "analysis"
    folder.mkdir()
    (folder / "small.py").write_text("1")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-qm", "one")
    monkeypatch.setattr(small_paper, "__file__", str(folder / "small.py"))
    assert "with changes" not in small_paper._commit()
    (tmp_path / "README.md").write_text("elsewhere")
    assert "with changes" not in small_paper._commit()
    (folder / "new.py").write_text("2")
    assert small_paper._commit().endswith(" with changes")

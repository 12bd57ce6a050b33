"""Polysemantic neurons against the width: what is claimed, what is drawn, and that the presets train it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from monosweep.analysis.catalogue import draw
from monosweep.analysis.claims.verdict import Outcome
from monosweep.analysis.figures.data import Selection
from monosweep.analysis.figures.style import NOTES
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers import figures
from monosweep.analysis.papers.lecomte2023.batches import OVER_N, SIZES
from monosweep.analysis.papers.lecomte2023.claims import CLAIMS, LECOMTE2023
from monosweep.analysis.papers.lecomte2023.scaling import scaling
from monosweep.analysis.tables.root import open_root
from monosweep.sweep.spec.sweep_spec import expand, load_spec

from ..made_rows import Row, all_hold, rows_of, shuffled, verdicts, write_root

SMALL = SIZES[1]


def as_the_paper(config: Any, random: np.random.Generator) -> dict[str, Any]:
    n, m = config.n_features, config.n_neurons
    n_poly = round(n * n / 4 / m + random.choice([-1, 0, 1]) * (m == n))
    return {
        "loss": 0.001, "n_poly": n_poly, "n_mono": n - 2 * n_poly, "n_dead": m - n + n_poly, "n_represented": n,
        "fourth_norm": 1.0,
    }  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return rows_of("incidental/scaling", as_the_paper, seeds=6)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_the_preset_trains_the_batch(size: Any) -> None:
    trained = [config.to_dict() for config in expand(load_spec(f"{size.name}/scaling"))]
    noisy = [config.to_dict() for config in expand(load_spec("incidental/noise"))]
    assert all(map(SMALL.batches["noise"].holds, noisy)) and not any(map(size.batches["scaling"].holds, noisy))
    assert all(map(size.batches["scaling"].holds, trained)) and len(trained) == 80
    assert {row["n_neurons"] // row["n_features"] for row in trained} == set(OVER_N)
    assert not any(other.holds(row) for other in SIZES if other is not size for row in trained)


def test_claims_hold_where_they_are_true_and_not_where_the_width_does_nothing(rows: list[Row]) -> None:
    found = verdicts(LECOMTE2023, SMALL, rows)
    assert found.pop("bipolar noise") == (Outcome.NOT_COVERED, 0)
    assert found == all_hold([claim for claim in CLAIMS if claim.batches == ("scaling",)], 6)
    for seed in range(5):
        found = verdicts(LECOMTE2023, SMALL, shuffled(rows, ["n_poly"], seed))
        assert Outcome.HOLDS not in (found["n²/4m"][0], found["falls with width"][0])


@pytest.mark.parametrize(
    ("claim", "spoilt"),
    [
        ("n²/4m", lambda row: {"n_poly": 1.35 * row["n_poly"]}),
        ("n²/4m", lambda row: {"n_poly": 0.7 * row["n_poly"]}),
        ("falls with width", lambda row: {"n_poly": 16 * (row["n_neurons"] / 64) ** -0.5}),
        ("represented", lambda row: {"n_represented": 62}),
    ],
)
def test_a_claim_fails_where_it_is_not_true(claim: str, spoilt: Any, rows: list[Row]) -> None:
    assert verdicts(LECOMTE2023, SMALL, [row | spoilt(row) for row in rows])[claim][0] == Outcome.FAILS


def test_a_seed_that_lacks_a_width_is_not_counted(rows: list[Row]) -> None:
    part = [row for row in rows if (row["seed"], row["n_neurons"]) != (2, 512)]
    assert {n for outcome, n in verdicts(LECOMTE2023, SMALL, part).values() if outcome is Outcome.HOLDS} == {5}
    without = [row for row in rows if row["n_neurons"] != 128]
    assert {outcome for outcome, _ in verdicts(LECOMTE2023, SMALL, without).values()} == {Outcome.NOT_COVERED}


def by_noise(config: Any, random: np.random.Generator) -> dict[str, Any]:
    sparse = 0.7 if config.noise == "bipolar" else 0.2
    return {
        "loss": 0.1, "n_poly": 0, "n_mono": 8, "n_dead": 8, "n_represented": 8,
        "fourth_norm": sparse + 0.01 * random.normal(),
    }  # fmt: skip


def test_bipolar_noise_is_told_from_gaussian() -> None:
    rows = rows_of("incidental/noise", by_noise)
    assert verdicts(LECOMTE2023, SMALL, rows)["bipolar noise"] == (Outcome.HOLDS, 4)
    alike = [row | {"fourth_norm": 0.7} for row in rows]
    assert verdicts(LECOMTE2023, SMALL, alike)["bipolar noise"][0] is Outcome.FAILS
    half = [row for row in rows if row["noise"] == "bipolar" or row["noise_std"] < 0.2]
    assert verdicts(LECOMTE2023, SMALL, half)["bipolar noise"][0] is Outcome.NOT_COVERED
    weak = [row | {"fourth_norm": 0.55 * row["fourth_norm"]} if row["noise"] == "bipolar" else row for row in rows]
    assert verdicts(LECOMTE2023, SMALL, weak)["bipolar noise"][0] is not Outcome.HOLDS


def test_the_figure_shows_every_trial_the_means_and_the_line(rows: list[Row], tmp_path: Path) -> None:
    failed = {"status": "diverged", "n_poly": None, "loss": None}
    write_root(tmp_path / "root", [row | failed if row["seed"] == 5 else row for row in rows])
    root = open_root(str(tmp_path / "root"))
    info = figures.info_of("incidental", root, Selection())
    assert info.widths == [64, 128, 256, 512, 1024] and info.expected == [16, 8, 4, 2, 1]
    by_width = [[row["n_poly"] for row in rows if row["n_neurons"] == m and row["seed"] < 5] for m in info.widths]
    assert [sorted(counts) for counts in info.counts] == [sorted(counts) for counts in by_width]
    ax = scaling(info).axes[0]
    line, means = ax.get_lines()[0], ax.containers[0].lines[0]
    assert line.get_ydata().tolist() == [16, 8, 4, 2, 1]
    np.testing.assert_allclose(means.get_ydata(orig=False), np.mean(by_width, axis=1))
    assert len(ax.collections[0].get_offsets()) == 25 and (ax.get_xscale(), ax.get_yscale()) == ("log", "symlog")
    drawn = figures.paint("incidental", root, Selection())
    assert drawn.get_suptitle().startswith("incidental/scaling (lecomte2023)\n")
    assert notes(drawn) == "not drawn: 5 that diverged (n neurons 64: 1, 128: 1, 256: 1, 512: 1, 1024: 1)"
    assert [path.stem for path in draw(root, tmp_path, [], Selection(), lambda text: None)] == ["incidental"]


def notes(figure: Figure) -> str:
    return " ".join(" ".join(text.get_text().split()) for text in figure.texts if text.get_gid() == NOTES)


def test_what_a_batch_lacks_is_said_below_its_figure(rows: list[Row], tmp_path: Path) -> None:
    def told(name: str, given: list[Row], **selection: Any) -> str:
        write_root(tmp_path / name, given)
        return notes(figures.paint("incidental", open_root(str(tmp_path / name)), Selection(**selection)))

    assert told("whole", rows) == ""
    part = [row for row in rows if row["n_neurons"] not in (128, 1024)]
    lacking = "without a trial: 2 of the 5 settings that its preset sweeps (n neurons 128: 1, 1024: 1)"
    assert told("part", part) == lacking
    assert told("chosen", rows, where="n_neurons not in (128, 1024)") == "", "who chooses knows"
    lost = [row | {"status": "failed", "n_poly": None} if row["n_neurons"] == 128 else row for row in rows]
    assert told("lost", lost) == "not drawn: 6 that failed (n neurons 128: 6)"
    halves = [row | {"precision": "bf16"} if row["seed"] == 0 else row for row in rows]
    other = "not drawn: 5 of another precision than fp32 (n neurons 64: 1, 128: 1, 256: 1, 512: 1, 1024: 1)"
    assert told("halves", halves) == other


def test_what_is_not_there_is_said(rows: list[Row], tmp_path: Path) -> None:
    write_root(tmp_path / "root", rows)
    line = "^cc shows a batch of which no trial is here; launch resid_mlp/cc or resid_mlp/paper/cc$"
    with pytest.raises(FigureError, match=line):
        list(draw(open_root(str(tmp_path / "root")), tmp_path, ["cc"], Selection(), print))


def test_fewer_than_three_seeds_have_no_interval(rows: list[Row], tmp_path: Path) -> None:
    write_root(tmp_path / "root", [row for row in rows if row["seed"] < 2])
    info = figures.info_of("incidental", open_root(str(tmp_path / "root")), Selection())
    assert {mean.low for mean in info.means} == {None}

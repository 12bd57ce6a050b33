"""Figures: the numbers each shows, and the files that come out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from monosweep.analysis.catalogue import draw
from monosweep.analysis.cli import figures
from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.families.two_layer.bias import bias_info
from monosweep.analysis.families.two_layer.figures import FIGURES, mono_info, mono_means_info, training_info
from monosweep.analysis.families.two_layer.response_map import draw_response, response_info
from monosweep.analysis.families.two_layer.summary import summary_info
from monosweep.analysis.figures.data import Data, Selection, load
from monosweep.analysis.knobs import (
    OWN_KNOBS,
    FigureError,
    axis,
    grouped,
    ordered,
    said,
    shown,
    spread_over_decades,
    sweepable,
    swept,
)
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.root import Root, open_root
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.schema import config_in

from .conftest import MONO, RATES, Made, neurons_of, quick_trials, trial, weights_of

KNOBS = sweepable(OWN_KNOBS[FAMILY])


def opened(made: Made) -> Root:
    return open_root(str(made.path))


def two_layer(root: Root, selection: Selection) -> Data:
    return load(root, selection, FAMILY)


# -- which knobs


def test_swept_knobs_leave_the_seed_out() -> None:
    rows = quick_trials("p0")
    assert swept(rows, KNOBS) == ("lr", "bias_offset", "bias_decay")
    assert axis(rows, KNOBS, None) == "lr"
    assert [g.label for g in grouped(rows, KNOBS, "lr")] == [
        "bias offset −1, bias decay 0.12",
        "bias offset 0, bias decay 0",
    ]


def test_the_axis_may_be_chosen_and_must_be_a_knob() -> None:
    rows = quick_trials("p0")
    assert axis(rows, KNOBS, "bias_offset") == "bias_offset"
    # bias_decay goes with bias_offset here, so it makes no groups of its own
    assert [g.label for g in grouped(rows, KNOBS, "bias_offset")] == [f"lr {lr}" for lr in RATES]
    with pytest.raises(FigureError, match="unknown column for --by 'bias_ofset'; did you mean 'bias_offset'"):
        axis(rows, KNOBS, "bias_ofset")


def test_nothing_swept_falls_back_to_lr() -> None:
    rows = [trial(seed=s) for s in range(3)]
    assert axis(rows, KNOBS, None) == "lr"
    assert [(g.label, len(g.rows)) for g in grouped(rows, KNOBS, "lr")] == [("", 3)]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("lr", 0.03, "lr 0.03"),
        ("feature_prob", 1 / 64, "feature prob 1/64"),
        ("bias_offset", -1.0, "bias offset −1"),
    ],
)
def test_values_are_said_shortly(name: str, value: Any, text: str) -> None:
    assert said(name, value) == text
    assert shown("feature_prob", 0.3) == "0.3"


def test_values_are_ordered_whatever_they_are() -> None:
    assert ordered(["relu", 3, "gelu", -1.0]) == [-1.0, 3, "gelu", "relu"]


@pytest.mark.parametrize(
    ("values", "log"), [([0.001, 0.03], True), ([1, 2, 4], False), ([0, 100], False), (["relu"], False)]
)
def test_a_logarithmic_axis_where_it_suits(values: list[Any], log: bool) -> None:
    assert spread_over_decades(values) is log


# -- what they show


def test_traces_hold_every_seed_and_their_median(quick: Made) -> None:
    info = training_info(two_layer(opened(quick), Selection()))
    assert info.by == "lr"
    assert [list(p.median) for p in info.panels] == [list(RATES), list(RATES)]
    zero = info.panels[1]
    assert all(len(seeds) == 2 for seeds in zero.seeds.values())
    one, two = zero.seeds[0.03]
    np.testing.assert_allclose(zero.median[0.03].curves["loss"], (one.curves["loss"] + two.curves["loss"]) / 2)
    assert one.steps.tolist() == [2**i for i in range(13)] + [5000]
    rows = {r["trial_id"]: r for r in quick_trials("p0")}
    finals = {r["mono_per_feature"] for r in rows.values() if r["lr"] == 0.03 and not r["bias_offset"]}
    assert {trace.curves["mono_per_feature"][-1] for trace in (one, two)} == finals


def test_a_median_is_no_mean(made: Made) -> None:
    skewed = {0.003: (1.0, 2.0, 9.0), 0.03: (3.0, 4.0, 50.0)}
    rows = [
        trial(lr=lr, seed=seed, metrics={"loss": loss, "mono_per_feature": loss / 10})
        for lr, losses in skewed.items() for seed, loss in enumerate(losses)
    ]  # fmt: skip
    made.commit("skewed", "p0", rows)
    data = two_layer(opened(made), Selection(by="lr"))
    (series,) = mono_info(data).series
    assert series.medians["loss"].tolist() == [2, 4] and series.medians["mono_per_feature"].tolist() == [0.2, 0.4]
    (panel,) = training_info(data).panels
    assert {lr: trace.curves["loss"][-1] for lr, trace in panel.median.items()} == {0.003: 2, 0.03: 4}


def test_bias_is_sorted_and_tells_three_kinds_apart(quick: Made) -> None:
    row = quick_trials("p0")[0]
    (panel,) = bias_info(two_layer(opened(quick), Selection(trial=row["trial_id"]))).panels
    assert (np.diff(panel.bias) >= 0).all() and len(panel.bias) == 128
    assert panel.mono.sum() == row["n_mono"]
    assert panel.dead.sum() == 128 - row["n_mono"] - row["n_positive_bias"]
    assert (panel.bias[panel.mono] < 0).all()


def test_bias_shows_the_last_of_several_recorded_steps(made: Made) -> None:
    row = trial("p0")
    made.commit("s", "p0", [row])
    late = list(neurons_of(row))
    made.write("neurons", "s", "p0", [{**n, "step": 1, "bias": 9.0} for n in late] + late)
    (panel,) = bias_info(two_layer(opened(made), Selection())).panels
    assert len(panel.bias) == 128 and panel.bias.max() < 9


def test_each_group_is_shown_by_its_most_monosemantic_trial(quick: Made) -> None:
    titles = [p.title for p in bias_info(two_layer(opened(quick), Selection())).panels]
    groups = [[t for t in quick_trials("p0") if t["bias_offset"] == b] for b in sorted(MONO)]
    tops = [max(t["mono_per_feature"] for t in rows) for rows in groups]
    chosen = [t.rsplit(", ", 2) for t in titles]
    for (_, lr, seed), rows, top in zip(chosen, groups, tops, strict=True):
        (match,) = [t for t in rows if f"lr {t['lr']:g}" == lr and f"seed {t['seed']}" == seed]
        assert match["mono_per_feature"] == top


def test_response_maps_count_as_the_tables_do(quick: Made) -> None:
    row = quick_trials("p0")[3]
    (one,) = response_info(two_layer(opened(quick), Selection(trial=row["trial_id"]))).maps
    assert one.shown.response.shape == (128, 64)
    assert abs(one.shown.n_mono - row["n_mono"]) <= 2


def test_mono_against_a_knob(quick: Made) -> None:
    info = mono_info(two_layer(opened(quick), Selection()))
    assert (info.by, info.scale, len(info.series)) == ("lr", "log", 2)
    zero = info.series[1]
    assert zero.values == list(RATES) and len(zero.x) == 8
    np.testing.assert_allclose(zero.medians["mono_per_feature"], MONO[0.0], atol=0.03)
    np.testing.assert_allclose(zero.medians["mono_per_neuron"], zero.medians["mono_per_feature"] / 2)


def test_means_over_seeds_have_students_interval(made: Made) -> None:
    mono = [0.1, 0.2, 0.3]
    rows = [trial(bias_decay=0.1, seed=seed, metrics={"mono_per_feature": m}) for seed, m in enumerate(mono)]
    made.commit("s", "p0", [*rows, trial(bias_decay=0.2, metrics={"mono_per_feature": 0.4, "loss": 0.5})])
    info = mono_means_info(two_layer(opened(made), Selection(by="bias_decay")))
    (series,) = info.series
    assert (info.by, series.label, series.values) == ("bias_decay", "", [0.1, 0.2])
    several, one = series.means["mono_per_feature"]
    # t of .975 for two degrees of freedom, times the standard error
    assert (several.low, several.mean, several.high) == pytest.approx((0.2 - 0.24841, 0.2, 0.2 + 0.24841), abs=1e-5)
    assert (one.mean, one.low, one.high) == (0.4, None, None)
    assert series.means["loss"][1].mean == 0.5


def claim(made: Made, **selection: str) -> str | None:
    return summary_info(two_layer(opened(made), Selection(**selection))).claim


def spoilt(made: Made, rates: Sequence[float]) -> None:
    """Let seeds with a much higher loss outvote the others at these rates."""
    knobs = [(lr, seed) for lr in rates for seed in range(2, 9)]
    rows = [trial("p9", lr=lr, bias_offset=-1.0, bias_decay=0.12, seed=seed) for lr, seed in knobs]
    made.commit("more", "p9", [{**row, "loss": 0.4} for row in rows])


def test_the_headline_is_claimed_where_it_is_true(quick: Made) -> None:
    assert claim(quick) == (
        "A negative initial bias gives more monosemantic neurons\nat every learning rate, at no cost in loss"
    )
    assert claim(quick, where="bias_offset = 0") is None
    spoilt(quick, [0.03])
    assert "at any learning rate up to 0.02, at no cost in loss" in str(claim(quick))


def test_the_headline_is_not_claimed_where_it_is_false(quick: Made) -> None:
    spoilt(quick, [0.003])
    assert claim(quick) is None


def test_the_summary_compares_networks_where_they_differ_most(quick: Made) -> None:
    maps = summary_info(two_layer(opened(quick), Selection())).maps
    assert [m.title.rsplit(", ", 1)[0] for m in maps] == [
        "bias offset −1, bias decay 0.12, lr 0.003",
        "bias offset 0, bias decay 0, lr 0.003",
    ]


def test_diverged_failed_and_superseded_trials_are_not_drawn(troubled: Made) -> None:
    rows = two_layer(opened(troubled), Selection()).rows
    assert len(rows) == 18
    assert {row["status"] for row in rows} == {"completed"}
    some = Selection(where="lr < 0.004 or lr > 0.02")
    assert len(two_layer(opened(troubled), some).rows) == 8


# -- what comes out


def test_all_figures_are_drawn_and_named(quick: Made, capsys: pytest.CaptureFixture[str]) -> None:
    assert figures([str(quick.path)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [str(quick.path / "figures" / f"{name}.png") for name in FIGURES]
    assert err == "monosweep: a value with fewer than three trials has them as hollow points, and no interval\n"
    for name in FIGURES:
        image = matplotlib.image.imread(quick.path / "figures" / f"{name}.png")
        assert min(image.shape[:2]) > 500
        assert image[..., :3].std() > 0.05
        assert (quick.path / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert len(list((quick.path / "figures").iterdir())) == 2 * len(FIGURES)


def test_without_weights_the_response_map_is_left_out_with_a_note(
    troubled: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [str(troubled.path), "--where", "sweep = 'older'", "--to", str(tmp_path / "here")]
    assert figures(argv) == 0
    out, err = capsys.readouterr()
    assert [Path(line).stem for line in out.splitlines()] == ["summary", "mono", "means"]
    assert "monosweep: no response figure: no weights saved for trial" in err
    assert "monosweep: no traces figure: traces needs curves" in err
    with pytest.raises(QueryError, match=r"no weights saved .* `monosweep weights "):
        figures([*argv, "response"])


@pytest.mark.parametrize("by", ["seed", "nothing"])
def test_by_must_be_a_knob(quick: Made, by: str) -> None:
    with pytest.raises(FigureError, match=f"unknown column for --by '{by}'"):
        figures([str(quick.path), "mono", "--by", by])


def test_an_unknown_figure(quick: Made) -> None:
    with pytest.raises(FigureError, match="unknown figure 'trace'; did you mean 'traces'"):
        figures([str(quick.path), "trace"])


def test_nothing_to_draw(made: Made) -> None:
    with pytest.raises(FigureError, match=r"no completed trial in .*; `monosweep status"):
        figures([str(made.path)])
    made.write("trials", "s", "p0", [trial("p0", TrialStatus.FAILED, error="worker died")])
    with pytest.raises(FigureError, match=r"has no figures: it failed \(worker died\)"):
        figures([str(made.path), "--trial", trial()["trial_id"]])


def test_a_bad_condition(quick: Made) -> None:
    with pytest.raises(QueryError, match='"lrr" not found'):
        figures([str(quick.path), "--where", "lrr = 3"])


def test_words_on_the_axis_and_many_groups(made: Made, tmp_path: Path) -> None:
    """A sweep over activations and ten offsets: categories, a cap on panels, and a note that says so."""
    knobs = [(a, -b / 4) for a in ("relu", "gelu", "solu") for b in range(10)]
    rows = [trial("p0", activation=a, bias_offset=offset, lr=0.01) for a, offset in knobs]
    made.commit("s", "p0", rows)
    notes: list[str] = []
    drawn = list(draw(opened(made), tmp_path, ["mono", "traces"], Selection(by="activation"), notes.append))
    assert [p.name for p in drawn] == ["mono.png", "traces.png"]
    assert notes == []


@pytest.mark.parametrize("activation", ["relu", "gelu", "solu"])
def test_one_response_map_to_a_path(tmp_path: Path, activation: str) -> None:
    row = trial(activation=activation)
    draw_response(weights_of(row), config_in(row), str(tmp_path / "new" / "map.pdf"))
    assert (tmp_path / "new" / "map.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(FigureError, match=r"must end in \.png, \.pdf or \.svg; got .*map\.jpeg2"):
        draw_response(weights_of(row), config_in(row), tmp_path / "map.jpeg2")


def test_a_folder_that_cannot_be_written(quick: Made, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FigureError, match=r"cannot write .*mono\.png: .*; choose another folder"):
        figures([str(quick.path), "mono", "--to", str(tmp_path / "file")])


def test_drawing_touches_no_global_state() -> None:
    code = "import monosweep.analysis.catalogue, sys; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"matplotlib.pyplot", "torch", "ray"} & set(ran.stdout.split())

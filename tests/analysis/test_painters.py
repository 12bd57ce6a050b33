"""What painters draw: where the artists are, how far error bars go, which colour a label stands for, what axes say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from monosweep.analysis.cli import figures
from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.families.two_layer.bias import BiasInfo, BiasPanel, bias
from monosweep.analysis.families.two_layer.capacity import CapacityInfo, Trial, capacity
from monosweep.analysis.families.two_layer.figures import mono_info, mono_means_info
from monosweep.analysis.families.two_layer.metrics import MONO, POLY
from monosweep.analysis.figures.data import Data, Metric, Selection, load
from monosweep.analysis.figures.means import MeanSeries, MeansInfo, means
from monosweep.analysis.figures.points import PointsInfo, Series, points
from monosweep.analysis.figures.save import save
from monosweep.analysis.figures.style import COLOURS, NOTES, footed
from monosweep.analysis.figures.traces import Curve, Panel, Trace, TracesInfo, traces
from monosweep.analysis.knobs import FigureError, grouped, scale_of, shown
from monosweep.analysis.stats.intervals import Interval
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.root import open_root
from monosweep.model.records import TrialStatus

from .conftest import Made, trial

Y = Metric(name="y", label="the metric")


def dots(ax: Axes) -> list[tuple[list[float], list[float], Any]]:
    """x, y and colour of each scatter."""
    found = [artist for artist in ax.collections if isinstance(artist, PathCollection)]
    return [
        (*np.ma.getdata(one.get_offsets()).T.tolist(), to_rgb((*one.get_facecolor(), *one.get_edgecolor())[0]))
        for one in found
        if len(one.get_offsets())
    ]


def lines(ax: Axes) -> list[tuple[list[float], list[float], Any]]:
    """x, y and colour of each line that joins."""
    joined = [line for line in ax.get_lines() if line.get_linestyle() not in ("None", "none")]
    return [(*np.array(line.get_data()).tolist(), to_rgb(line.get_color())) for line in joined]


def labels(figure: Figure) -> dict[str, Any]:
    """The colour of each label in the figure's legends."""
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    colour = lambda h: h.get_facecolor()[0] if isinstance(h, PathCollection) else h.get_color()  # noqa: E731
    return {
        text.get_text(): to_rgb(colour(handle[0] if isinstance(handle, tuple) else handle))
        for legend in legends
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
    }


def ticks(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.get_xticklabels()]


def notes(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.texts if text.get_gid() == NOTES)


# -- points


def series(label: str, values: list[Any], y: list[float], facet: str = "", joined: bool = True) -> Series:
    twice = [value for value in values for _ in (0, 1)]
    each = np.array([number + apart for number in y for apart in (-0.1, 0.1)])
    return Series(
        label=label, facet=facet, joined=joined, x=twice, points={"y": each}, values=values,
        medians={"y": np.array(y)},
    )  # fmt: skip


def pointed(*made: Series) -> PointsInfo:
    return PointsInfo("lr", "learning rate", scale_of([v for one in made for v in one.values]), list(made))


def test_points_lie_where_the_trials_are_and_lines_go_through_medians() -> None:
    figure = points(pointed(series("a", [0.001, 0.1], [1, 3]), series("b", [0.001, 0.1], [2, 5])), [Y], "the title")
    (ax,) = figure.axes
    a, b = (to_rgb(colour) for colour in COLOURS[:2])
    assert lines(ax) == [([0.001, 0.1], [1, 3], a), ([0.001, 0.1], [2, 5], b)]
    x = [0.001, 0.001, 0.1, 0.1]
    assert dots(ax) == [(x, pytest.approx([0.9, 1.1, 2.9, 3.1]), a), (x, pytest.approx([1.9, 2.1, 4.9, 5.1]), b)]
    assert labels(figure) == {"a": a, "b": b}
    assert (ax.get_xscale(), ticks(ax), ax.get_xlabel(), ax.get_ylabel()) == (
        "log", ["0.001", "0.1"], "learning rate", "the metric",
    )  # fmt: skip
    assert ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > 5.1
    assert figure.get_suptitle() == "the title"


def test_categories_are_not_joined() -> None:
    (ax,) = points(pointed(series("", ["adam", "sgd"], [1, 3], joined=False)), [Y], "").axes
    assert lines(ax) == [] and dots(ax)[0][0] == [0, 0, 1, 1] and ticks(ax) == ["adam", "sgd"]
    (medians,) = ax.get_lines()
    assert np.array(medians.get_data()).tolist() == [[0, 1], [1, 3]]


def test_facets_are_rows_with_their_own_series() -> None:
    made = [series("b", [1, 2], [1, 2], "relu"), series("c", [1, 2], [7, 8], "solu"), series("d", [1], [3], "solu")]
    figure = points(pointed(*made), [Y, Y], "")
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["relu", "", "solu", ""]
    assert [lines(ax)[0][1] for ax in figure.axes] == [[1, 2], [1, 2], [7, 8], [7, 8]]
    first, second = (to_rgb(colour) for colour in COLOURS[:2])
    assert labels(figure) == {"b": first, "c": first, "d": second}
    assert lines(figure.axes[2])[1] == ([1], [3], second)


def test_facets_of_means_are_rows_with_their_own_series() -> None:
    def mean(label: str, facet: str, y: float) -> MeanSeries:
        means = {"y": [Interval(y, y - 1, y + 1)] * 2}
        return MeanSeries(label=label, facet=facet, values=[1, 2], means=means, few={"y": []})

    figure = means(meant(mean("b", "relu", 1), mean("c", "solu", 7), mean("d", "solu", 3)), [Y])
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["relu", "solu"]
    first, second = (to_rgb(colour) for colour in COLOURS[:2])
    assert [(y, colour) for _, y, colour in lines(figure.axes[0])] == [([1, 1], first)]
    assert [(y, colour) for _, y, colour in lines(figure.axes[1])] == [([7, 7], first), ([3, 3], second)]
    assert labels(figure) == {"b": first, "c": first, "d": second}


def test_an_axis_never_cuts_data() -> None:
    (ax,) = points(pointed(series("", [1, 2], [-4, 3])), [Y], "").axes
    low, high = ax.get_ylim()
    assert low < -4.1 and high > 3.1
    (ax,) = points(pointed(series("", [1, 2], [float("nan"), 3])), [Y], "").axes
    assert ax.get_ylim()[0] == 0 < 3.1 < ax.get_ylim()[1]


@pytest.mark.parametrize(
    ("values", "scale", "named"),
    [
        ([0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5], "log",
         ["0.001", "0.003", "0.01", "0.03", "0.1", "0.3"]),
        ([2**n for n in range(13)], "log", ["1", "4", "16", "64", "256", "1024", "4096"]),
        ([0.0, 1e-5, 1e-4, 1e-3], "symlog", ["0", "1e−05", "0.0001", "0.001"]),
        ([1, 2, 3], "linear", ["1", "2", "3"]),
        ([2**20, 2**24], "log", ["1,048,576", "16,777,216"]),
    ],
)  # fmt: skip
def test_ticks_say_values(values: list[float], scale: str, named: list[str]) -> None:
    info = pointed(series("", values, [1.0] * len(values)))
    (ax,) = points(info, [Y], "").axes
    assert ax.get_xscale() == scale
    low, high = ax.get_xlim()
    assert low <= min(values) and high >= max(values)
    if scale != "log" or len(values) < 9:
        assert ticks(ax) == named
    else:
        assert {"0.001", "0.01", "0.1"} <= set(ticks(ax)) or {"1", "4"} <= set(ticks(ax))
        places = np.log([float(text.replace(",", "")) for text in ticks(ax)])
        assert 4 <= len(places) <= 9 and np.diff(places).min() > (places.max() - places.min()) / 12


def test_ticks_of_many_long_values_are_left_to_the_axis() -> None:
    values = [0.0010073 * 1.37**n for n in range(12)]
    (ax,) = points(pointed(series("", values, [1.0] * 12)), [Y], "").axes
    assert not any("0.00" in text for text in ticks(ax))


def test_zero_does_not_lie_upon_the_least() -> None:
    (ax,) = points(pointed(series("", [0.0, 1e-5, 1e-2], [1, 2, 3])), [Y], "").axes
    ax.figure.draw_without_rendering()
    zero, least, most = (float(ax.transData.transform((x, 1))[0]) for x in (0, 1e-5, 1e-2))
    assert least - zero > 0.05 * (most - zero)


def test_more_series_than_colours_are_grey_and_counted() -> None:
    figure = points(pointed(*[series(f"s{i}", [1, 2], [i, i]) for i in range(9)]), [Y], "")
    assert list(labels(figure)) == [*(f"s{i}" for i in range(6)), "3 other combinations"]
    assert len({colour for _, _, colour in lines(figure.axes[0])}) == 7


# -- means


def meant(*made: MeanSeries) -> MeansInfo:
    return MeansInfo("lr", "learning rate", list(made))


def test_error_bars_are_the_intervals() -> None:
    found = [Interval(2.0, 1.5, 2.75), Interval(4.0, 3.0, 4.5), Interval(7.0, None, None)]
    few = {"y": [(10, 6.5), (10, 7.5)]}
    figure = means(meant(MeanSeries(label="a", values=[0.1, 1, 10], means={"y": found}, few=few)), [Y])
    (ax,) = figure.axes
    (bars,) = [one for one in ax.collections if isinstance(one, LineCollection)]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments() if len(segment) and np.isfinite(segment).all()]
    assert ends == [[1.5, 2.75], [3.0, 4.5]]
    assert [segment[0, 0] for segment in bars.get_segments()[:2]] == [0, 1]
    colour = to_rgb(COLOURS[0])
    assert lines(ax) == [([0, 1, 2], [2, 4, 7], colour)]
    assert dots(ax) == [([2, 2], [6.5, 7.5], colour)]
    assert ticks(ax) == ["0.1", "1", "10"] and labels(figure) == {"a": colour}
    assert figure.get_suptitle() == "Means over seeds and 95 % intervals, by learning rate"


def test_means_of_categories_are_not_joined_and_series_stand_side_by_side() -> None:
    one = [Interval(1.0, 0.5, 1.5)] * 2
    made = [
        MeanSeries(label=name, joined=False, values=["relu", "solu"], means={"y": one}, few={"y": []}) for name in "ab"
    ]
    (ax,) = means(meant(*made), [Y]).axes
    assert lines(ax) == []
    marks = [line.get_xdata() for line in ax.get_lines() if line.get_marker() in ("o", "s")]
    assert np.ptp([marks[0], marks[1]], axis=0) == pytest.approx([0.07, 0.07])
    assert np.mean(marks, axis=0) == pytest.approx([0, 1])


# -- traces, networks


def test_traces_are_medians_and_thin_seeds_of_their_colour() -> None:
    steps = np.array([1.0, 2.0, 4.0])
    one, two = (Trace(steps, {"loss": np.array(y)}) for y in ([3.0, 2.0, 1.0], [5.0, 4.0, 3.0]))
    middle = Trace(steps, {"loss": np.array([4.0, 3.0, 2.0])})
    made = [Panel(f"p{i}", {0.1: middle, 0.2: one}, {0.1: [one, two], 0.2: [one, one]}) for i in range(8)]
    figure = traces(TracesInfo("lr", "learning rate", (Curve(name="loss", column="loss", label="task loss"),), made))
    assert [ax.get_title() for ax in figure.axes] == [f"p{i}" for i in range(8)]
    for ax in figure.axes:
        low, high = lines(ax)
        assert (low[:2], high[:2]) == (([1, 2, 4], [4, 3, 2]), ([1, 2, 4], [3, 2, 1]))
        thin, others = ax.collections
        assert [s[:, 1].tolist() for s in thin.get_segments()] == [[3, 2, 1], [5, 4, 3]]
        assert [s[:, 1].tolist() for s in others.get_segments()] == [[3, 2, 1], [3, 2, 1]]
        assert to_rgb(thin.get_color()[0]) == low[2] != high[2] == to_rgb(others.get_color()[0])
        assert labels(figure) == {"lr 0.2": high[2], "lr 0.1": low[2]}
        assert ax.get_xscale() == "log" and ax.get_ylim() == figure.axes[0].get_ylim()
        assert ax.get_ylim()[0] <= 1 and ax.get_ylim()[1] >= 5
    assert [ax.get_ylabel() for ax in figure.axes] == ["task loss", *[""] * 5, "task loss", ""]


def test_biases_are_ranked_and_coloured_by_kind() -> None:
    mono, dead = np.array([True, False, False, False]), np.array([False, False, True, False])
    figure = bias(BiasInfo([BiasPanel("one", np.array([-2.0, -1.0, 0.5, 3.0]), mono, dead)]))
    (ax,) = figure.axes
    grey, poly, blue = to_rgb("#999999"), to_rgb(POLY), to_rgb(MONO)
    assert dots(ax) == [([3], [0.5], grey), ([2, 4], [-1, 3], poly), ([1], [-2], blue)]
    assert labels(figure) == {"answers nothing (1)": grey, "polysemantic (2)": poly, "monosemantic (1)": blue}
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("neuron, by bias", "bias", "one")


def test_capacity_shows_trials_and_the_shares_of_features() -> None:
    one = Trial(
        mono_per_feature=0.25, before=0.4, after=0.7, with_neuron=np.array([1.0]), without=np.array([0.5, 0.2, 0.8])
    )
    figure = capacity(CapacityInfo({"a": [one]}, [0.5]))
    trials, features = figure.axes
    colour = to_rgb(COLOURS[0])
    assert dots(trials) == [([0.25], [0.7], colour), ([0.25], [0.4], colour)]
    assert trials.get_lines()[0].get_ydata() == [0.5, 0.5]
    with_neuron, without = lines(features)
    assert with_neuron == ([1.0, 1.0], [0, 1], to_rgb(MONO))
    assert without == ([0.2, 0.2, 0.5, 0.8], pytest.approx([0, 1 / 3, 2 / 3, 1]), to_rgb(POLY))
    assert trials.get_ylim()[0] < 0 and trials.get_ylim()[1] > 1


# -- which trials


def drawn(made: Made, **selection: Any) -> Data:
    return load(open_root(str(made.path)), Selection(**selection), FAMILY)


def test_arms_are_facetted_and_none_is_dropped(made: Made) -> None:
    knobs = [(a, b, lr) for a in ("relu", "gelu", "solu") for b in (0.0, -1.0, -2.0) for lr in (0.01, 0.03)]
    made.commit("s", "p0", [trial(activation=a, bias_offset=b, lr=lr) for a, b, lr in knobs])
    data = drawn(made, by="lr")
    facets = mono_info(data).facets
    assert {name: [s.label for s in found] for name, found in facets.items()} == {
        f"activation {a}": ["bias offset −2", "bias offset −1", "bias offset 0"] for a in ("gelu", "relu", "solu")
    }
    assert [list(found) for found in mono_means_info(data).facets.items()] == [
        [name, mono_means_info(data).facets[name]] for name in facets
    ]
    assert not any("not drawn" in note for note in data.notes)


def test_one_knob_of_many_values_is_cut_into_panels(made: Made) -> None:
    made.commit("s", "p0", [trial(bias_offset=-b, lr=lr) for b in range(10) for lr in (0.01, 0.03)])
    data = drawn(made, by="lr")
    assert [len(found) for found in (data.arms(),)] == [10]
    assert len(mono_info(data).series) == 10


def test_what_is_too_much_is_said_in_the_figure(made: Made, tmp_path: Path) -> None:
    knobs = [(b, e, lr) for b in range(8) for e in range(30) for lr in (0.01, 0.03)]
    rows = [trial(bias_offset=-b, bias_decay=e / 100, lr=lr, n_steps=8) for b, e, lr in knobs]
    made.write("trials", "s", "p0", rows)
    data = drawn(made, by="lr")
    assert len({arm.facet for arm in data.arms()}) <= 12
    (note,) = set(data.notes)
    assert note.startswith("not drawn: ") and "of 240 combinations of bias offset, bias decay; choose" in note


def test_a_random_search_is_no_zigzag(made: Made) -> None:
    draw = np.random.default_rng(0)
    rows = [
        trial(lr=float(lr), bias_offset=float(b), l1=float(l1))
        for lr, b, l1 in zip(draw.uniform(0.001, 0.1, 30), draw.uniform(-2, 0, 30), draw.uniform(0, 1, 30), strict=True)
    ]
    made.commit("s", "p0", rows)
    (cloud,) = mono_info(drawn(made, by="lr")).series
    assert (cloud.joined, len(cloud.x)) == (False, 30)
    assert cloud.label == "30 trials that differ in bias offset, l1 too"
    made.commit("s", "p1", [{**row} for row in (trial(lr=lr, bias_offset=-1.0) for lr in (0.2, 0.3))])
    line, cloud = mono_info(drawn(made, by="lr")).series
    assert (line.joined, line.values, cloud.joined, len(cloud.x)) == (True, [0.2, 0.3], False, 30)


def test_a_knob_that_rises_with_the_axis_goes_with_it_and_that_is_said() -> None:
    rows = [trial(n_neurons=k, batch_size=2 * k) for k in (64, 128, 256, 512)]
    knobs = ("n_neurons", "batch_size", "lr")
    assert len(grouped(rows, knobs, "n_neurons")) == 1
    data = Data(None, rows, "n_neurons", None, knobs)  # type: ignore[arg-type]
    assert data.axis_label == "number of neurons k\n(batch size with it)"
    assert len(grouped([*rows[:3], trial(n_neurons=512, batch_size=1)], knobs, "n_neurons")) == 4
    assert len(grouped(rows[:2], knobs, "n_neurons")) == 2


def test_trials_that_ended_otherwise_are_said(made: Made, tmp_path: Path) -> None:
    rows = [trial(lr=lr, seed=s) for lr in (0.01, 0.02) for s in range(2)]
    rows += [trial(status=TrialStatus.DIVERGED, lr=0.3, seed=s) for s in range(3)]
    rows += [trial(status=TrialStatus.FAILED, lr=0.01, seed=9, error="worker died")]
    made.commit("s", "p0", rows)
    data = drawn(made)
    assert data.notes == ["not drawn: 3 that diverged (lr 0.3: 3)", "not drawn: 1 that failed (lr 0.01: 1)"]
    figure = footed(Figure(figsize=(4, 4)), data.notes)
    assert notes(figure).splitlines() == data.notes


def test_a_figure_says_below_itself_what_it_leaves_out(made: Made, tmp_path: Path) -> None:
    rows = [trial(lr=lr) for lr in (0.01, 0.02)]
    made.commit("s", "p0", [*rows, trial(status=TrialStatus.DIVERGED, lr=0.3)])
    (figure,) = _painted(made, tmp_path)
    assert notes(figure).startswith("not drawn: 1 that diverged (lr 0.3: 1)")
    plain = footed(Figure(figsize=(4, 4)), [])
    noted = footed(Figure(figsize=(4, 4)), ["not drawn: 3"])
    for name, figure in (("plain", plain), ("noted", noted)):
        figure.subplots().plot([1, 2])
        save(figure, tmp_path / f"{name}.png")
    assert imread(tmp_path / "noted.png").shape[0] > imread(tmp_path / "plain.png").shape[0]


def test_trials_without_a_metric_are_said_and_part_in_no_median(made: Made) -> None:
    rows = [trial(lr=0.01, seed=s) for s in range(3)]
    made.commit("s", "p0", [{**rows[0], "loss": None}, *rows[1:]])
    data = drawn(made)
    info = mono_means_info(data)
    assert info.series[0].means["loss"][0].mean == pytest.approx(np.mean([row["loss"] for row in rows[1:]]))
    assert "1 of 3 trials have no loss" in data.notes


def test_fewer_than_three_trials_have_no_interval(made: Made) -> None:
    made.commit("s", "p0", [trial(bias_decay=d, seed=s) for d, n in ((0.1, 2), (0.2, 3)) for s in range(n)])
    data = drawn(made, by="bias_decay")
    (found,) = mono_means_info(data).series
    two, three = found.means["loss"]
    assert (two.low, two.high) == (None, None) and three.low is not None
    assert [value for value, _ in found.few["loss"]] == [0.1, 0.1]
    assert any("hollow points" in note for note in data.notes)


def test_more_trials_than_figures_hold_are_drawn_from_and_that_is_said(
    quick: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monosweep.analysis.figures.data.MOST_TRIALS", 10)
    data = drawn(quick)
    assert len(data.rows) == 10 and data.notes == ["10 of 16 completed trials are drawn, at random"]


def test_the_axis_may_be_an_expression_of_knobs(made: Made) -> None:
    knobs = [(n, k) for n in (32, 64) for k in (64, 128, 256)]
    made.commit("s", "p0", [trial(n_features=n, n_neurons=k) for n, k in knobs])
    info = mono_info(drawn(made, by="n_neurons / n_features"))
    assert {s.label: s.values for s in info.series} == {
        "n features 32": [2, 4, 8], "n features 64": [1, 2, 4],
    }  # fmt: skip
    with pytest.raises(FigureError, match=r"--by must be of knobs, such as lr or n_neurons / n_features; got '1 \+ 1'"):
        drawn(made, by="1 + 1")
    with pytest.raises(QueryError, match=r"where must be one condition"):
        drawn(made, by="n_neurons / (")


def test_big_numbers_are_said_whole() -> None:
    assert [shown("n", v) for v in (1048576, 9999, 1e6, 0.00012345678, -20000, 2.5e300)] == [
        "1,048,576", "9999", "1,000,000", "0.000123457", "−20,000", "2.5e+300",
    ]  # fmt: skip


def _painted(made: Made, to: Path) -> list[Figure]:
    """What `figures means` saves."""
    saved: list[Figure] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monosweep.analysis.catalogue.save_both", lambda figure, path: saved.append(figure) or path)
        figures([str(made.path), "means", "--to", str(to)])
    return saved


# -- whose style


def test_a_style_of_the_users_does_not_reach_our_files(tmp_path: Path) -> None:
    info = pointed(series("a", [1, 2], [1, 3]))
    save(footed(points(info, [Y], "t"), ["a note"]), tmp_path / "plain.png")
    with mpl.rc_context():
        mpl.style.use("dark_background")
        mpl.rcParams.update({"text.usetex": True, "font.size": 30, "savefig.transparent": True, "axes.grid": False})
        save(footed(points(info, [Y], "t"), ["a note"]), tmp_path / "dark.png")
        assert mpl.rcParams["text.usetex"] and mpl.rcParams["font.size"] == 30
    assert np.array_equal(imread(tmp_path / "plain.png"), imread(tmp_path / "dark.png"))


def test_a_backend_and_a_matplotlibrc_of_the_users_are_not_looked_at(quick: Made, tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("text.usetex: true\nnonsense here\nfigure.facecolor: black\n")
    env = {**os.environ, "MPLBACKEND": "module://not_there", "MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    command = [sys.executable, "-m", "monosweep.sweep", "figures", str(quick.path), "means", "--to", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, timeout=300)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'means.png'}\n")
    assert "matplotlib" not in done.stderr.lower()
    assert same_color(imread(tmp_path / "means.png")[0, 0], "white")
    env |= {"MPLBACKEND": "nonsense"}
    told = subprocess.run(
        [sys.executable, "-c", "from monosweep.analysis.figures import load_matplotlib; load_matplotlib(); import os; "
         "print(os.environ['MPLBACKEND'])"],
        capture_output=True, text=True, env=env, timeout=300,
    )  # fmt: skip
    assert (told.stdout, told.stderr) == ("nonsense\n", "")


def test_a_written_figure_follows_a_link(tmp_path: Path) -> None:
    (tmp_path / "b.PNG").symlink_to("c.png")
    save(Figure(), tmp_path / "b.PNG")
    assert (tmp_path / "b.PNG").is_symlink() and (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_wide_legends_are_whole(tmp_path: Path) -> None:
    long = series("a label that is longer than the figure is wide, " * 4, [1, 2], [1, 3])
    figure = points(pointed(long), [Y], "t")
    save(figure, tmp_path / "a.png")
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert imread(tmp_path / "a.png").shape[1] >= 200 * box.width / figure.dpi

"""Infos to matplotlib: one function per figure, one style for all.  No numbers are computed here.

Figures are made without pyplot, so nothing global is touched and no display is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from monosweep.analysis.figures.data import (
    BiasInfo,
    Map,
    MonoInfo,
    Panel,
    ResponseInfo,
    Series,
    SummaryInfo,
    Trace,
    TracesInfo,
)  # fmt: skip
from monosweep.analysis.figures.means import MeanSeries, MeansInfo
from monosweep.analysis.knobs import is_number, named, ordered, shown, words
from monosweep.analysis.papers.jermyn2022.figures import AmplitudeInfo, CdfInfo, LinearInfo, PlaneInfo

STYLE: dict[str, Any] = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8.5,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "figure.titlesize": 11.5, "figure.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.edgecolor": "#666666", "legend.frameon": False,
    "lines.solid_capstyle": "round", "pdf.fonttype": 42, "savefig.facecolor": "white",
}  # fmt: skip
FAMILIES = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's colours, which colour-blind readers tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P")
MONO, POLY = FAMILIES[1], FAMILIES[0]
DPI = 200
PANEL = 2.6
"""Width of a panel, in inches."""
MOST_LABELS = 8
"""Values beyond which a legend turns into a few of them."""
CROWDED = 0.1
"""Ticks closer than this share of the axis are turned."""
PER_FEATURE = "monosemantic neurons\nper feature"
LOSS = "task loss\n(squared error per sample)"


def save(figure: Figure, path: Path) -> None:
    """Write `figure`, in the format of the path's ending."""
    with mpl.rc_context(STYLE):
        figure.savefig(path, dpi=DPI, metadata={"Date": None} if path.suffix == ".svg" else None)


def headed(figure: Figure, text: str) -> Figure:
    """`figure` with a line above its title."""
    title = figure.texts[0]
    title.set_text(f"{text}\n{title.get_text()}")
    return figure


def _styled(paint: Callable[[Any], Figure]) -> Callable[[Any], Figure]:
    def styled(info: Any) -> Figure:
        with mpl.rc_context(STYLE):
            return paint(info)

    return styled


def _grid(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


@_styled
def traces(info: TracesInfo) -> Figure:
    """Figures 3 and 7: loss, monosemantic neurons and mean bias over training; a column per panel."""
    n = len(info.panels)
    figure, axes = _grid(3, n, max(6.4, PANEL * n + 1.2), 6.2, sharex=True, sharey="row")
    values = ordered({value for panel in info.panels for value in panel.median})
    colours = _colours(values)
    rows = ((LOSS, "loss"), (PER_FEATURE, "mono_per_feature"), ("mean bias", "mean_bias"))
    for column, panel in enumerate(info.panels):
        axes[0, column].set_title(panel.title)
        for row, (label, name) in enumerate(rows):
            _trace_lines(axes[row, column], panel, name, colours)
            axes[row, 0].set_ylabel(label)
        axes[2, column].set_xlabel("training steps")
        axes[2, column].set_xscale("log", base=2)
        axes[2, column].xaxis.set_major_locator(mpl.ticker.LogLocator(base=2, numticks=6))
    _value_legend(figure, info.by, values, colours)
    figure.suptitle(f"Training at each {named(info.by)}")
    return figure


def _trace_lines(axes: Axes, panel: Panel, name: str, colours: dict[Any, Any]) -> None:
    def curve(trace: Trace) -> Any:
        return getattr(trace, name)

    for value, seeds in panel.seeds.items():
        for trace in seeds if len(seeds) > 1 else ():
            axes.plot(trace.steps, curve(trace), color=colours[value], lw=0.7, alpha=0.45)
    for value, trace in panel.median.items():
        axes.plot(trace.steps, curve(trace), color=colours[value], lw=2)


@_styled
def bias(info: BiasInfo) -> Figure:
    """Figures 5 and 11: sorted bias of one trial per panel."""
    n = len(info.panels)
    figure, axes = _grid(1, n, max(4.6, PANEL * n + 0.8), 3.2, sharey=True)
    for ax, panel in zip(axes[0], info.panels, strict=True):
        rank = np.arange(1, len(panel.bias) + 1)
        ax.axhline(0, color="#999999", lw=0.8)
        for mask, colour, name in (
            (panel.dead, "#999999", "answers nothing"),
            (~panel.mono & ~panel.dead, POLY, "polysemantic"),
            (panel.mono, MONO, "monosemantic"),
        ):
            if not mask.any():
                continue
            ax.scatter(rank[mask], panel.bias[mask], s=7, color=colour, lw=0, label=f"{name} ({mask.sum()})")
        ax.set_title(panel.title.replace(", lr", ",\nlr"))
        ax.set_xlabel("neuron, by bias")
        # sorted values leave this corner free
        ax.legend(loc="lower right", markerscale=2, handletextpad=0.2, reverse=True)
    axes[0, 0].set_ylabel("bias")
    figure.suptitle("Bias of monosemantic and polysemantic neurons")
    return figure


@_styled
def response(info: ResponseInfo) -> Figure:
    """Figures 4, 10 and 20: neuron × feature response maps."""
    n = len(info.maps)
    figure, axes = _grid(1, n, max(4.4, 3.1 * n + 0.9), 4.4)
    _maps(figure, list(axes[0]), info.maps)
    figure.suptitle("What each neuron answers")
    return figure


def _maps(figure: Figure, axes: Sequence[Axes], maps: Sequence[Map]) -> None:
    """Response maps with one scale and one colour bar; a line ends each monosemantic block."""
    top = max((float(np.quantile(m.shown.response.max(axis=1), 0.95)) for m in maps), default=1.0) or 1.0
    low = min(0.0, *(float(m.shown.response.min()) for m in maps))
    norm = PowerNorm(0.6, 0, top) if low >= 0 else TwoSlopeNorm(0, low, top)
    colours = "Blues" if low >= 0 else "RdBu"
    for ax, one in zip(axes, maps, strict=True):
        image = ax.imshow(one.shown.response, aspect="auto", cmap=colours, norm=norm, interpolation="nearest")
        n_neurons, n_features = one.shown.response.shape
        edge = one.shown.n_mono - 0.5
        if one.shown.n_mono:
            ax.axhline(edge, color=POLY, lw=1.2)
        # at its top the monosemantic block is empty right of the diagonal, if it is high enough for a line of text
        inside = one.shown.n_mono > 0.1 * n_neurons
        ax.text(
            n_features * 0.98, 0.015 * n_neurons + (0 if inside else edge),
            f"{one.shown.n_mono} of {n_neurons} monosemantic {'↓' if inside else '↑'}",
            color=POLY, ha="right", va="top", fontsize=8.5, fontweight="bold",
            bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1},
        )  # fmt: skip
        ax.grid(False)
        ax.set_title(one.title.replace(", lr", ",\nlr"))
        ax.set_xlabel("feature, by the neuron it drives")
    axes[0].set_ylabel("neuron, by r (most monosemantic on top)")
    figure.colorbar(image, ax=list(axes), label="response to the feature alone", pad=0.02, aspect=30)


@_styled
def mono(info: MonoInfo) -> Figure:
    """Figures 8, 13, 17 and 18: monosemantic neurons per feature and per neuron against a knob."""
    figure, axes = _grid(1, 2, 7.2, 3.3)
    for ax, name, label in (
        (axes[0, 0], "mono_per_feature", PER_FEATURE),
        (axes[0, 1], "mono_per_neuron", "monosemantic share\nof neurons"),
    ):
        _series_lines(ax, info, name)
        ax.set_ylabel(label)
    _family_legend(figure, axes[0, 0], info.series)
    figure.suptitle(f"Monosemantic neurons against {named(info.by)}")
    return figure


@_styled
def means(info: MeansInfo) -> Figure:
    """Means over seeds of monosemantic neurons and loss against a knob, with their 95 % intervals."""
    figure, axes = _grid(1, 2, 7.2, 3.5)
    for ax, name, label in ((axes[0, 0], "mono_per_feature", PER_FEATURE), (axes[0, 1], "loss", LOSS)):
        _mean_lines(ax, info, name)
        ax.set_ylabel(label)
    axes[0, 0].set_ylim(bottom=0)
    _family_legend(figure, axes[0, 0], info.series)
    figure.suptitle(f"Means over seeds and 95 % intervals, by {named(info.by)}")
    return figure


def _mean_lines(ax: Axes, info: MeansInfo, name: str) -> None:
    """A line through the means of each series; evenly spaced values, the series side by side."""
    values = ordered({value for series in info.series for value in series.values})
    middle = (len(info.series) - 1) / 2
    for i, (series, colour, marker) in enumerate(zip(info.series, cycle(FAMILIES), cycle(MARKERS), strict=False)):
        found = getattr(series, name)
        x = [values.index(value) + 0.07 * (i - middle) for value in series.values]
        ends = [(f.mean - (f.mean if f.low is None else f.low), (f.mean if f.high is None else f.high) - f.mean)
                for f in found]  # fmt: skip
        ax.errorbar(
            x, [f.mean for f in found], np.transpose(ends), color=colour, marker=marker, ms=4.5, lw=1.6,
            elinewidth=1.1, capsize=2.5, label=series.label or None,
        )  # fmt: skip
    turned = 45 if len(values) > MOST_LABELS - 2 else 0
    ax.set_xticks(range(len(values)), [shown(info.by, value) for value in values], rotation=turned)
    ax.set_xlabel(named(info.by))


@_styled
def summary(info: SummaryInfo) -> Figure:
    """Monosemantic neurons and loss against a knob, and below a network of each kind."""
    below = bool(info.maps)
    figure = Figure(figsize=(7.6, 6.9 if below else 3.4), layout="constrained")
    parts = figure.subfigures(2, 1, height_ratios=(1, 1.12)) if below else [figure]
    left, right = parts[0].subplots(1, 2)
    _series_lines(left, info.mono, "mono_per_feature")
    left.set_ylabel(PER_FEATURE)
    _series_lines(right, info.mono, "loss")
    right.set_ylabel(LOSS)
    # from zero, because the finding is that the losses are the same
    right.set_ylim(0, 1.15 * max(float(s.loss.max()) for s in info.mono.series))
    _family_legend(parts[0], left, info.mono.series)
    if below:
        axes = parts[1].subplots(1, len(info.maps), squeeze=False)
        _maps(parts[1], list(axes[0]), info.maps)
    figure.suptitle(info.claim or f"Monosemantic neurons and loss against {named(info.mono.by)}")
    return figure


@_styled
def cdf(info: CdfInfo) -> Figure:
    """Figure 2: how r is distributed over the neurons, a line per recorded step."""
    figure, axes = _grid(1, 1, 6.4, 3.8)
    ax = axes[0, 0]
    for (step, r), colour in zip(info.r.items(), _colours(list(info.r)).values(), strict=True):
        share = np.arange(1, len(r) + 1) / len(r)
        ax.step(r, share, where="post", color=colour, lw=1.6, label=f"{step:,}")
    ax.axvline(info.threshold, color=POLY, lw=0.8, ls="--")
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("r (1: answers one feature alone)")
    ax.set_ylabel("share of neurons with r up to this")
    figure.legend(title="training steps", loc="outside right upper")
    figure.suptitle("Monosemanticity of the neurons over training")
    ax.set_title(info.title)
    return figure


@_styled
def plane(info: PlaneInfo) -> Figure:
    """Figure 9: monosemantic neurons in the plane of bias_offset and ε, with the curve of -√(Nε/8d)."""
    figure, axes = _grid(1, 2, 7.6, 3.9, sharey=True)
    x, y = np.arange(len(info.offsets)), np.arange(len(info.probs))
    for ax, values, label in (
        (axes[0, 0], info.mono_per_feature, PER_FEATURE.replace("\n", " ")),
        (axes[0, 1], info.mono_per_neuron, "monosemantic share of neurons"),
    ):
        image = ax.imshow(values, aspect="auto", cmap="viridis", origin="lower", vmin=0)
        # cells are evenly spaced, offsets need not be: the curve goes through the cells' own coordinate
        ax.plot(np.interp(info.curve, info.offsets, x), y, color=POLY, lw=2)
        ax.set_xticks(x, [shown("bias_offset", round(float(v), 3)) for v in info.offsets], rotation=45)
        ax.set_yticks(y, [shown("feature_prob", float(v)) for v in info.probs])
        ax.set_xlabel(named("bias_offset"))
        ax.grid(False)
        figure.colorbar(image, ax=ax, label=label)
    axes[0, 0].set_ylabel(named("feature_prob"))
    line = mpl.lines.Line2D([], [], color=POLY, lw=2)
    label = "−√(Nε/8d), the paper's −√ε: one standard deviation of a new neuron's input"
    figure.legend([line], [label], loc="outside lower center")
    figure.suptitle("Monosemantic neurons by initial bias and density of features")
    return figure


_OWNERS = (("none", FAMILIES[5]), ("one", FAMILIES[1]), ("two or more", FAMILIES[0]))


@_styled
def amplitude(info: AmplitudeInfo) -> Figure:
    """Figures 24 and 25: output against input amplitude of a feature alone; a line per feature."""
    figure, axes = _grid(1, 3, 8.2, 3.5, sharex=True, sharey=True)
    owners = np.minimum(info.n_owners, len(_OWNERS) - 1)
    for ax, response, title in zip(
        axes[0],
        (info.whole, info.mono, info.poly),
        ("whole network", "neurons of negative bias", "neurons of positive bias"),
        strict=True,
    ):
        ax.plot([0, 1], [0, 1], color="#999999", lw=0.8, ls=":")
        for kind, (_, colour) in enumerate(_OWNERS):
            ax.plot(info.strengths, response[:, owners == kind], color=colour, lw=0.6, alpha=0.45)
        ax.set_title(title)
        ax.set_xlabel("input amplitude")
    for kink, name, side in ((info.first_kink, "first", "right"), (info.second_kink, "second", "left")):
        if np.isfinite(kink):
            axes[0, 1].axvline(kink, color="#555555", lw=0.9, ls="--")
            axes[0, 1].text(
                kink + (0.02 if side == "left" else -0.02), 0.95, f"{name}\nkink {kink:.2f}", ha=side, va="top",
                fontsize=7.5, transform=axes[0, 1].get_xaxis_transform(),
            )  # fmt: skip
    axes[0, 0].set_ylabel("output amplitude of that feature")
    handles = [mpl.lines.Line2D([], [], color=colour, lw=2) for _, colour in _OWNERS]
    counts = [int((owners == kind).sum()) for kind in range(len(_OWNERS))]
    labels = [f"{how_many} ({n})" for (how_many, _), n in zip(_OWNERS, counts, strict=True)]
    title = "features by their number of monosemantic neurons"
    figure.legend(handles, labels, loc="outside lower center", ncols=3, title=title)
    figure.suptitle(f"Each feature alone ({info.title})", fontsize=10.5)
    return figure


@_styled
def linear(info: LinearInfo) -> Figure:
    """Figure 26: the positive-bias half as a linear map, and its singular values."""
    figure, axes = _grid(1, 2, 7.4, 3.6)
    left, right = axes[0]
    top = float(np.abs(info.matrix).max()) or 1.0
    image = left.imshow(info.matrix, cmap="RdBu", norm=TwoSlopeNorm(0, -top, top), interpolation="nearest")
    left.grid(False)
    left.set_xlabel("input feature")
    left.set_ylabel("output")
    figure.colorbar(image, ax=left, label="entry of L2₊ L1₊ P", pad=0.02)
    rank = np.arange(1, len(info.singular_values) + 1)
    right.axhline(1, color="#999999", lw=0.8)
    right.axvline(info.d_embed + 0.5, color=POLY, lw=0.9, ls="--")
    right.plot(rank, info.singular_values, "o", ms=3, color=MONO)
    right.text(info.d_embed + 2, 0.5, f"d = {info.d_embed}", color=POLY)
    right.set_ylim(bottom=-0.03)
    right.set_xlabel("rank")
    right.set_ylabel("singular value")
    figure.suptitle(f"The positive-bias neurons without their nonlinearity ({info.title})", fontsize=10)
    return figure


def _series_lines(ax: Axes, info: MonoInfo, name: str) -> None:
    """A point per trial and a line through the medians, for every series."""
    values = ordered({value for series in info.series for value in series.values})
    place = {v: v for v in values} if all(map(is_number, values)) else {v: i for i, v in enumerate(values)}
    for i, (series, colour, marker) in enumerate(
        zip(info.series, cycle(FAMILIES), cycle(MARKERS), strict=False)
    ):
        medians = getattr(series, f"median_{name}")
        x = [place[v] for v in series.values]
        ax.plot(x, medians, color=colour, lw=2, label=series.label or None, zorder=2.9 - 0.01 * i)
        points = getattr(series, name)
        ax.scatter(
            [place[v] for v in series.x], points, s=18, color=colour, marker=marker, alpha=0.7, lw=0, zorder=3
        )
    if info.log_x:
        ax.set_xscale("log")
    if ticks := _ticks(values, info.log_x):
        places = [float(place[v]) for v in ticks]
        ax.xaxis.set_major_locator(FixedLocator(places))
        ax.xaxis.set_minor_locator(NullLocator())
        closest, span = min(np.diff(sorted(places)), default=1.0), max(places) - min(places)
        ax.set_xticklabels(
            [shown(info.by, v) for v in ticks], rotation=45 if not info.log_x and closest < CROWDED * span else 0
        )
    ax.set_xlabel(named(info.by))
    ax.set_ylim(bottom=0)


def _ticks(values: Sequence[Any], log_x: bool) -> list[Any]:
    """Which values the axis names: all if they are few, on a logarithmic axis else some powers of two."""
    if len(values) <= MOST_LABELS:
        return list(values)
    powers = [v for v in values if log_x and float(np.log2(v)).is_integer()]
    return powers[:: -(-len(powers) // MOST_LABELS)] if powers else []


def _family_legend(figure: Any, ax: Axes, series: Sequence[Series | MeanSeries]) -> None:
    if any(s.label for s in series):
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=min(2, len(labels)))


def _colours(values: Sequence[Any]) -> dict[Any, Any]:
    """Ordered colours for numbers (without the map's pale end), distinct ones for words."""
    if not all(map(is_number, values)):
        return dict(zip(values, cycle(FAMILIES), strict=False))
    return dict(zip(values, mpl.colormaps["viridis"](np.linspace(0, 0.87, len(values))), strict=True))


def _value_legend(figure: Figure, by: str, values: Sequence[Any], colours: dict[Any, Any]) -> None:
    step = -(-len(values) // MOST_LABELS)
    listed = list(reversed(values))[::step]
    handles = [mpl.lines.Line2D([], [], color=colours[value], lw=2.5) for value in listed]
    labels = [f"{words(by)} {shown(by, value)}" for value in listed]
    figure.legend(handles, labels, loc="outside right upper")

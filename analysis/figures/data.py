"""Every figure: first a typed info, computed from the tables and testable as numbers; drawing.py paints it.

    Root + Selection -> Data -> traces | bias | response | mono | summary info -> drawing.py -> PNG and PDF
                             -> means.py; papers/: fig1 to fig26

Figure numbers are those of Jermyn, Schiefer and Hubinger (arXiv 2211.09169).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.families.two_layer.responses import Displayed, displayed, responses
from monosweep.analysis.figures.means import MeansInfo, means
from monosweep.analysis.knobs import FigureError, Row, axis, best, by_value, grouped, is_number, named, shown, words
from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.storage import quoted
from monosweep.model.config import TrialConfig, UserError, unknown_name
from monosweep.model.records import TrialStatus
from monosweep.sweep.store.schema import config_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
MOST_PANELS = 6
"""Groups beyond this many are left out of a figure; its note says so."""
ALL_NUMBERED = "paper"
"""The name that stands for fig1 to fig26."""
SAME_LOSS = 1.01
"""A loss up to this factor counts as no cost (the paper's `equal or slightly better`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which trials to draw, and how."""

    where: str | None = None
    """SQL condition on `trials`."""
    by: str | None = None
    """The swept column for colours (traces) or the axis (mono, means, summary)."""
    trial: str | None = None
    """The trial for bias and response."""


@dataclass(frozen=True, slots=True)
class Data:
    """The completed trials that a selection admits."""

    root: Root
    rows: list[Row]
    by: str
    trial: Row | None
    notes: list[str] = field(default_factory=list)

    def groups(self) -> list[tuple[str, list[Row]]]:
        """(label, trials) of the first few combinations of knobs other than `by`."""
        groups = grouped(self.rows, self.by)
        if len(groups) > MOST_PANELS:
            self.notes.append(
                f"{MOST_PANELS} of {len(groups)} combinations of "
                f"{', '.join(name for name, _ in groups[0].knobs)} drawn; choose with --where"
            )
        return [(group.label, group.rows) for group in groups[:MOST_PANELS]]

    def chosen(self) -> list[tuple[str, Row]]:
        """(title, trial) to show one by one: the one asked for, or the best of each group."""
        picked = [("", self.trial)] if self.trial else [(label, best(rows)) for label, rows in self.groups()]
        return [(title_of(label, row, self.by), row) for label, row in picked]


def title_of(label: str, row: Row, by: str) -> str:
    """One trial among those of its group."""
    value = "" if by == "seed" else f"{words(by)} {shown(by, row[by])}"
    return ", ".join(filter(None, (label, value, f"seed {row['seed']}")))


# -- traces (figures 3 and 7)


@dataclass(frozen=True, slots=True)
class Trace:
    """Curves over `steps`; the arrays are equally long."""

    steps: Array
    loss: Array
    mono_per_feature: Array
    mean_bias: Array


@dataclass(frozen=True, slots=True)
class Panel:
    """One combination of the other knobs: for each value of the coloured one its median, and every seed."""

    title: str
    median: dict[Any, Trace]
    seeds: dict[Any, list[Trace]]


@dataclass(frozen=True, slots=True)
class TracesInfo:
    by: str
    panels: list[Panel]


def traces_info(data: Data) -> TracesInfo:
    """Training traces of every trial.

    Raises:
        FigureError: if no curves are recorded.
    """
    traces = _traces(data)
    panels = []
    for label, rows in data.groups():
        seeds = {
            value: [traces[row["trial_id"]] for row in same if row["trial_id"] in traces]
            for value, same in by_value(rows, data.by).items()
        }
        seeds = {value: found for value, found in seeds.items() if found}
        if seeds:
            panels.append(Panel(label, {value: median(found) for value, found in seeds.items()}, seeds))
    if not panels:
        raise FigureError("traces needs curves of completed trials; these trials have none")
    return TracesInfo(data.by, panels)


def _traces(data: Data) -> dict[str, Trace]:
    sizes = {row["trial_id"]: row["n_features"] for row in data.rows}
    points = data.root.sql(
        f"SELECT trial_id, step, loss, n_mono, mean_bias FROM curves WHERE {_among(data.rows)} ORDER BY step"
    ).to_pylist()
    return {
        trial_id: Trace(
            _column(mine, "step"), _column(mine, "loss"), _column(mine, "n_mono") / sizes[trial_id],
            _column(mine, "mean_bias"),
        )
        for trial_id, mine in by_value(points, "trial_id").items()
    }  # fmt: skip


def median(traces: Sequence[Trace]) -> Trace:
    """The median over traces at the steps that all of them recorded."""
    common = sorted(set.intersection(*({*t.steps.tolist()} for t in traces)))

    def over(name: str) -> Array:
        return np.asarray(np.median([getattr(t, name)[np.isin(t.steps, common)] for t in traces], axis=0))

    return Trace(np.array(common), over("loss"), over("mono_per_feature"), over("mean_bias"))


# -- sorted bias (figures 5 and 11)


@dataclass(frozen=True, slots=True)
class BiasPanel:
    """The final biases of one trial, ascending."""

    title: str
    bias: Array
    mono: NDArray[np.bool_]
    """r > mono_threshold."""
    dead: NDArray[np.bool_]
    """No positive response to any single feature."""


@dataclass(frozen=True, slots=True)
class BiasInfo:
    panels: list[BiasPanel]


def bias_info(data: Data) -> BiasInfo:
    """Final biases of the neurons of each chosen trial.

    Raises:
        FigureError: if no neurons are recorded.
    """
    panels = [panel for title, row in data.chosen() if (panel := _bias_panel(data.root, title, row))]
    if not panels:
        raise FigureError("bias needs rows in neurons; these trials have none")
    return BiasInfo(panels)


def _bias_panel(root: Root, title: str, row: Row) -> BiasPanel | None:
    neurons = root.sql(
        f"SELECT bias, r FROM neurons WHERE trial_id = {quoted(row['trial_id'])} "
        "QUALIFY step = max(step) OVER () ORDER BY bias"
    ).to_pylist()
    if not neurons:
        return None
    r = _column(neurons, "r")
    return BiasPanel(title, _column(neurons, "bias"), r > row["mono_threshold"], r <= 0)


# -- response maps (figures 4, 10 and 20)


@dataclass(frozen=True, slots=True)
class Map:
    title: str
    shown: Displayed


@dataclass(frozen=True, slots=True)
class ResponseInfo:
    maps: list[Map]


def response_info(data: Data) -> ResponseInfo:
    """Response maps of the chosen trials, those with saved weights where none was asked for.

    Raises:
        QueryError: if there are no weights; it says how to get them.
    """
    rows = [data.trial] if data.trial else data.rows
    saved = data.root.with_weights({row["sweep"] for row in rows})
    kept = [row for row in rows if (row["sweep"], row["pack_id"]) in saved]
    if not kept:
        # asks for one that is missing, because that error tells the way out
        data.root.weights(rows[0]["trial_id"])
    chosen = Data(data.root, kept, data.by, data.trial, data.notes).chosen()
    return ResponseInfo([_map(title, row, data.root.weights(row["trial_id"])) for title, row in chosen])


def _map(title: str, row: Row, weights: Mapping[str, NDArray[np.floating]]) -> Map:
    config = config_of(row)
    return Map(title, displayed(responses(weights, config), config.mono_threshold))


# -- mono against a knob (figures 8, 13, 17 and 18), and the summary


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """One combination of the other knobs.  Equally long arrays: one entry per trial, then per value."""

    label: str
    x: list[Any]
    mono_per_feature: Array
    mono_per_neuron: Array
    loss: Array
    values: list[Any]
    median_mono_per_feature: Array
    median_mono_per_neuron: Array
    median_loss: Array


@dataclass(frozen=True, slots=True)
class MonoInfo:
    by: str
    log_x: bool
    series: list[Series]


def mono_info(data: Data) -> MonoInfo:
    """Monosemantic neurons of every trial against the chosen column."""
    series = [_series(label, rows, data.by) for label, rows in data.groups()]
    return MonoInfo(data.by, spread_over_decades([x for s in series for x in s.values]), series)


def _series(label: str, rows: list[Row], by: str) -> Series:
    groups = by_value(rows, by)
    flat = [row for same in groups.values() for row in same]

    def medians(name: str) -> Array:
        return np.array([np.median(_column(same, name)) for same in groups.values()])

    return Series(
        label=label,
        x=[row[by] for row in flat],
        mono_per_feature=_column(flat, "mono_per_feature"),
        mono_per_neuron=_column(flat, "mono_per_neuron"),
        loss=_column(flat, "loss"),
        values=list(groups),
        median_mono_per_feature=medians("mono_per_feature"),
        median_mono_per_neuron=medians("mono_per_neuron"),
        median_loss=medians("loss"),
    )


def spread_over_decades(values: Sequence[Any]) -> bool:
    """Whether a logarithmic axis suits: positive numbers whose largest is eight times the least or more."""
    return all(is_number(v) and v > 0 for v in values) and max(values) >= 8 * min(values)


@dataclass(frozen=True, slots=True)
class SummaryInfo:
    mono: MonoInfo
    maps: list[Map]
    """One trial of the first and of the last series, where their weights are saved; side by side they differ in
    the other knobs alone, at the value where that matters most."""
    claim: str | None
    """What the numbers show, if it is the paper's headline; two lines."""


def summary_info(data: Data) -> SummaryInfo:
    """Monosemanticity and loss side by side, and what a typical network of each kind looks like."""
    mono, groups = mono_info(data), data.groups()
    saved = data.root.with_weights({row["sweep"] for row in data.rows})
    value = _telling_value(mono.series[0], mono.series[-1])
    maps = []
    for label, rows in groups[:1] + groups[1:][-1:]:
        same = [row for row in rows if value is None or row[data.by] == value]
        if kept := [row for row in same if (row["sweep"], row["pack_id"]) in saved]:
            row = best(kept)
            maps.append(_map(title_of(label, row, data.by), row, data.root.weights(row["trial_id"])))
    return SummaryInfo(mono, maps, _claim(data, mono))


def _telling_value(one: Series, other: Series) -> Any | None:
    """The value at which two series differ most; nothing if they have none in common."""
    a, b = (dict(zip(s.values, s.median_mono_per_feature, strict=True)) for s in (one, other))
    common = [value for value in a if value in b]
    return max(common, key=lambda value: abs(a[value] - b[value]), default=None)


def _claim(data: Data, mono: MonoInfo) -> str | None:
    """The headline, as far as it is true of these trials: more monosemantic neurons at no higher loss."""
    offsets = [{row["bias_offset"] for row in rows} for _, rows in data.groups()]
    if len(offsets) != 2 or not (max(offsets[0]) < 0 and offsets[1] == {0.0}):
        return None
    negative, zero = mono.series
    if negative.values != zero.values:
        return None
    more = negative.median_mono_per_feature > zero.median_mono_per_feature
    free = negative.median_loss <= SAME_LOSS * zero.median_loss
    holds = np.logical_and.accumulate(more & free)
    if not holds.any():
        return None
    last = shown(mono.by, mono.series[0].values[int(holds.sum()) - 1])
    where = f"every {named(mono.by)}" if holds.all() else f"any {named(mono.by)} up to {last}"
    return f"A negative initial bias gives more monosemantic neurons\nat {where}, at no cost in loss"


def means_info(data: Data) -> MeansInfo:
    """Means over seeds against the chosen column, with intervals."""
    return means(data.groups(), data.by)


# -- drawing them


def draw(
    root: Root, folder: str | Path, names: Sequence[str], selection: Selection, note: Callable[[str], None]
) -> Iterator[Path]:
    """Draw `names` into `folder`; yields each PNG when it is there.

    No names mean all of FIGURES that the tables can carry, `paper` those of fig1 to fig26 that they
    can.  A PDF is written beside each PNG.  What is left out is told to `note`.

    Raises:
        FigureError: if a name is unknown, or nothing can be drawn.
        QueryError: as `Root.sql` and `Root.weights` do.
    """
    from monosweep.analysis.papers.jermyn2022.figures import NUMBERED, paint

    for name in names:
        if name not in (*FIGURES, *NUMBERED, ALL_NUMBERED):
            raise FigureError(unknown_name("figure", name, (*FIGURES, *NUMBERED, ALL_NUMBERED)))
    data = load(root, selection)
    wanted = dict.fromkeys(FIGURES if not names else (*names, *NUMBERED) if ALL_NUMBERED in names else names)
    wanted.pop(ALL_NUMBERED, None)
    for name in wanted:
        try:
            figure = FIGURES[name](data) if name in FIGURES else paint(name, data, selection.by)
        except UserError as error:
            if name in names:
                raise
            note(f"no {name} figure: {error}")
            continue
        yield _saved(figure, Path(folder) / f"{name}.png")
    for text in dict.fromkeys(data.notes):
        note(text)


def load(root: Root, selection: Selection) -> Data:
    """The completed trials of a selection.

    Raises:
        FigureError: if there is none.
        QueryError: if the condition or the trial is at fault.
    """
    if selection.trial is not None:
        row = root.trial(selection.trial)
        if row["status"] != TrialStatus.COMPLETED:
            raise FigureError(f"trial {row['trial_id']} has no figures: it {row['status']} ({row['error']})")
    condition = f"({selection.where}) AND " if selection.where else ""
    rows = root.trials(f"{condition}status = '{TrialStatus.COMPLETED}' ORDER BY trial_id").to_pylist()
    if not rows:
        which = f" where {selection.where}" if selection.where else ""
        raise FigureError(f"no completed trial in {root.uri}{which}; `monosweep status {root.uri}` shows all")
    return Data(root, rows, axis(rows, selection.by), row if selection.trial is not None else None)


def _painter(name: str, info: Callable[[Data], Any]) -> Callable[[Data], Figure]:
    def paint(data: Data) -> Figure:
        from monosweep.analysis.figures import style as drawing

        figure: Figure = getattr(drawing, name)(info(data))
        return figure

    return paint


FIGURES: dict[str, Callable[[Data], Figure]] = {
    "summary": _painter("summary", summary_info),
    "traces": _painter("traces", traces_info),
    "mono": _painter("mono", mono_info),
    "means": _painter("means", means_info),
    "bias": _painter("bias", bias_info),
    "response": _painter("response", response_info),
}


def draw_response(weights: Mapping[str, NDArray[np.floating]], config: TrialConfig, path: str | Path) -> None:
    """The response map of one trial into `path` (.png, .pdf or .svg).

    `weights` holds `w_in` (n_neurons, d_embed), `bias` (n_neurons) and `embedding` (d_embed, n_features).

    Raises:
        FigureError: if `path` cannot be written or has another ending.
    """
    from monosweep.analysis.figures import style as drawing

    title = f"trial {config.trial_id[:8]}, lr {shown('lr', config.lr)}, seed {config.seed}"
    shown_map = Map(title, displayed(responses(weights, config), config.mono_threshold))
    _save(drawing.response(ResponseInfo([shown_map])), Path(path))


def _saved(figure: Figure, path: Path) -> Path:
    _save(figure, path)
    _save(figure, path.with_suffix(".pdf"))
    return path


def _save(figure: Figure, path: Path) -> None:
    from monosweep.analysis.figures import style as drawing

    if path.suffix not in (".png", ".pdf", ".svg"):
        raise FigureError(f"a figure's file must end in .png, .pdf or .svg; got {path}")
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        drawing.save(figure, partial)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise FigureError(f"cannot write {path}: {error.strerror}; choose another folder") from None


def _among(rows: Sequence[Row]) -> str:
    return f"trial_id IN ({', '.join(quoted(row['trial_id']) for row in rows)})"


def _column(rows: Sequence[Row], name: str) -> Array:
    return np.array([row[name] for row in rows], dtype=np.float64)


__all__ = ["FIGURES", "Data", "FigureError", "QueryError", "Selection", "draw", "draw_response", "load"]

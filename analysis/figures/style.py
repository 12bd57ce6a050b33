"""What all painters share: one style, colours that everyone tells apart, grids, legends.  No numbers are computed here.

Figures are made without pyplot, so nothing global is touched and no display is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import cycle
from textwrap import wrap
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from monosweep.analysis.knobs import is_number, shown, words

P = ParamSpec("P")
STYLE: dict[str, Any] = {
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 8.5,
    "xtick.labelsize": 8, "ytick.labelsize": 8, "figure.titlesize": 11.5, "figure.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "axes.edgecolor": "#666666", "legend.frameon": False,
    "lines.solid_capstyle": "round", "pdf.fonttype": 42, "savefig.facecolor": "white",
}  # fmt: skip
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which colour-blind readers tell apart."""
MARKERS = ("o", "s", "^", "D", "v", "P")
PANEL = 2.6
"""Width of a panel, in inches."""
NOTES = "notes"
"""What the text below a figure is known by."""
_LETTERS = 17
"""Of a note, on an inch."""
ACROSS = 6
"""Panels side by side."""
MOST_LABELS = 8
"""Values beyond which a legend turns into a few of them."""


def styled(paint: Callable[P, Figure]) -> Callable[P, Figure]:
    """A painter whose figure has our style."""

    @wraps(paint)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with in_our_style():
            return paint(*args, **kwargs)

    return in_style


@contextmanager
def in_our_style() -> Iterator[None]:
    """Neither a matplotlibrc of the user's nor a style that they use, such as a dark one, is seen in here."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def grid(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, Any]:
    """A figure of this size in inches, and its axes by row and column."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def panels(n: int, width: float, height: float, room: float, least: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of `n` panels of this size in inches, a few side by side, and their axes in reading order."""
    across = min(n, ACROSS)
    figure, axes = grid(-(-n // across), across, max(least, width * across + room), height * -(-n // across), **options)
    for ax in axes.flat[n:]:
        ax.remove()
    return figure, list(axes.flat[:n])


def headed(figure: Figure, text: str) -> Figure:
    """`figure` with a line above its title."""
    title = figure.texts[0]
    title.set_text(f"{text}\n{title.get_text()}")
    return figure


def colours_of(values: Sequence[Any]) -> dict[Any, Any]:
    """Ordered colours for numbers (without the map's pale end), distinct ones for words."""
    if not all(map(is_number, values)):
        return dict(zip(values, cycle(COLOURS), strict=False))
    return dict(zip(values, mpl.colormaps["viridis"](np.linspace(0, 0.87, len(values))), strict=True))


def value_legend(figure: Figure, by: str, values: Sequence[Any], colours: dict[Any, Any]) -> None:
    """What each colour of a knob's values means, or of some of them if they are many."""
    step = -(-len(values) // MOST_LABELS)
    listed = list(reversed(values))[::step]
    handles = [Line2D([], [], color=colours[value], lw=2.5) for value in listed]
    labels = [f"{words(by)} {shown(by, value)}" for value in listed]
    figure.legend(handles, labels, loc="outside right upper")


def from_zero(ax: Axes) -> None:
    """Zero is on the axis of y, and so is all that is drawn."""
    low, high = ax.dataLim.intervaly
    if np.isfinite([low, high]).all():
        room = 0.05 * ((max(high, 0) - min(low, 0)) or 1)
        ax.set_ylim(low - room if low < 0 else 0, max(high, 0) + room)


def facet_legends(figure: Figure, axes: Any) -> None:
    """What the series are: below the figure of one row of panels, else beside each row."""
    if len(axes) == 1:
        series_legend(figure, axes[0, 0])
        return
    for row in axes:
        handles, labels = row[0].get_legend_handles_labels()
        if labels:
            row[-1].legend(handles, labels, loc="center left", bbox_to_anchor=(1.02, 0.5))


def footed(figure: Figure, notes: Sequence[str]) -> Figure:
    """`figure` with notes below it, each once; saving makes room for them."""
    width = int(figure.get_figwidth() * _LETTERS)
    lines = [line for note in dict.fromkeys(notes) for line in wrap(note, width, subsequent_indent="  ")]
    with in_our_style():
        figure.text(0.01, -0.01, "\n".join(lines), ha="left", va="top", fontsize=8, color="#444444", gid=NOTES)
    return figure


def series_legend(figure: Any, ax: Axes) -> None:
    """What each series of `ax` is, below the figure; nothing if none has a name."""
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(2, len(labels)))

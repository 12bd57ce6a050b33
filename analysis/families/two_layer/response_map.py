"""Response maps, neuron × feature (the paper's Figures 4, 10 and 20).

Data -> ResponseInfo -> response()          weights + config -> draw_response -> a file
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, TwoSlopeNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monosweep.analysis.families.two_layer.metrics import POLY
from monosweep.analysis.families.two_layer.networks import chosen
from monosweep.analysis.families.two_layer.responses import Displayed, displayed, network_config, responses
from monosweep.analysis.figures.data import Data
from monosweep.analysis.figures.save import save
from monosweep.analysis.figures.style import panels, styled
from monosweep.analysis.knobs import Row, shown
from monosweep.analysis.tables.root import Root
from monosweep.model.families.two_layer.config import TwoLayerConfig


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
    asked = data if data.trial is None else data.only([data.trial])
    kept = list(asked.with_weights())
    if not kept:
        # asks for one that is missing, because that error tells the way out
        data.root.weights(asked.rows[0]["trial_id"])
    return ResponseInfo([map_of(data.root, title, row) for title, row in chosen(data.only(kept))])


def map_of(root: Root, title: str, row: Row) -> Map:
    """The response map of a trial whose weights are saved."""
    return _map(title, root.weights(row["trial_id"]), network_config(row))


def _map(title: str, weights: Mapping[str, NDArray[np.floating]], config: TwoLayerConfig) -> Map:
    return Map(title, displayed(responses(weights, config), config.mono_threshold))


@styled
def response(info: ResponseInfo) -> Figure:
    """A panel for each map."""
    figure, axes = panels(len(info.maps), 3.1, 4.4, room=0.9, least=4.4)
    draw_maps(figure, axes, info.maps)
    figure.suptitle("What each neuron answers")
    return figure


def draw_maps(figure: Any, axes: Sequence[Axes], maps: Sequence[Map]) -> None:
    """Response maps with one scale and one colour bar; a line ends each monosemantic block."""
    top = max((float(np.quantile(m.shown.response.max(axis=1), 0.95)) for m in maps), default=1.0) or 1.0
    low = min(0.0, *(float(m.shown.response.min()) for m in maps))
    norm = PowerNorm(0.6, 0, top) if low >= 0 else TwoSlopeNorm(0, low, top)
    colours = "Blues" if low >= 0 else "RdBu"
    for ax, one in zip(axes, maps, strict=True):
        image = ax.imshow(one.shown.response, aspect="auto", cmap=colours, norm=norm, interpolation="nearest")
        _mark_block(ax, one.shown)
        ax.grid(False)
        ax.set_title(one.title.replace(", lr", ",\nlr"))
        ax.set_xlabel("feature, by the neuron it drives")
    axes[0].set_ylabel("neuron, by r (most monosemantic on top)")
    figure.colorbar(image, ax=list(axes), label="response to the feature alone", pad=0.02, aspect=30)


def _mark_block(ax: Axes, one: Displayed) -> None:
    n_neurons, n_features = one.response.shape
    edge = one.n_mono - 0.5
    if one.n_mono:
        ax.axhline(edge, color=POLY, lw=1.2)
    # at its top the monosemantic block is empty right of the diagonal, if it is high enough for a line of text
    inside = one.n_mono > 0.1 * n_neurons
    ax.text(
        n_features * 0.98, 0.015 * n_neurons + (0 if inside else edge),
        f"{one.n_mono} of {n_neurons} monosemantic {'↓' if inside else '↑'}",
        color=POLY, ha="right", va="top", fontsize=8.5, fontweight="bold",
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 1},
    )  # fmt: skip


def draw_response(weights: Mapping[str, NDArray[np.floating]], config: TwoLayerConfig, path: str | Path) -> None:
    """The response map of one trial into `path` (.png, .pdf or .svg).

    `weights` holds `w_in` (n_neurons, d_embed), `bias` (n_neurons) and `embedding` (d_embed, n_features).

    Raises:
        FigureError: if `path` cannot be written or has another ending.
    """
    title = f"trial {config.trial_id[:8]}, lr {shown('lr', config.lr)}, seed {config.seed}"
    save(response(ResponseInfo([_map(title, weights, config)])), Path(path))

"""Figures 24 and 25: what the whole network, its negative-bias and its positive-bias half say of each feature alone.

Data -> AmplitudeInfo -> amplitude()
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from monosweep.analysis.families.two_layer.mechanism import AMPLITUDES, amplitudes, kinks, part, split
from monosweep.analysis.families.two_layer.networks import with_weights
from monosweep.analysis.families.two_layer.responses import network_config
from monosweep.analysis.figures.data import Array, Data
from monosweep.analysis.figures.style import COLOURS, grid, styled

OWNERS = (("none", COLOURS[5]), ("one", COLOURS[1]), ("two or more", COLOURS[0]))
"""Features by their number of monosemantic neurons, and the colour of each kind."""


@dataclass(frozen=True, slots=True)
class AmplitudeInfo:
    """What whole, negative-bias (monosemantic) and positive-bias (polysemantic) part say of each feature alone."""

    title: str
    strengths: Array
    whole: Array
    """(strengths, n_features), as the two below; they add up to it."""
    mono: Array
    poly: Array
    n_owners: NDArray[np.intp]
    """Monosemantic neurons of each feature."""
    first_kink: float
    """Mean over the features with one or more monosemantic neurons; NaN if there is none."""
    second_kink: float
    """Mean over the features with two or more."""


def amplitude_info(data: Data) -> AmplitudeInfo:
    """Output against input amplitude of the most monosemantic trial with saved weights."""
    title, row = with_weights(data)
    weights, config = data.root.weights(row["trial_id"]), network_config(row)
    halves, found = split(weights), kinks(weights, config)
    return AmplitudeInfo(
        title=title,
        strengths=AMPLITUDES,
        whole=amplitudes(weights, config),
        mono=amplitudes(part(weights, halves.negative), config),
        poly=amplitudes(part(weights, halves.positive), config),
        n_owners=np.array([len(k) for k in found]),
        first_kink=_mean([k[0] for k in found if len(k) >= 1]),
        second_kink=_mean([k[1] for k in found if len(k) >= 2]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


@styled
def amplitude(info: AmplitudeInfo) -> Figure:
    """Three panels, a line per feature."""
    figure, axes = grid(1, 3, 8.2, 3.5, sharex=True, sharey=True)
    owners = np.minimum(info.n_owners, len(OWNERS) - 1)
    for ax, response, title in zip(
        axes[0],
        (info.whole, info.mono, info.poly),
        ("whole network", "neurons of negative bias", "neurons of positive bias"),
        strict=True,
    ):
        ax.plot([0, 1], [0, 1], color="#999999", lw=0.8, ls=":")
        for kind, (_, colour) in enumerate(OWNERS):
            ax.plot(info.strengths, response[:, owners == kind], color=colour, lw=0.6, alpha=0.45)
        ax.set_title(title)
        ax.set_xlabel("input amplitude")
    _mark_kinks(axes[0, 1], info)
    axes[0, 0].set_ylabel("output amplitude of that feature")
    handles = [Line2D([], [], color=colour, lw=2) for _, colour in OWNERS]
    counts = [int((owners == kind).sum()) for kind in range(len(OWNERS))]
    labels = [f"{how_many} ({n})" for (how_many, _), n in zip(OWNERS, counts, strict=True)]
    title = "features by their number of monosemantic neurons"
    figure.legend(handles, labels, loc="outside lower center", ncols=3, title=title)
    figure.suptitle(f"Each feature alone ({info.title})", fontsize=10.5)
    return figure


def _mark_kinks(ax: Axes, info: AmplitudeInfo) -> None:
    for kink, name, side in ((info.first_kink, "first", "right"), (info.second_kink, "second", "left")):
        if np.isfinite(kink):
            ax.axvline(kink, color="#555555", lw=0.9, ls="--")
            ax.text(
                kink + (0.02 if side == "left" else -0.02), 0.95, f"{name}\nkink {kink:.2f}", ha=side, va="top",
                fontsize=7.5, transform=ax.get_xaxis_transform(),
            )  # fmt: skip

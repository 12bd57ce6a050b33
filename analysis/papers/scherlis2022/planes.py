"""Figure 7: the capacity of one feature over its importance and the features' sparsity, a plane for each model.

Evidence -> PlanesInfo -> planes()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from monosweep.analysis.claims.evidence import Evidence, by_seed
from monosweep.analysis.figures.data import Array
from monosweep.analysis.figures.style import grid, styled
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers.scherlis2022.batches import ACTIVATIONS, DIMENSIONS, FIG7, MODELS
from monosweep.analysis.papers.scherlis2022.statistics import Panel, grid_of, panels
from monosweep.model.families.quadratic.closed_form import full_from, kurtosis, none_until

SAID = {MODELS[0]: "quadratic model", MODELS[1]: "ReLU-output model"}
TICKS = (0.2, 0.5, 1, 2, 5)


@dataclass(frozen=True, slots=True)
class PlanesInfo:
    """Means over the seeds that have every point."""

    probs: Array
    importances: Array
    capacity: dict[Panel, Array]
    """(p, V) for each family, activation and number of dimensions."""
    n_features: int
    n_seeds: int


def planes_info(evidence: Evidence[Any]) -> PlanesInfo:
    """The batch's planes, on the finest grid that all its seeds have.

    Raises:
        FigureError: if no seed has even every fourth point.
    """
    rows = evidence.batch(FIG7)
    each = [found for _, mine in sorted(by_seed(rows).items()) if (found := panels(mine)) is not None]
    if not each:
        raise FigureError("fig7 has no seed with all its points; launch capacity/fig7-small or capacity/fig7")
    size = max(len(next(iter(found.values()))) for found in each)
    whole = [found for found in each if len(next(iter(found.values()))) == size]
    mean = {panel: np.mean([found[panel] for found in whole], axis=0) for panel in whole[0]}
    probs, importances = grid_of(next(iter(mean.values())))
    return PlanesInfo(probs, importances, mean, rows[0]["n_features"], len(whole))


@styled
def planes(info: PlanesInfo) -> Figure:
    """Rows are model and dimensions, columns activations; where the optimum is known its borders are drawn."""
    rows = [(family, d) for family in MODELS for d in DIMENSIONS]
    figure, axes = grid(len(rows), len(ACTIVATIONS), 8.2, 10.0, sharex=True, sharey=True)
    x, y = np.log(info.importances), np.log(info.probs)
    for line, (family, d) in zip(axes, rows, strict=True):
        for ax, activation in zip(line, ACTIVATIONS, strict=True):
            image = ax.pcolormesh(x, y, info.capacity[family, activation, d], vmin=0, vmax=1, cmap="viridis")
            ax.set_title(f"{SAID[family]}, {activation}\n{info.n_features} features in {d}")
            ax.grid(False)
            if (family, activation) == (MODELS[0], ACTIVATIONS[0]):
                _borders(ax, info, d)
        line[0].set_ylabel("features present with p")
    axes[0, 0].set_xticks(np.log(TICKS), [f"{v:g}" for v in TICKS])
    axes[0, 0].set_yticks(np.log([1, 0.5, 0.2, 0.1, 0.05]), ["1", ".5", ".2", ".1", ".05"])
    axes[0, 0].set_xlim(x[0] - (x[1] - x[0]) / 2, x[-1] + (x[1] - x[0]) / 2)
    axes[0, 0].set_ylim(y[0] - (y[1] - y[0]) / 2, y[-1] + (y[1] - y[0]) / 2)
    for ax in axes[-1]:
        ax.set_xlabel("importance V (ReLU outputs: √I)")
    figure.colorbar(image, ax=axes, label="capacity of the one feature", shrink=0.5)
    figure.legend(
        [Line2D([], [], color="white", lw=1.5), Line2D([], [], color="white", lw=1.5, ls="--")],
        ["closed form: from here on a dimension of its own", "up to here none"], loc="outside lower center", ncols=2,
        facecolor="#888888", frameon=True,
    )  # fmt: skip
    seeds = f"mean of {info.n_seeds} seeds" if info.n_seeds > 1 else "one seed"
    figure.suptitle(f"Capacity of one feature by importance and sparsity ({seeds})")
    return figure


def _borders(ax: Axes, info: PlanesInfo, d: int) -> None:
    fine = np.geomspace(info.probs[0], info.probs[-1], 300)
    for threshold, style in ((full_from, "-"), (none_until, "--")):
        v = [threshold(kurtosis(p), info.n_features, d) for p in fine]
        ax.plot(np.log(v), np.log(fine), color="white", lw=1.5, ls=style)

"""The cost of the best order against evaluations, by method; and how far methods stay above the least cost by size.

Evidence -> OrdersInfo -> orders()        Evidence -> GapsInfo -> gaps()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monosweep.analysis.claims.evidence import Evidence
from monosweep.analysis.figures.style import COLOURS, MARKERS, grid, series_legend, styled
from monosweep.analysis.papers.schindler2020.batches import BY_SIZE, MEDIANS, METHODS, RANDOM10
from monosweep.analysis.stats.intervals import Interval, shown_interval
from monosweep.analysis.tables.storage import quoted

_QUARTILES = (25, 50, 75)


@dataclass(frozen=True, slots=True)
class OrdersInfo:
    """By method, in the paper's order, those that are there."""

    methods: list[str]
    evaluations: NDArray[np.int64]
    """Where the costs are told."""
    quartiles: list[NDArray[np.float64]]
    """Of each method, (3, evaluations): log10 of the best cost so far over its runs; NaN before all have one."""
    n_runs: list[int]
    optimum: float | None


def orders_info(evidence: Evidence[Any]) -> OrdersInfo:
    """The batch's trials by method."""
    rows = evidence.batch(RANDOM10)
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    last = max(row["last_step"] for row in rows)
    at = np.unique(np.geomspace(1, last, 200).round().astype(np.int64))
    quartiles, n_runs = [], []
    for method in methods:
        runs = _progress(evidence, [row["trial_id"] for row in rows if row["method"] == method])
        best = np.array([_so_far(steps, losses, at) for steps, losses in runs])
        quartiles.append(np.percentile(best, _QUARTILES, axis=0, method="nearest"))
        n_runs.append(len(runs))
    return OrdersInfo(methods, at, quartiles, n_runs, rows[0]["optimum"])


def _progress(evidence: Evidence[Any], ids: list[str]) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Each run's improvements."""
    wanted = ", ".join(map(quoted, ids))
    found = evidence.root.sql(f"SELECT trial_id, step, loss FROM progress WHERE trial_id IN ({wanted}) ORDER BY ALL")
    of = np.array(found["trial_id"].to_pylist())
    step, loss = found["step"].to_numpy(), found["loss"].to_numpy()
    return [(step[of == trial_id], loss[of == trial_id]) for trial_id in ids]


def _so_far(steps: NDArray[np.int64], losses: NDArray[np.float64], at: NDArray[np.int64]) -> NDArray[np.float64]:
    place = np.searchsorted(steps, at, side="right") - 1
    return np.where(place >= 0, losses[np.maximum(place, 0)], np.nan)


@styled
def orders(info: OrdersInfo) -> Figure:
    """Medians with the quartiles around them; the authors' medians at the end."""
    figure, axes = grid(1, 1, 5.6, 4.0)
    ax = axes[0, 0]
    for i, (method, n_runs) in enumerate(zip(info.methods, info.n_runs, strict=True)):
        low, middle, high = info.quartiles[i]
        label = f"{method}, {n_runs} runs"
        if np.isfinite(middle).sum() > 1:
            ax.fill_between(info.evaluations, low, high, color=COLOURS[i], alpha=0.2, lw=0)
            ax.plot(info.evaluations, middle, color=COLOURS[i], lw=1.6, label=label)
        else:  # it has an order at its end alone
            ends = [[middle[-1] - low[-1]], [high[-1] - middle[-1]]]
            ax.errorbar(
                info.evaluations[-1:],
                middle[-1:],
                ends,
                color=COLOURS[i],
                marker=MARKERS[i],
                capsize=3,
                lw=1.3,
                ls="",
                label=label,
            )
        ax.plot(info.evaluations[-1] * 1.25, MEDIANS[method], color=COLOURS[i], marker="<", ms=7, ls="", clip_on=False)
    ax.plot([], [], color="#444444", marker="<", ms=7, ls="", label="the authors' medians")
    if info.optimum is not None:
        ax.axhline(info.optimum, color="#444444", ls="--", lw=1.2, label="least of any order")
    ax.set_xscale("log")
    ax.set_xlabel("cost evaluations")
    ax.set_ylabel("log$_{10}$ of the cost of the best order")
    series_legend(figure, ax)
    figure.suptitle("Orders for the paper's network: medians and quartiles")
    return figure


@dataclass(frozen=True, slots=True)
class GapsInfo:
    """By method, then by the number of tensors."""

    methods: list[str]
    sizes: list[int]
    gaps: list[list[Interval]]
    """Decades above the least cost, over networks; of a network the mean over runs."""


def gaps_info(evidence: Evidence[Any]) -> GapsInfo:
    """The batch's trials by method and size."""
    rows = evidence.batch(BY_SIZE)
    sizes = sorted({row["size"] for row in rows})
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    found: dict[tuple[str, int, int], list[float]] = {}
    for row in rows:
        found.setdefault((row["method"], row["size"], row["instance"]), []).append(row["gap"])
    means = {key: float(np.mean(gaps)) for key, gaps in found.items()}
    return GapsInfo(
        methods, sizes,
        [
            [shown_interval([gap for key, gap in means.items() if key[:2] == (method, size)]) for size in sizes]
            for method in methods
        ],
    )  # fmt: skip


@styled
def gaps(info: GapsInfo) -> Figure:
    """Means over networks with their intervals."""
    figure, axes = grid(1, 1, 5.2, 3.8)
    ax = axes[0, 0]
    for i, (method, intervals) in enumerate(zip(info.methods, info.gaps, strict=True)):
        x = np.array(info.sizes, dtype=float) + 0.08 * (i - (len(info.methods) - 1) / 2)
        ax.errorbar(
            x, [one.mean for one in intervals], np.transpose([one.reach for one in intervals]), color=COLOURS[i],
            marker=MARKERS[i], ms=5, lw=1.2, elinewidth=1.2, capsize=3, label=method,
        )  # fmt: skip
    ax.set_xticks(info.sizes)
    ax.set_ylim(bottom=min(0.0, ax.get_ylim()[0]))
    ax.set_xlabel("tensors of the network")
    ax.set_ylabel("decades above the least cost")
    series_legend(figure, ax)
    figure.suptitle("How far methods stay above the least cost at equal budgets")
    return figure

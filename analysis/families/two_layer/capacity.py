"""Two papers in one figure: the capacity of features (Scherlis et al., eq. 3) against monosemanticity (Jermyn et al.).

    Data -> CapacityInfo -> capacity()

A feature's column in L1 P lies in d_embed dimensions, so capacities there sum to d_embed at most, however the neurons
are biased.  Its column in the neurons' answers to single features, less what they say to none, lies in n_neurons: a
feature with a neuron of its own can have a dimension of its own.  Either way a neuron counts by the norm of its column
of L2, for what a network scales up in a row of L1 it can scale down there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from monosweep.analysis.families.two_layer.metrics import MONO, POLY
from monosweep.analysis.families.two_layer.responses import monosemanticity, network_config, responses
from monosweep.analysis.figures.data import Array, Data
from monosweep.analysis.figures.style import COLOURS, MARKERS, grid, styled
from monosweep.analysis.knobs import Row
from monosweep.model.families.two_layer.config import TwoLayerConfig

MOST_TRIALS = 256
"""Networks are looked at one by one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One network."""

    mono_per_feature: float
    before: float
    """Mean capacity of features in L1 P, before biases and activation."""
    after: float
    """Mean capacity of features in the neurons' answers to them, less those to none."""
    with_neuron: Array
    """Of the latter, that of each feature with a monosemantic neuron."""
    without: Array
    """That of each other feature."""


@dataclass(frozen=True, slots=True)
class CapacityInfo:
    series: dict[str, list[Trial]]
    """By the combination of knobs."""
    linear_limits: list[float]
    """d_embed / n_features, at most 1: the mean capacity that no linear map into the embedding exceeds."""


def capacities(columns: Array) -> Array:
    """C_i of each column (Scherlis et al., eq. 3): of its square, what is not shared; 0 for a zero column.

    >>> capacities(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0]])).tolist()
    [0.5, 0.5, 1.0]
    """
    lengths = np.linalg.norm(columns, axis=0)
    unit = columns / np.where(lengths > 0, lengths, 1)
    gram = np.square(unit.T @ unit) * np.square(lengths)  # the common factor of a row cancels
    total = gram.sum(axis=1)
    found: Array = np.divide(np.square(lengths), total, out=np.zeros(len(total)), where=lengths > 0)
    return found


def capacity_info(data: Data) -> CapacityInfo:
    """The trials whose weights are saved, or the one asked for.

    Raises:
        QueryError: if there are none; it says how to get them.
    """
    kept = list(data.with_weights()) if data.trial is None else [data.trial]
    if not kept:
        data.root.weights(data.rows[0]["trial_id"])  # its error tells the way out
    if len(kept) > MOST_TRIALS:
        data.notes.append(f"capacity shows {MOST_TRIALS} of {len(kept)} trials with weights; choose with --where")
    shown = data.only(kept[:MOST_TRIALS])
    series = {label: [_trial(data, row) for row in rows] for label, rows in shown.groups()}
    limits = sorted({min(1.0, row["d_embed"] / row["n_features"]) for row in shown.rows})
    return CapacityInfo(series, limits)


def _trial(data: Data, row: Row) -> Trial:
    return trial_of(data.root.weights(row["trial_id"]), network_config(row), row["mono_threshold"])


def trial_of(weights: Mapping[str, NDArray[np.floating]], config: TwoLayerConfig, threshold: float) -> Trial:
    """A network by its weights."""
    answers = responses(weights, config)
    counts = np.linalg.norm(weights["w_out"].astype(np.float64), axis=0)[:, None]
    silence = responses({**weights, "embedding": np.zeros((config.d_embed, 1))}, config)
    after = capacities(counts * (answers - silence))
    owners = answers.argmax(axis=1)[monosemanticity(answers) > threshold]
    owned = np.isin(np.arange(config.n_features), owners)
    linear = weights["w_in"].astype(np.float64) @ weights["embedding"].astype(np.float64)
    return Trial(
        mono_per_feature=len(owners) / config.n_features, before=float(capacities(counts * linear).mean()),
        after=float(after.mean()), with_neuron=after[owned], without=after[~owned],
    )  # fmt: skip


@styled
def capacity(info: CapacityInfo) -> Figure:
    """Trials to the left; to the right the features of all of them."""
    figure, axes = grid(1, 2, 8.6, 4.2)
    _trials(axes[0, 0], info)
    _features(axes[0, 1], [trial for trials in info.series.values() for trial in trials])
    handles = [handle for ax in axes[0] for handle in ax.get_legend_handles_labels()[0]]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    figure.suptitle("Capacity of features against monosemanticity")
    return figure


def _trials(ax: Axes, info: CapacityInfo) -> None:
    """Full marks are of the neurons' answers, hollow ones of what goes into them."""
    for (label, trials), colour, marker in zip(info.series.items(), cycle(COLOURS), cycle(MARKERS), strict=False):
        x = [trial.mono_per_feature for trial in trials]
        ax.scatter(x, [t.after for t in trials], s=26, color=colour, marker=marker, lw=0, alpha=0.8, zorder=3,
                   label=f"{label or 'trials'}, among the neurons' answers")  # fmt: skip
        ax.scatter(x, [t.before for t in trials], s=22, ec=colour, fc="none", marker=marker, lw=1, zorder=3,
                   label="the same in L1 P, before biases and activation")  # fmt: skip
    for limit in info.linear_limits:
        ax.axhline(limit, color="#444444", ls="--", lw=1)
    ax.get_lines()[0].set_label("d/N, the most of a linear map")
    ax.set_xlabel("monosemantic neurons per feature")
    ax.set_ylabel("mean capacity of a feature")
    ax.set_ylim(-0.02, 1.02)  # whole marks


def _features(ax: Axes, trials: list[Trial]) -> None:
    """Cumulative shares of features by their capacity among the neurons' answers."""
    for name, colour, parts in (
        ("with a monosemantic neuron", MONO, [trial.with_neuron for trial in trials]),
        ("without one", POLY, [trial.without for trial in trials]),
    ):
        values = np.sort(np.concatenate(parts))
        if len(values):
            x, share = np.append(values[0], values), np.arange(len(values) + 1) / len(values)
            label = f"features {name} ({len(values):,})"
            ax.plot(x, share, color=colour, lw=1.8, drawstyle="steps-post", label=label)
    ax.set_xlabel("capacity among the neurons' answers")
    ax.set_ylabel("share of features with at most that")
    ax.set_xlim(0, 1.01)
    ax.set_ylim(0, 1.01)

"""The numbers that claims are judged by: from the trials of a seed, or from all evidence, to one number per seed.

    Evidence -> a measure of this module -> claims.py names it, gives the paper's value and the accepted range

The trials of a claim's needs are all there.  NO_EFFECT is for seeds in which there is nothing to measure, such as no
monosemantic neuron.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosweep.analysis.claims.evidence import (
    MISSING,
    NO_EFFECT,
    Absent,
    Evidence,
    Number,
    by_seed,
    column,
    order,
    top,
)
from monosweep.analysis.families.two_layer.neurons import neuron_counts
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.jermyn2022.batches import SMALL, B, Scale

MONO = "mono_per_feature"
Values = dict[Any, float]


# -- over a column


def spread(rows: Sequence[Row], by: str, name: str) -> float:
    """Largest over smallest, less 1."""
    values = column(rows, by, name).values()
    return max(values) / min(values) - 1


def trend(rows: Sequence[Row], by: str, name: str) -> Number:
    return ranked(column(rows, by, name))


def ranked(values: Values) -> Number:
    """Rank correlation of a column with what it is over."""
    return order(list(values), list(values.values()))


def relative(rows: Sequence[Row], others: Sequence[Row], by: str, name: str) -> Values:
    """`rows` over `others` wherever both have the value of `by`."""
    a, b = column(rows, by, name), column(others, by, name)
    return {value: a[value] / b[value] for value in a if value in b}


def mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


# -- learning rates


def with_one_owner(rows: Sequence[Row], among: Callable[[Sequence[int]], int]) -> Number:
    """At the most monosemantic rate: features with exactly one monosemantic neuron, as a share of `among`."""
    rate = top(column(rows, "lr", MONO))
    counts = [row["features_by_n_mono"] for row in rows if row["lr"] == rate]
    shares = [c[1] / among(c) for c in counts if len(c) > 1 and among(c)]
    return mean(shares) if shares else NO_EFFECT


def owned(counts: Sequence[int]) -> int:
    return sum(counts[1:])


def lowest_mono(rows: Sequence[Row]) -> float:
    return min(column(rows, "lr", MONO).values())


def loss_against_zero(negative: Sequence[Row], zero: Sequence[Row]) -> float:
    """Mean over rates of the loss with negative over that with zero initial bias, less 1."""
    return mean(list(relative(negative, zero, "lr", "loss").values())) - 1


def positive_beyond_d(evidence: Evidence[Scale]) -> list[Number]:
    """Positive-bias neurons less d, mean over rates; at the small size up to .01."""
    highest = 0.0101 if evidence.size is SMALL else 1.0

    def beyond(rows: Sequence[Row]) -> float:
        counts = [v for lr, v in column(rows, "lr", "n_positive_bias").items() if lr < highest]
        return mean(counts) - evidence.size.d_embed

    return evidence.per_seed(beyond, "LR3")


def unused_at_top(rows: Sequence[Row]) -> float:
    """Share of unused neurons at the highest rate, less the largest share at the lower ones."""
    *lower, last = column(rows, "lr", "n_dead").values()
    return float(last - max(lower)) / int(rows[0]["n_neurons"])


def of_neurons(evidence: Evidence[Scale], share: Callable[[list[dict[str, Any]]], Number]) -> list[Number]:
    """`share` of LR3's neuron counts, per seed that has those of all its trials."""
    found = {row["trial_id"]: row for row in neuron_counts(evidence.root, evidence.batch("LR3"))}
    return [
        share([found[r["trial_id"]] for r in rows]) if all(r["trial_id"] in found for r in rows) else MISSING
        for _, rows in sorted(by_seed(evidence.batch("LR3")).items())
    ]


def pooled(name: str, among: str) -> Callable[[list[dict[str, Any]]], Number]:
    def share(rows: list[dict[str, Any]]) -> Number:
        total = sum(row[among] for row in rows)
        return float(sum(row[name] for row in rows) / total) if total else NO_EFFECT

    return share


def mono_bias(rows: list[dict[str, Any]]) -> Number:
    """Median over trials of the median bias of monosemantic neurons."""
    medians = [row["mono_bias"] for row in rows if row["mono_bias"] is not None]
    return float(np.median(medians)) if medians else NO_EFFECT


# -- initial bias


def b_batches(evidence: Evidence[Scale]) -> tuple[str, ...]:
    return B[:3] if evidence.size is SMALL else B


def sides(evidence: Evidence[Scale], rows: Sequence[Row], name: str) -> tuple[float, float] | None:
    """Means of `name` below and above -√ε, over trials that woke: fewer than half of the neurons dead.  None if none
    woke on one side."""
    edge = evidence.size.bias_threshold(rows[0]["feature_prob"])
    awake = [row for row in rows if 2 * row["n_dead"] < row["n_neurons"]]
    below = [row[name] for row in awake if row["bias_offset"] < edge]
    above = [row[name] for row in awake if row["bias_offset"] > edge]
    return (mean(below), mean(above)) if below and above else None


def over_b(evidence: Evidence[Scale], name: str, value: Callable[[float, float], Number]) -> list[Number]:
    """Mean over the batches of B of `value(below, above)`, per seed; no effect where one of them has none."""

    def averaged(*batches: Sequence[Row]) -> Number:
        both = [sides(evidence, rows, name) for rows in batches]
        found = [NO_EFFECT if side is None else value(*side) for side in both]
        known = [v for v in found if not isinstance(v, Absent)]
        return mean(known) if len(known) == len(batches) else NO_EFFECT

    return evidence.per_seed(averaged, *b_batches(evidence))


def below(below: float, above: float) -> float:
    return below


def kept(below: float, above: float) -> Number:
    return above / below if below else NO_EFFECT


def gelu_near(rows: Sequence[Row]) -> Number:
    """Most monosemantic neurons at offsets within .5 of -1 over most elsewhere, less 1; mean over rates."""
    found = []
    for mine in by(rows, "lr"):
        mono = column(mine, "bias_offset", MONO)
        near = max(value for offset, value in mono.items() if abs(offset + 1) <= 0.5)
        elsewhere = max(value for offset, value in mono.items() if abs(offset + 1) > 0.5)
        found.append(near / elsewhere - 1 if elsewhere else np.inf if near else 0.0)
    return mean(found)


def by(rows: Sequence[Row], name: str) -> list[list[Row]]:
    return [[row for row in rows if row[name] == value] for value in sorted({row[name] for row in rows})]


# -- width


def fall_to_n(rows: Sequence[Row]) -> Number:
    return ranked({k: v for k, v in column(rows, "n_neurons", "loss").items() if k <= rows[0]["n_features"]})


def fall_beyond_n(rows: Sequence[Row]) -> Number:
    """Share of the whole fall of the loss that comes after k = N; no effect where it does not fall."""
    loss, n = column(rows, "n_neurons", "loss"), rows[0]["n_features"]
    first, last = loss[min(loss)], loss[max(loss)]
    return (loss[n] - last) / (first - last) if first > last else NO_EFFECT


def widths(low: float, high: float, negative: Sequence[Row], zero: Sequence[Row]) -> float:
    """Loss with negative over that with zero initial bias, less 1; mean over low·N ≤ k ≤ high·N."""
    n = negative[0]["n_features"]
    ratios = relative(negative, zero, "n_neurons", "loss")
    return mean([ratio - 1 for k, ratio in ratios.items() if low * n <= k <= high * n])


def peak_width(rows: Sequence[Row]) -> Number:
    """Octaves from N to the width with the largest monosemantic share of neurons."""
    shares = column(rows, "n_neurons", "mono_per_neuron")
    return octaves(shares, rows[0]["n_features"])


def octaves(values: Values, origin: float) -> Number:
    """From `origin` to where the values peak; no effect where they do not vary."""
    return float(np.log2(top(values) / origin)) if len(set(values.values())) > 1 else NO_EFFECT


def sparse_loss(rows: Sequence[Row]) -> float:
    """Loss of sparse over that of the dense network with as many weights, less 1; mean over densities."""
    loss = column(rows, "connectivity", "loss")
    return mean([value for density, value in loss.items() if density < 1]) / loss[1] - 1


# -- density


def density(rows: Sequence[Row]) -> Values:
    """Monosemantic neurons per feature against Nε/d."""
    return {e * rows[0]["n_features"] / rows[0]["d_embed"]: v for e, v in column(rows, "feature_prob", MONO).items()}


def peak_density(rows: Sequence[Row]) -> Number:
    return octaves(density(rows), 0.25)


def at_twice_d(rows: Sequence[Row]) -> float:
    return max(v for x, v in density(rows).items() if x >= 1.999)


def decline(rows: Sequence[Row]) -> Number:
    """Rank correlation with density from Nε = d/4 on."""
    return ranked({x: v for x, v in density(rows).items() if x >= 0.249})


def largest_step(rows: Sequence[Row]) -> Number:
    """Largest fall between neighbouring densities from the peak on, as a share of the peak; no effect where it
    does not fall."""
    values = density(rows)
    after = [v for x, v in values.items() if x >= top(values)]
    return float(-np.diff(after).min() / max(after)) if max(after) > after[-1] else NO_EFFECT


def recovered(slow: Sequence[Row], fast: Sequence[Row]) -> float:
    """Monosemantic neurons per feature that slow decay and long training add at the three sparsest densities."""
    a, b = density(slow), density(fast)
    return mean([a[x] - b[x] for x in [x for x in a if x in b][:3]])


# -- other tasks and regularisation


def mono_everywhere(rows: Sequence[Row]) -> float:
    return mean(list(column(rows, "lr", MONO).values()))


def mono_against_loss(rows: Sequence[Row], by: str) -> Number:
    mono, loss = column(rows, by, MONO), column(rows, by, "min_loss")
    return order(list(mono.values()), list(loss.values()))


def gain_of_rate(rows: Sequence[Row]) -> float:
    """Monosemantic neurons per feature, mean over all rates but the lowest, less those at the lowest: the best of
    several would be above one of them by chance."""
    lowest, *higher = column(rows, "lr", MONO).values()
    return mean(higher) - lowest


def l1_against_bias(l1: Sequence[Row], negative: Sequence[Row]) -> Number:
    """The most monosemantic L1 run of a loss within 5 % of the negative-bias one's, over that one."""
    loss, mono = (mean([row[name] for row in negative]) for name in ("loss", MONO))
    losses, monos = (column([row for row in l1 if row["l1"] > 0], "l1", name) for name in ("loss", MONO))
    within = [monos[k] for k in monos if losses[k] <= 1.05 * loss]
    return max(within, default=0.0) / mono if mono else NO_EFFECT

"""The numbers that claims are judged by: from the trials of a seed, or from all evidence, to one number per seed.

    Evidence -> a measure of this module -> claims.py names it, gives the paper's value and the accepted range

None means that the trials lack a part of what the number needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from monosweep.analysis.claims.evidence import Evidence, by_seed, column, top
from monosweep.analysis.families.two_layer.neurons import neuron_counts
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.jermyn2022.batches import SMALL, B, Scale
from monosweep.analysis.stats.ranks import correlation, rank_correlation

MONO = "mono_per_feature"
Values = dict[Any, float]


# -- over a column


def spread(rows: Sequence[Row], by: str, name: str) -> float | None:
    """Largest over smallest, less 1."""
    values = column(rows, by, name).values()
    return max(values) / min(values) - 1 if len(values) >= 3 else None


def trend(rows: Sequence[Row], by: str, name: str) -> float | None:
    return rank_correlation(column(rows, by, name))


def relative(rows: Sequence[Row], others: Sequence[Row], by: str, name: str) -> Values:
    """`rows` over `others` wherever both have the value of `by`."""
    a, b = column(rows, by, name), column(others, by, name)
    return {value: a[value] / b[value] for value in a if b.get(value)}


def mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


# -- learning rates


def with_one_owner(rows: Sequence[Row], among: Callable[[Sequence[int]], int]) -> float | None:
    """At the most monosemantic rate: features with exactly one monosemantic neuron, as a share of `among`."""
    rate = top(column(rows, "lr", MONO))
    counts = [row["features_by_n_mono"] for row in rows if row["lr"] == rate]
    shares = [c[1] / among(c) for c in counts if len(c) > 1 and among(c)]
    return mean(shares)


def owned(counts: Sequence[int]) -> int:
    return sum(counts[1:])


def lowest_mono(rows: Sequence[Row]) -> float | None:
    values = column(rows, "lr", MONO)
    return min(values.values()) if len(values) >= 3 else None


def loss_against_zero(negative: Sequence[Row], zero: Sequence[Row]) -> float | None:
    """Mean over rates of the loss with negative over that with zero initial bias, less 1."""
    ratios = relative(negative, zero, "lr", "loss")
    return float(np.mean(list(ratios.values()))) - 1 if len(ratios) >= 3 else None


def positive_beyond_d(evidence: Evidence[Scale]) -> list[float]:
    """Positive-bias neurons less d, mean over rates; at the small size up to .01."""
    highest = 0.0101 if evidence.size is SMALL else 1.0

    def beyond(rows: Sequence[Row]) -> float | None:
        counts = [v for lr, v in column(rows, "lr", "n_positive_bias").items() if lr < highest]
        return float(np.mean(counts)) - evidence.size.d_embed if counts else None

    return evidence.per_seed(beyond, "LR3")


def unused_at_top(rows: Sequence[Row]) -> float | None:
    """Share of unused neurons at the highest rate, less the largest share at the lower ones."""
    *lower, last = column(rows, "lr", "n_dead").values()
    return (last - max(lower)) / rows[0]["n_neurons"] if len(lower) >= 3 else None


def of_neurons(evidence: Evidence[Scale], share: Callable[[list[dict[str, Any]]], float | None]) -> list[float]:
    """`share` of LR3's neuron counts, per seed."""
    found = {row["trial_id"]: row for row in neuron_counts(evidence.root, evidence.batch("LR3"))}
    per_seed = [
        share([found[r["trial_id"]] for r in rows if r["trial_id"] in found])
        for _, rows in sorted(by_seed(evidence.batch("LR3")).items())
    ]
    return [value for value in per_seed if value is not None]


def pooled(name: str, among: str) -> Callable[[list[dict[str, Any]]], float | None]:
    def share(rows: list[dict[str, Any]]) -> float | None:
        total = sum(row[among] for row in rows)
        return sum(row[name] for row in rows) / total if total else None

    return share


def mono_bias(rows: list[dict[str, Any]]) -> float | None:
    """Median over trials of the median bias of monosemantic neurons."""
    medians = [row["mono_bias"] for row in rows if row["mono_bias"] is not None]
    return float(np.median(medians)) if medians else None


# -- initial bias


def b_batches(evidence: Evidence[Scale]) -> tuple[str, ...]:
    return B[:3] if evidence.size is SMALL else B


def sides(evidence: Evidence[Scale], rows: Sequence[Row], name: str) -> tuple[float, float] | None:
    """Means of `name` below and above -√ε, over trials that woke: fewer than half of the neurons dead."""
    edge = evidence.size.bias_threshold(rows[0]["feature_prob"])
    awake = [row for row in rows if 2 * row["n_dead"] < row["n_neurons"]]
    below = [row[name] for row in awake if row["bias_offset"] < edge]
    above = [row[name] for row in awake if row["bias_offset"] > edge]
    return (float(np.mean(below)), float(np.mean(above))) if below and above else None


def over_b(evidence: Evidence[Scale], name: str, value: Callable[[float, float], float | None]) -> list[float]:
    """Mean over the batches of B of `value(below, above)`, per seed."""

    def averaged(*batches: Sequence[Row]) -> float | None:
        both = [sides(evidence, rows, name) for rows in batches]
        found = [value(*side) for side in both if side is not None]
        known = [v for v in found if v is not None]
        return mean(known) if len(known) == len(batches) else None

    return evidence.per_seed(averaged, *b_batches(evidence))


def below(below: float, above: float) -> float:
    return below


def kept(below: float, above: float) -> float | None:
    return above / below if below else None


def gelu_peak(rows: Sequence[Row]) -> float | None:
    """Offset with most monosemantic neurons, mean over rates."""
    peaks = [top(column(same, "bias_offset", MONO)) for same in by(rows, "lr") if varied(same, "bias_offset")]
    return mean([float(peak) for peak in peaks])


def by(rows: Sequence[Row], name: str) -> list[list[Row]]:
    return [[row for row in rows if row[name] == value] for value in sorted({row[name] for row in rows})]


def varied(rows: Sequence[Row], name: str, least: int = 3) -> bool:
    return len({row[name] for row in rows}) >= least


# -- width


def fall_to_n(rows: Sequence[Row]) -> float | None:
    return rank_correlation({k: v for k, v in column(rows, "n_neurons", "loss").items() if k <= rows[0]["n_features"]})


def fall_beyond_n(rows: Sequence[Row]) -> float | None:
    """Share of the whole fall of the loss that comes after k = N."""
    loss, n = column(rows, "n_neurons", "loss"), rows[0]["n_features"]
    if n not in loss or max(loss) <= n or min(loss) >= n:
        return None
    first, last = loss[min(loss)], loss[max(loss)]
    return (loss[n] - last) / (first - last) if first != last else None


def widths(low: float, high: float, negative: Sequence[Row], zero: Sequence[Row]) -> float | None:
    """Loss with negative over that with zero initial bias, less 1; mean over low·N ≤ k ≤ high·N."""
    n = negative[0]["n_features"]
    ratios = relative(negative, zero, "n_neurons", "loss")
    found = [ratio - 1 for k, ratio in ratios.items() if low * n <= k <= high * n]
    return mean(found)


def peak_width(rows: Sequence[Row]) -> float | None:
    """Octaves from N to the width with the largest monosemantic share of neurons."""
    if not varied(rows, "n_neurons"):
        return None
    return float(np.log2(top(column(rows, "n_neurons", "mono_per_neuron")) / rows[0]["n_features"]))


def sparse_loss(sparse: Sequence[Row], dense: Sequence[Row]) -> float | None:
    """Loss of sparse over that of the dense network with as many weights, less 1; mean over densities."""
    weights = {round(row["n_neurons"] * row["connectivity"]) for row in sparse if row["connectivity"] < 1}
    base = [row["loss"] for row in dense if {row["n_neurons"]} == weights]
    losses = [row["loss"] for row in sparse if row["connectivity"] < 1]
    return float(np.mean(losses) / np.mean(base)) - 1 if base else None


# -- density


def density(rows: Sequence[Row]) -> Values:
    """Monosemantic neurons per feature against Nε/d."""
    return {e * rows[0]["n_features"] / rows[0]["d_embed"]: v for e, v in column(rows, "feature_prob", MONO).items()}


def peak_density(rows: Sequence[Row]) -> float | None:
    values = density(rows)
    return float(np.log2(top(values) / 0.25)) if len(values) >= 5 else None


def at_twice_d(rows: Sequence[Row]) -> float | None:
    values = [v for x, v in density(rows).items() if x >= 1.999]
    return max(values) if values else None


def decline(rows: Sequence[Row]) -> float | None:
    """Rank correlation with density from Nε = d/4 on."""
    return rank_correlation({x: v for x, v in density(rows).items() if x >= 0.249})


def largest_step(rows: Sequence[Row]) -> float | None:
    """Largest fall between neighbouring densities from the peak on, as a share of the peak."""
    values = density(rows)
    if len(values) < 5 or not max(values.values()):
        return None
    after = [v for x, v in values.items() if x >= top(values)]
    steps = -np.diff(after)
    return float(steps.max() / max(after)) if len(steps) else None


def recovered(slow: Sequence[Row], fast: Sequence[Row]) -> float | None:
    """Monosemantic neurons per feature that slow decay and long training add at the three sparsest densities."""
    a, b = density(slow), density(fast)
    common = [x for x in a if x in b][:3]
    return mean([a[x] - b[x] for x in common]) if len(common) == 3 else None


# -- other tasks and regularisation


def mono_everywhere(rows: Sequence[Row]) -> float | None:
    return mean(list(column(rows, "lr", MONO).values())) if varied(rows, "lr") else None


def mono_against_loss(rows: Sequence[Row], by: str) -> float | None:
    mono, loss = column(rows, by, MONO), column(rows, by, "min_loss")
    return correlation(list(mono.values()), list(loss.values()))


def gain_of_rate(rows: Sequence[Row]) -> float | None:
    """Monosemantic neurons per feature at the best rate less those at the lowest."""
    values = column(rows, "lr", MONO)
    return max(values.values()) - values[min(values)] if len(values) >= 3 else None


def l1_against_bias(l1: Sequence[Row], negative: Sequence[Row]) -> float | None:
    """The most monosemantic L1 run of a loss within 5 % of the negative-bias one's, over that one."""
    same = [row for row in negative if row["lr"] == l1[0]["lr"]]
    l1 = [row for row in l1 if row["l1"] > 0]
    if not same or not varied(l1, "l1"):
        return None
    loss, mono = (float(np.mean([row[name] for row in same])) for name in ("loss", MONO))
    within = [v for k, v in column(l1, "l1", MONO).items() if column(l1, "l1", "loss")[k] <= 1.05 * loss]
    return max(within, default=0.0) / mono if mono else None

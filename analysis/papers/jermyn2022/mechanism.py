"""The numbers of the paper's section 5: how the most monosemantic network of each seed works, from its weights.

Evidence -> of_best(a measure of this module) -> claims.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from monosweep.analysis.claims.evidence import MISSING, NO_EFFECT, Evidence, Number, by_seed
from monosweep.analysis.families.two_layer.mechanism import amplitudes, kinks, line, linear_map, part, split
from monosweep.analysis.families.two_layer.responses import network_config
from monosweep.analysis.papers.jermyn2022.batches import Scale


def of_best(evidence: Evidence[Scale], value: Callable[[Mapping[str, Any], Any], Number]) -> list[Number]:
    """`value(weights, config)` of LR3's most monosemantic trial, per seed."""
    found: list[Number] = []
    for _, rows in sorted(by_seed(evidence.batch("LR3")).items()):
        row = min(rows, key=lambda r: (-r["mono_per_feature"], r["trial_id"]))
        weights = evidence.weights(row)
        found.append(value(weights, network_config(row)) if weights else MISSING)
    return found


def kink(which: int, weights: Mapping[str, Any], config: Any) -> Number:
    """Mean of the first (0) or second (1) strength at which a monosemantic neuron of the feature wakes; the second
    of features with two."""
    wanted = [k[which] for k in kinks(weights, config) if len(k) == which + 1]
    return float(np.mean(wanted)) if wanted else NO_EFFECT


def poly_line(name: str, weights: Mapping[str, Any], config: Any) -> Number:
    half = split(weights).positive
    if not half.any():
        return NO_EFFECT
    fit = line(amplitudes(part(weights, half), config))
    share = config.d_embed / config.n_features
    return float({
        "slope": fit.slope.mean() / share, "varies": fit.slope.std(), "intercept": np.abs(fit.intercept).max(),
    }[name])  # fmt: skip


def rank(weights: Mapping[str, Any], config: Any) -> float:
    return linear_map(weights).rank / int(config.d_embed)


def unit(weights: Mapping[str, Any], config: Any) -> Number:
    """Root mean square distance from 1 of the singular values that are not near 0."""
    found = linear_map(weights)
    kept = found.singular_values[: found.rank]
    return float(np.sqrt(np.mean((kept - 1) ** 2))) if found.rank else NO_EFFECT


def constant(weights: Mapping[str, Any], config: Any) -> float:
    return float(np.abs(linear_map(weights).constant).max())

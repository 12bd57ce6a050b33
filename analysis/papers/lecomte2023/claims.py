"""The paper's findings as claims: how many neurons are polysemantic, and how that falls with the width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monosweep.analysis.claims.claim import AT_LEAST_NONE, SHARE, Accept, Claim, whole
from monosweep.analysis.claims.evidence import NO_EFFECT, Number, over, seeds
from monosweep.analysis.claims.study import Study
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.lecomte2023.batches import (
    KINDS,
    NOISE,
    NOISE_STDS,
    OVER_N,
    PAPER,
    SCALING,
    SIZES,
    SMALL,
    expected,
)
from monosweep.model.families.incidental.config import IncidentalConfig


def ratio(rows: Sequence[Row]) -> float:
    """How many polysemantic neurons there are for each one expected, mean over widths."""
    n = rows[0]["n_features"]
    return float(np.mean([count / expected(n, m) for m, count in _over_widths(rows, "n_poly").items()]))


def falls(rows: Sequence[Row]) -> Number:
    """How many there are in all widths from 4n on for each one at n; no effect where there is none to compare with."""
    found, n = _over_widths(rows, "n_poly"), rows[0]["n_features"]
    return sum(count for m, count in found.items() if m >= 4 * n) / found[n] if found[n] else NO_EFFECT


def represented(rows: Sequence[Row]) -> float:
    """Share of the features that some neuron represents, at the width at which it is least."""
    return min(_over_widths(rows, "n_represented").values()) / float(rows[0]["n_features"])


def by_bipolar(rows: Sequence[Row]) -> float:
    """Σ W_ik⁴ with bipolar noise over that with Gaussian noise."""
    kinds = [[row for row in rows if row["noise"] == kind] for kind in KINDS]
    bipolar, gaussian = (over(mine, "noise_std", "fourth_norm", NOISE_STDS) for mine in kinds)
    return float(np.mean([bipolar[std] / gaussian[std] for std in NOISE_STDS]))


def _over_widths(rows: Sequence[Row], name: str) -> dict[int, float]:
    """A number by width."""
    return over(rows, "n_neurons", name, [rows[0]["n_features"] * times for times in OVER_N])


def _at_both(accept: Accept) -> Mapping[str, Accept]:
    return {size.name: accept for size in SIZES}


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="n²/4m",
        finding="About n²/4m of m neurons become polysemantic although there are enough for all n features.",
        needs=whole(SCALING),
        effect=True,
        measure="polysemantic neurons over n²/4m, mean over widths",
        bounds=AT_LEAST_NONE,
        paper="about 1 (the line in its figure)",
        statistic=seeds(ratio, SCALING),
        accepted=_at_both(Accept(low=0.8, high=1.25, reason="the argument is to leading order; a fifth either way")),
    ),
    Claim(
        name="falls with width",
        finding="Their number falls as 1/m.",
        needs=whole(SCALING),
        effect=True,
        measure="polysemantic neurons at m = 4n, 8n and 16n together over those at m = n",
        bounds=AT_LEAST_NONE,
        paper="7/16",
        statistic=seeds(falls, SCALING),
        accepted=_at_both(Accept(low=0.31, high=0.62, reason="7/16 within a factor of √2; 3 if the width did nothing")),
    ),
    Claim(
        name="represented",
        finding="Every feature ends on a neuron.",
        needs=whole(SCALING),
        effect=False,
        measure="share of the features with a neuron, at the width at which it is least",
        bounds=SHARE,
        paper="1",
        statistic=seeds(represented, SCALING),
        accepted=_at_both(Accept(low=0.99, reason="all but one in a hundred")),
    ),
    Claim(
        name="bipolar noise",
        finding="Noise of negative excess kurtosis has features end on single neurons, Gaussian noise does not.",
        needs=whole(NOISE),
        effect=True,
        measure="Σ W_ik⁴ per feature with bipolar noise over that with Gaussian noise, mean over their widths",
        paper="about 1 over 3/m, the start's",
        statistic=seeds(by_bipolar, NOISE),
        accepted={SMALL.name: Accept(low=2, reason="twice as sparse; 1 if the kind of noise did nothing")},
        beyond={PAPER.name: "its size is that of incidental/noise"},
    ),
)
LECOMTE2023 = Study(
    name="lecomte2023", families=(IncidentalConfig.FAMILY,), sizes=SIZES, claims=CLAIMS
)  # fmt: skip

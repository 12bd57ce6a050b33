"""The paper's findings as claims: how many neurons are polysemantic, and how that falls with the width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from monosweep.analysis.claims.claim import Accept, Claim
from monosweep.analysis.claims.evidence import over, seeds
from monosweep.analysis.claims.study import Study
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.lecomte2023.batches import OVER_N, SCALING, SIZES, expected
from monosweep.model.families.incidental.config import IncidentalConfig


def ratio(rows: Sequence[Row]) -> float | None:
    """How many polysemantic neurons there are for each one expected, mean over widths."""
    found, n = _over_widths(rows, "n_poly"), rows[0]["n_features"]
    return None if found is None else float(np.mean([count / expected(n, m) for m, count in found.items()]))


def falls(rows: Sequence[Row]) -> float | None:
    """How many there are in all widths from 4n on for each one at n; nothing where there is none to compare with."""
    found, n = _over_widths(rows, "n_poly"), rows[0]["n_features"]
    if not found or not found[n]:
        return None
    return sum(count for m, count in found.items() if m >= 4 * n) / found[n]


def represented(rows: Sequence[Row]) -> float | None:
    """Share of the features that some neuron represents, at the width at which it is least."""
    found = _over_widths(rows, "n_represented")
    return None if found is None else min(found.values()) / float(rows[0]["n_features"])


def _over_widths(rows: Sequence[Row], name: str) -> dict[int, float] | None:
    """A number by width, of a seed that has all widths."""
    return over(rows, "n_neurons", name, [rows[0]["n_features"] * times for times in OVER_N])


def _at_both(accept: Accept) -> Mapping[str, Accept]:
    return {size.name: accept for size in SIZES}


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="n²/4m",
        finding="About n²/4m of m neurons become polysemantic although there are enough for all n features.",
        batches=(SCALING,),
        measure="polysemantic neurons over n²/4m, mean over widths",
        paper="about 1 (the line in its figure)",
        statistic=seeds(ratio, SCALING),
        accepted=_at_both(Accept(low=0.8, high=1.25, reason="the argument is to leading order; a fifth either way")),
    ),
    Claim(
        name="falls with width",
        finding="Their number falls as 1/m.",
        batches=(SCALING,),
        measure="polysemantic neurons at m = 4n, 8n and 16n together over those at m = n",
        paper="7/16",
        statistic=seeds(falls, SCALING),
        accepted=_at_both(Accept(low=0.31, high=0.62, reason="7/16 within a factor of √2; 3 if the width did nothing")),
    ),
    Claim(
        name="represented",
        finding="Every feature ends on a neuron.",
        batches=(SCALING,),
        measure="share of the features with a neuron, at the width at which it is least",
        paper="1",
        statistic=seeds(represented, SCALING),
        accepted=_at_both(Accept(low=0.99, reason="all but one in a hundred")),
    ),
)
LECOMTE2023 = Study(
    name="lecomte2023", families=(IncidentalConfig.FAMILY,), sizes=SIZES, claims=CLAIMS
)  # fmt: skip

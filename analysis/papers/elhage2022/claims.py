"""The findings as claims: what is represented, three phases, two plateaus; and a question that is open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monosweep.analysis.claims.claim import AT_LEAST_NONE, SHARE, Accept, Claim, Need, whole
from monosweep.analysis.claims.evidence import seeds
from monosweep.analysis.claims.study import Study
from monosweep.analysis.papers.elhage2022 import statistics as m
from monosweep.analysis.papers.elhage2022.batches import (
    CLUSTER,
    CORNERS,
    DENSE,
    GEOMETRY,
    INTRO,
    PAPER,
    PENTAGON,
    PHASE,
    PLATEAU,
    PLATEAUS,
    RESTARTS,
    SIZES,
    SMALL,
    SPARSE,
)  # fmt: skip
from monosweep.model.families.superposition.config import SuperpositionConfig

FEATURES = "the table features"
_LESS, _, _MORE = CORNERS


def _at_both(accept: Accept) -> Mapping[str, Accept]:
    return {size.name: accept for size in SIZES}


def _in_small(accept: Accept) -> Mapping[str, Accept]:
    return {SMALL.name: accept}


def _elsewhere(batch: str) -> Mapping[str, str]:
    return {PAPER.name: f"its size is that of {SMALL.name}/{batch}"}


def _at_probs(batch: str, *probs: float, seeds: int = 1) -> tuple[Need, ...]:
    return (Need(batch=batch, only={"feature_prob": probs}, seeds=seeds),)


def _at_corner(importance: float, prob: float) -> tuple[Need, ...]:
    return (Need(batch=PHASE, only={"last_importance": (importance,), "feature_prob": (prob,)}, seeds=RESTARTS),)


def _listed(probs: Sequence[float]) -> str:
    return ", ".join(f"{p:g}" for p in probs)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="dense features",
        finding="Where features are always there, the model represents as many as it has dimensions.",
        needs=_at_probs(INTRO, DENSE),
        effect=True,
        measure="features represented of 5 in 2 dimensions at p = 1",
        paper="2",
        statistic=seeds(m.at("n_represented", DENSE), INTRO),
        accepted=_in_small(Accept(low=1.9, high=2.1, reason="one in ten may have another number")),
        beyond=_elsewhere(INTRO),
    ),
    Claim(
        name="sparse features",
        finding="Where they are rare, it represents more.",
        needs=_at_probs(INTRO, DENSE, SPARSE),
        effect=True,
        measure="features represented of 5 in 2 dimensions at p = .05, less those at p = 1",
        paper="3",
        statistic=seeds(m.more_at("n_represented", SPARSE, DENSE), INTRO),
        accepted=_in_small(Accept(low=2.5, reason="in most trials all five for two; some stay with four")),
        beyond=_elsewhere(INTRO),
    ),
    Claim(
        name="pairs, pentagon",
        finding="Of five features in 2 dimensions four lie in antipodal pairs, and all in a pentagon as they get rare.",
        needs=_at_probs(PLATEAUS, *PLATEAU, *PENTAGON, seeds=RESTARTS),
        effect=True,
        measure=f"how far median D is from 1/2 at p = {_listed(PLATEAU)} and from 2/5 at {_listed(PENTAGON)}, at most",
        paper="0",
        statistic=m.off_plateaus({1 / 2: PLATEAU, 2 / 5: PENTAGON}),
        accepted=_in_small(Accept(high=0.01, reason="within .01")),
        beyond=_elsewhere(PLATEAUS),
        also=FEATURES,
    ),
    Claim(
        name="phase: left out",
        finding="A feature that counts little is not represented where features are dense.",
        needs=_at_corner(_LESS, 1.0),
        effect=True,
        measure="share of a dimension of the last feature at importance .1 and p = 1, the larger of 2 → 1 and 3 → 2",
        bounds=SHARE,
        paper="0",
        statistic=m.last_share(_LESS, 1.0, max),
        accepted=_in_small(Accept(high=0.05, reason="0 but for what training leaves")),
        beyond=_elsewhere(PHASE),
        also=FEATURES,
    ),
    Claim(
        name="phase: superposed",
        finding="Where features are sparse, two share one dimension as an antipodal pair.",
        needs=_at_corner(1.0, 0.01),
        effect=False,
        measure="share of a dimension of the last feature at importance 1 and p = .01 in 2 → 1",
        bounds=SHARE,
        paper="1/2",
        statistic=m.last_share(1.0, 0.01, lambda shares: shares[0]),
        accepted=_in_small(Accept(low=0.49, high=0.51, reason="within .01")),
        beyond=_elsewhere(PHASE),
        also=FEATURES,
    ),
    Claim(
        name="phase: dedicated",
        finding="A feature that counts much has a dimension of its own where features are dense.",
        needs=_at_corner(_MORE, 1.0),
        effect=True,
        measure="share of a dimension of the last feature at importance 10 and p = 1, the smaller of 2 → 1 and 3 → 2",
        bounds=SHARE,
        paper="1",
        statistic=m.last_share(_MORE, 1.0, min),
        accepted=_in_small(Accept(low=0.95, reason="1 but for what training leaves")),
        beyond=_elsewhere(PHASE),
        also=FEATURES,
    ),
    Claim(
        name="plateau at 1",
        finding="Dense features of equal importance have m / ‖W‖² of 1: a dimension for each that is represented.",
        needs=_at_probs(GEOMETRY, DENSE),
        effect=True,
        measure="m / ‖W‖² at p = 1",
        bounds=AT_LEAST_NONE,
        paper="1",
        statistic=seeds(m.at("dimensions_per_feature", DENSE), GEOMETRY),
        accepted=_at_both(Accept(low=0.95, high=1.05, reason="a twentieth either way")),
    ),
    Claim(
        name="plateau at 1/2",
        finding="Sparser ones stick at 1/2: two for each dimension.",
        needs=_at_probs(GEOMETRY, *PLATEAU),
        effect=False,
        measure=f"m / ‖W‖², mean over p = {_listed(PLATEAU)}",
        bounds=AT_LEAST_NONE,
        paper="1/2",
        statistic=seeds(m.at("dimensions_per_feature", *PLATEAU), GEOMETRY),
        accepted=_at_both(Accept(low=0.45, high=0.55, reason="a tenth either way")),
    ),
    Claim(
        name="antipodal pairs",
        finding="There features lie in antipodal pairs: each has 1/2 of a dimension.",
        needs=_at_probs(GEOMETRY, *PLATEAU),
        effect=False,
        measure=f"median D of features at p = {_listed(PLATEAU)}",
        bounds=SHARE,
        paper="1/2",
        statistic=m.median_share(GEOMETRY),
        accepted=_at_both(Accept(low=0.49, high=0.51, reason="within .01")),
        also=FEATURES,
    ),
    Claim(
        name="cluster at 4/9",
        finding="An open question: do dimensionalities cluster at 4/9?",
        needs=whole(CLUSTER),
        effect=False,
        measure="how densely D lies within .005 of 4/9 for how densely up to .025 from it",
        paper="not known; 1 if not",
        statistic=m.density_at_four_ninths,
        accepted=_at_both(Accept(low=2, reason="a cluster is twice as dense as what is around it")),
        also=FEATURES,
    ),
)
ELHAGE2022 = Study(name="elhage2022", families=(SuperpositionConfig.FAMILY,), sizes=SIZES, claims=CLAIMS)

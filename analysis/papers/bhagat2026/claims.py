"""Compressed computation and its refutation as claims: fewer neurons than features beat the naive solution, which
computes as many features as there are neurons and mixes none; but only as far as the stream mixes features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monosweep.analysis.claims.claim import CORRELATION, Accept, Claim
from monosweep.analysis.claims.evidence import over, seeds
from monosweep.analysis.claims.study import Study
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.bhagat2026.batches import CC, MIXING, SIZES
from monosweep.analysis.stats.ranks import rank_correlation
from monosweep.model.families.resid_mlp.config import ResidMlpConfig


def advantage(row: Row) -> float:
    """How much better than naive, as a share of the naive loss."""
    return 1 - float(row["loss"]) / float(row["naive_loss"])


def _over_mixing(rows: Sequence[Row]) -> dict[float, float] | None:
    return over([{**row, "advantage": advantage(row)} for row in rows], "mixing", "advantage", MIXING)


def whole(rows: Sequence[Row]) -> float | None:
    """The advantage of the model whose stream mixes as it does."""
    found = _over_mixing(rows)
    return None if found is None else found[1.0]


def without(rows: Sequence[Row]) -> float | None:
    """That of one whose stream mixes nothing, in parts of the whole one's."""
    found = _over_mixing(rows)
    return None if found is None else found[0.0] / found[1.0]


def follows(rows: Sequence[Row]) -> float | None:
    """Whether the advantage rises with the mixing."""
    found = _over_mixing(rows)
    return None if found is None else rank_correlation(found)


def _at_both(accept: Accept) -> Mapping[str, Accept]:
    return {size.name: accept for size in SIZES}


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="cc beats naive",
        finding="With half as many neurons as features the loss is below that of computing half (Braun et al.).",
        batches=(CC,),
        measure="1 - loss / naive loss at s = 1",
        paper="above 0",
        statistic=seeds(whole, CC),
        accepted=_at_both(Accept(low=0.05, reason="clear of what single trials differ by")),
    ),
    Claim(
        name="cc without mixing",
        finding="The advantage vanishes when the mixing matrix is removed.",
        batches=(CC,),
        measure="advantage at s = 0 over that at s = 1",
        paper="0",
        statistic=seeds(without, CC),
        accepted=_at_both(Accept(low=-0.15, high=0.15, reason="less than a sixth of it is left either way")),
    ),
    Claim(
        name="cc follows mixing",
        finding="The advantage scales with the magnitude of the mixing matrix.",
        batches=(CC,),
        measure="rank correlation of the advantage with s",
        bounds=CORRELATION,
        paper="1",
        statistic=seeds(follows, CC),
        accepted=_at_both(Accept(low=0.9, reason="of six values two neighbours may be exchanged")),
    ),
)
BHAGAT2026 = Study(name="bhagat2026", families=(ResidMlpConfig.FAMILY,), sizes=SIZES, claims=CLAIMS)

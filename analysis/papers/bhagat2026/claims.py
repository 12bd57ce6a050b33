"""Compressed computation and its refutation as claims: fewer neurons than features beat the naive solution, which
computes as many features as there are neurons and mixes none; but only as far as the stream mixes features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monosweep.analysis.claims.claim import CORRELATION, Accept, Claim, whole
from monosweep.analysis.claims.evidence import NO_EFFECT, Number, order, over, seeds
from monosweep.analysis.claims.study import Study
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.bhagat2026.batches import CC, MIXING, SIZES
from monosweep.model.families.resid_mlp.config import ResidMlpConfig


def advantage(row: Row) -> float:
    """How much better than naive, as a share of the naive loss."""
    return 1 - float(row["loss"]) / float(row["naive_loss"])


def _over_mixing(rows: Sequence[Row]) -> dict[float, float]:
    return over([{**row, "advantage": advantage(row)} for row in rows], "mixing", "advantage", MIXING)


def with_all(rows: Sequence[Row]) -> float:
    """The advantage of the model whose stream mixes as it does."""
    return _over_mixing(rows)[1.0]


def without(rows: Sequence[Row]) -> Number:
    """That of one whose stream mixes nothing, in parts of the whole one's; no effect where that has none."""
    found = _over_mixing(rows)
    return found[0.0] / found[1.0] if found[1.0] > 0 else NO_EFFECT


def follows(rows: Sequence[Row]) -> Number:
    """Whether the advantage rises with the mixing."""
    return order(*zip(*_over_mixing(rows).items(), strict=True))


def _at_both(accept: Accept) -> Mapping[str, Accept]:
    return {size.name: accept for size in SIZES}


CLAIMS: tuple[Claim, ...] = (
    Claim(
        name="cc beats naive",
        finding="With half as many neurons as features the loss is below that of computing half (Braun et al.).",
        needs=whole(CC),
        effect=False,
        measure="1 - loss / naive loss at s = 1",
        paper="above 0",
        statistic=seeds(with_all, CC),
        accepted=_at_both(Accept(low=0.05, reason="clear of what single trials differ by")),
    ),
    Claim(
        name="cc without mixing",
        finding="The advantage vanishes when the mixing matrix is removed.",
        needs=whole(CC),
        effect=True,
        measure="advantage at s = 0 over that at s = 1",
        paper="0",
        statistic=seeds(without, CC),
        accepted=_at_both(Accept(low=-0.15, high=0.15, reason="less than a sixth of it is left either way")),
    ),
    Claim(
        name="cc follows mixing",
        finding="The advantage scales with the magnitude of the mixing matrix.",
        needs=whole(CC),
        effect=True,
        measure="rank correlation of the advantage with s",
        bounds=CORRELATION,
        paper="1",
        statistic=seeds(follows, CC),
        accepted=_at_both(Accept(low=0.9, reason="of six values two neighbours may be exchanged")),
    ),
)
BHAGAT2026 = Study(name="bhagat2026", families=(ResidMlpConfig.FAMILY,), sizes=SIZES, claims=CLAIMS)

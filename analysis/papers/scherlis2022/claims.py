"""What the paper finds, claim by claim: of its Figure 4, where the optimum is known, and of its Figure 7.

Evidence -> statistics.py -> CLAIMS with their ranges -> SCHERLIS2022
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from monosweep.analysis.claims.claim import Accept, Claim, whole
from monosweep.analysis.claims.evidence import Number, seeds
from monosweep.analysis.claims.study import Study
from monosweep.analysis.knobs import Row
from monosweep.analysis.papers.scherlis2022 import statistics as m
from monosweep.analysis.papers.scherlis2022.batches import CAPACITY, FIG4, FIG7, MODELS


def _claim(
    name: str, finding: str, measure: str, paper: str, batch: str,
    value: Callable[[Sequence[Row]], Number], accept: Accept, effect: bool = True,
) -> Claim:  # fmt: skip
    """A claim on one batch, at the one size that there is."""
    return Claim(
        name=name, finding=finding, needs=whole(batch), effect=effect, measure=measure, paper=paper,
        statistic=seeds(value, batch), accepted={CAPACITY.name: accept},
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    _claim(
        "fig4 capacities", "Training allocates capacity as the closed form does (Fig. 4, eqs. 15-18).",
        "share of points with every capacity within .02 of it", "points on the curve", FIG4, m.near_optimum,
        Accept(low=0.95, reason="all but what a start in a bad place may spoil"), effect=False,
    ),
    _claim(
        "fig4 loss", "The loss that it reaches is the least.",
        "largest expected loss over the least, less 1", "0", FIG4, m.excess,
        Accept(high=0.01, reason="a hundredth; the capacities of such a loss are within .1 of the best ones"),
    ),
    _claim(
        "fig4 ignored", "The least important features are ignored.",
        "largest capacity below the lower threshold", "0", FIG4, m.ignored,
        Accept(high=m.NEAR, reason="no more than that a capacity counts as the same"),
    ),
    _claim(
        "fig4 whole", "The most important features have a dimension each.",
        "least capacity above the upper threshold", "1", FIG4, m.whole,
        Accept(low=1 - m.NEAR, reason="no less than that a capacity counts as the same"),
    ),
    _claim(
        "fig4 kurtosis", "Polysemanticity is more prevalent when the inputs have higher kurtosis.",
        "rank correlation of kurtosis and at how many importances the feature shares", "1", FIG4,
        m.sharing_by_kurtosis, Accept(low=0.95, reason="of four kurtoses no pair may break the order"),
    ),
    _claim(
        "fig4 efficient", "All capacity is used.",
        "largest distance of Σ C from the number of dimensions", "0", FIG4, m.wasted,
        Accept(high=0.05, reason="a hundredth for each dimension and a half"), effect=False,
    ),
    _claim(
        "fig4 one block", "The features that share are in one large block (section 4).",
        "share of points with all six in one, where all six share", "1", FIG4, m.in_one_block,
        Accept(low=0.9, reason="columns shorter than a tenth are in no block: some may be of the least importances"),
        effect=False,
    ),
    Claim(
        name="fig4 semi-orthogonal",
        finding="The blocks are multiples of semi-orthogonal matrices, each with a whole number of dimensions.",
        needs=whole(FIG4), effect=False, paper="1",
        measure="share of blocks with Σ C and singular values within .05 of that",
        statistic=m.efficient_blocks,
        accepted={CAPACITY.name: Accept(low=0.9, reason="a column shorter than a tenth is cut off its block")},
        also="rows in blocks",
    ),
    _claim(
        "fig7 closed form", "The same holds of models trained on samples (Fig. 7, quadratic).",
        "share of points, of kurtosis above 3.5, within .05 of the optimum", "the curve in the figure", FIG7,
        m.near_closed_form, Accept(low=0.9, reason="256 samples of the sparsest features leave .02 of noise"),
    ),
    _claim(
        "fig7 importance", "In all six models a feature has more capacity, the more important it is.",
        "rank correlation of importance and capacity, mean over sparsities, least of the panels", "clear in all", FIG7,
        m.more_for_importance, Accept(low=0.7, reason="a clear rank order; plateaus at none and at one are ties"),
    ),
    _claim(
        "fig7 sparsity", "Polysemanticity is more prevalent when the inputs are sparser.",
        "rank correlation of sparsity and the share of importances with C from .1 to .9, mean over panels", "clear",
        FIG7, m.sharing_by_sparsity, Accept(low=0.7, reason="a clear rank order in most of the panels"),
    ),
    _claim(
        "fig7 architectures", "It is more prevalent in some architectures than others.",
        "share of points with C from .1 to .9, largest less least of the six models in 3 dimensions", "not told", FIG7,
        m.architectures_differ, Accept(low=0.25, reason="chance alone makes .15 of 49 points, of 625 a quarter of it"),
    ),
    _claim(
        "fig7 blocks", "Blocks are large in the quadratic model and small in the one with ReLU outputs.",
        "features in the largest block, p ≤ .3, 3 dimensions: the one less the other", "one of all, and several", FIG7,
        m.block_sizes_differ, Accept(low=1.0, reason="a feature more, on average"),
    ),
)  # fmt: skip
SCHERLIS2022 = Study(name="scherlis2022", families=MODELS, sizes=(CAPACITY,), claims=CLAIMS)

"""What the paper finds, claim by claim: the measure, the paper's value, and the range that counts as the same.

    Evidence -> statistics.py, mechanism.py -> CLAIMS with their ranges -> JERMYN2022

The order is that of the paper's sections 3 to 5 (Jermyn, Schiefer and Hubinger, arXiv 2211.09169).  Ranges at the small
size differ where its shorter training (an eighth) and smaller batch do; the reason stands beside each.
"""

from __future__ import annotations

from functools import partial

from monosweep.analysis.claims.claim import AT_LEAST_NONE, CORRELATION, SHARE, Accept, Claim, Need, whole
from monosweep.analysis.claims.evidence import seeds
from monosweep.analysis.claims.study import Study
from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.papers.jermyn2022 import mechanism
from monosweep.analysis.papers.jermyn2022 import statistics as m
from monosweep.analysis.papers.jermyn2022.batches import SCALES, E

PER_FEATURE = "mono_per_feature"
NEURONS = "rows in neurons"
WEIGHTS = "weights (monosweep weights OUT --sweep NAME)"


def at_both(accept: Accept) -> dict[str, Accept]:
    """The same range at either size."""
    return {scale.name: accept for scale in SCALES}


B_BATCHES = (*whole("B1", "B2", "B3"), *(Need(batch=name, sizes=("paper",)) for name in ("B4", "B5")))
"""At the small size the sparser two barely begin to learn."""
_CLEAR = "a clear rank order; of six values four of the fifteen pairs may be the other way round"
RISES = Accept(low=0.7, reason=_CLEAR)
FALLS = Accept(high=-0.7, reason=_CLEAR)

CLAIMS = (
    # -- 1: the learning rate alone
    Claim(
        name="LR1 same loss",
        finding="The loss is the same at every learning rate.",
        needs=whole("LR1"),
        effect=False,
        measure="largest over smallest min. loss, less 1",
        bounds=AT_LEAST_NONE,
        paper="about 0",
        statistic=seeds(partial(m.spread, by="lr", name="min_loss"), "LR1"),
        accepted={
            "paper": Accept(high=0.03, reason="min. loss, because the last step's own carries the noise of peak rate"),
            "small": Accept(high=0.04, reason="as at the paper's size, and .01 for the noise of a smaller batch"),
        },
    ),
    Claim(
        name="LR1 more mono",
        finding="There are more monosemantic neurons at higher learning rates.",
        needs=whole("LR1"),
        effect=True,
        measure="rank correlation of lr and mono per feature",
        bounds=CORRELATION,
        paper="1",
        statistic=seeds(partial(m.trend, by="lr", name=PER_FEATURE), "LR1"),
        accepted=at_both(RISES),
    ),
    Claim(
        name="LR1 lower bias",
        finding="The mean bias is more negative at higher learning rates.",
        needs=whole("LR1"),
        effect=True,
        measure="rank correlation of lr and mean bias",
        bounds=CORRELATION,
        paper="-1",
        statistic=seeds(partial(m.trend, by="lr", name="mean_bias"), "LR1"),
        accepted=at_both(FALLS),
    ),
    Claim(
        name="LR1 all features",
        finding="At lr .03, 503 of 512 features have exactly one monosemantic neuron.",
        needs=whole("LR1"),
        effect=False,
        measure="share of features with exactly one, at the best lr",
        bounds=SHARE,
        paper=".982",
        statistic=seeds(partial(m.with_one_owner, among=sum), "LR1"),
        accepted={
            "paper": Accept(low=0.93, reason="the paper's one trial, and five times the features that it misses"),
            "small": Accept(
                low=0.35, reason="an eighth of the steps leaves about half of the neurons at .9 < r < .999"
            ),
        },
    ),
    Claim(
        name="LR1 one each",
        finding="Of the features with monosemantic neurons, nearly all have exactly one (503 of 508).",
        needs=whole("LR1"),
        effect=False,
        measure="share of such features with exactly one, at the best lr",
        bounds=SHARE,
        paper=".990",
        statistic=seeds(partial(m.with_one_owner, among=m.owned), "LR1"),
        accepted={
            "paper": Accept(low=0.95, reason="five times the paper's exceptions"),
            "small": Accept(low=0.9, reason="one in ten: half of the features have any, and each counts more"),
        },
    ),
    # -- 2: the bias
    Claim(
        name="LR3 mono bias sign",
        finding="Monosemantic neurons have a negative bias.",
        needs=whole("LR3"),
        effect=False,
        measure="share of monosemantic neurons with negative bias",
        bounds=SHARE,
        paper="1 (Fig. 5, 11)",
        statistic=partial(m.of_neurons, share=m.pooled("n_mono_negative", "n_mono")),
        accepted=at_both(Accept(low=0.95, reason="all but a few")),
        also=NEURONS,
    ),
    Claim(
        name="LR3 mono bias size",
        finding="That bias is moderate.",
        needs=whole("LR3"),
        effect=False,
        measure="median bias of monosemantic neurons",
        paper="moderate",
        statistic=partial(m.of_neurons, share=m.mono_bias),
        accepted=at_both(Accept(low=-0.8, high=-0.05, reason="less negative than where it started, and clear of 0")),
        also=NEURONS,
    ),
    Claim(
        name="LR3 poly bias sign",
        finding="Neurons of positive bias are polysemantic.",
        needs=whole("LR3"),
        effect=False,
        measure="polysemantic share of neurons with b > .05",
        bounds=SHARE,
        paper="1 (Fig. 5, 11)",
        statistic=partial(m.of_neurons, share=m.pooled("n_positive_poly", "n_positive")),
        accepted=at_both(Accept(low=0.95, reason="all but a few")),
        also=NEURONS,
    ),
    # -- 3: a negative initial bias
    Claim(
        name="LR3 mono",
        finding="Networks of negative initial bias are highly monosemantic at every learning rate.",
        needs=whole("LR3"),
        effect=False,
        measure="mono per feature at the least monosemantic lr",
        bounds=AT_LEAST_NONE,
        paper=".85",
        statistic=seeds(m.lowest_mono, "LR3"),
        accepted={
            "paper": Accept(low=0.7, reason="Figure 1's inset reads .85 to .95; seeds may fall below its least"),
            "small": Accept(
                low=0.25, reason="an eighth of the steps leaves about half of the neurons at .9 < r < .999"
            ),
        },
    ),
    Claim(
        name="LR3 loss",
        finding="Their loss is equal or slightly better.",
        needs=whole("LR3", "LR1"),
        effect=False,
        measure="loss over that of zero initial bias, less 1, mean over lr",
        paper="0 or slightly below",
        statistic=seeds(m.loss_against_zero, "LR3", "LR1"),
        accepted=at_both(Accept(low=-0.1, high=0.005, reason="half a percent is the noise of a window of 1,024 steps")),
    ),
    Claim(
        name="LR3 d + 1",
        finding="Exactly d + 1 neurons have a positive bias.",
        needs=whole("LR3"),
        effect=False,
        measure="neurons with b > .05, less d, mean over lr; in small over lr ≤ .01 alone",
        paper="1 (65 at d = 64)",
        statistic=m.positive_beyond_d,
        accepted={
            "paper": Accept(low=0.5, high=1.5, reason="exact, but for an odd trial"),
            "small": Accept(
                low=-1,
                high=3,
                reason="in short training many biases are near .05 above lr .01",
            ),
        },
    ),
    Claim(
        name="LR3 unused",
        finding="Only lr .03 also has unused neurons of large negative bias.",
        needs=whole("LR3"),
        effect=True,
        measure="unused share of neurons at lr .03, less the largest at lower lr",
        paper="above 0",
        statistic=seeds(m.unused_at_top, "LR3"),
        accepted={
            "paper": Accept(low=0.005, reason="six neurons more than anywhere else"),
            "small": Accept(low=0.005, reason="two neurons more than anywhere else"),
        },
    ),
    # -- 4: how negative
    Claim(
        name="B level",
        finding="Below a bias_offset of about -√ε, 30-50 % of neurons are monosemantic.",
        needs=B_BATCHES,
        effect=False,
        measure="monosemantic share of neurons below -√ε, mean over ε, of trials with under half of them dead",
        bounds=SHARE,
        paper=".3 to .5",
        statistic=partial(m.over_b, name="mono_per_neuron", value=m.below),
        accepted={
            "paper": Accept(low=0.25, high=0.55, reason="the paper's range, read off a figure"),
            "small": Accept(low=0.12, high=0.55, reason="of B1 to B3 alone: sparser ones barely begin"),
        },
    ),
    Claim(
        name="B drop",
        finding="It drops sharply above -√ε.",
        needs=B_BATCHES,
        effect=True,
        measure="that share above -√ε over that below, mean over ε, of the same trials",
        paper="near 0",
        statistic=partial(m.over_b, name="mono_per_neuron", value=m.kept),
        accepted=at_both(Accept(high=0.5, reason="less than half is left; offsets next to the edge are among them")),
    ),
    Claim(
        name="G3 peak",
        finding="With GeLU most neurons are monosemantic near a bias_offset of -1.",
        needs=whole("G3"),
        effect=True,
        measure="most mono per feature within .5 of -1 over the most at other offsets, less 1, mean over lr",
        paper="above 0",
        statistic=seeds(m.gelu_near, "G3"),
        accepted=at_both(Accept(low=0.05, reason="a twentieth more: a peak, and not a plateau that reaches past -1.5")),
    ),
    # -- 5: width
    Claim(
        name="K0 loss falls",
        finding="The loss falls with the width until k > N.",
        needs=whole("K0"),
        effect=True,
        measure="rank correlation of k and loss up to k = N",
        bounds=CORRELATION,
        paper="-1",
        statistic=seeds(m.fall_to_n, "K0"),
        accepted=at_both(Accept(high=-0.9, reason="of seven widths two pairs of neighbours may be exchanged")),
    ),
    Claim(
        name="K0 loss levels",
        finding="Beyond k = N it hardly falls any more.",
        needs=whole("K0"),
        effect=True,
        measure="share of the whole fall that comes after k = N",
        paper="near 0",
        statistic=seeds(m.fall_beyond_n, "K0"),
        accepted=at_both(Accept(low=-0.1, high=0.1, reason="a tenth of the fall is hardly any")),
    ),
    Claim(
        name="K1 narrow",
        finding="Negative initial bias costs nothing in narrow networks (k ≤ 128 = N/4).",
        needs=whole("K1", "K0"),
        effect=False,
        measure="loss over that of zero bias, less 1, k ≤ N/4",
        paper="0",
        statistic=seeds(partial(m.widths, 0, 0.25), "K1", "K0"),
        accepted={
            "paper": Accept(low=-0.02, high=0.02, reason="level to the eye"),
            "small": Accept(low=-0.03, high=0.03, reason="level to the eye, noisier batches"),
        },
    ),
    Claim(
        name="K1 middle",
        finding="It costs a little at k = 256-512 (N/2 to N).",
        needs=whole("K1", "K0"),
        effect=True,
        measure="the same, N/2 ≤ k ≤ N",
        paper="slightly above 0",
        statistic=seeds(partial(m.widths, 0.5, 1), "K1", "K0"),
        accepted=at_both(Accept(low=0.001, high=0.1, reason="worse, by a thousandth at least and a tenth at most")),
    ),
    Claim(
        name="K1 wide",
        finding="It helps above (k > N).",
        needs=whole("K1", "K0"),
        effect=True,
        measure="the same, k ≥ 2N",
        paper="below 0",
        statistic=seeds(partial(m.widths, 2, 99), "K1", "K0"),
        accepted=at_both(Accept(low=-0.2, high=-0.001, reason="better, by a thousandth at least")),
    ),
    Claim(
        name="K1 peak",
        finding="The monosemantic share of neurons peaks at k = N.",
        needs=whole("K1"),
        effect=True,
        measure="octaves from N to the width of its peak",
        paper="0",
        statistic=seeds(m.peak_width, "K1"),
        accepted=at_both(Accept(low=-0.5, high=0.5, reason="at N, or at the next width below, 3N/4")),
    ),
    # -- 6: sparse layers
    Claim(
        name="ER1 loss",
        finding="Erdős–Rényi-sparse layers lose to dense ones at equal compute.",
        needs=whole("ER1"),
        effect=True,
        measure="loss over that of the dense network with as many weights, less 1",
        paper="above 0",
        statistic=seeds(m.sparse_loss, "ER1"),
        accepted=at_both(Accept(low=0.001, reason="they lose, by a thousandth at least")),
    ),
    # -- 7: density
    Claim(
        name="E1 peak",
        finding="Monosemanticity peaks near ε = 2^-5, that is Nε = d/4.",
        needs=whole("E1"),
        effect=True,
        measure="octaves from Nε = d/4 to the peak of mono per feature",
        paper="0",
        statistic=seeds(m.peak_density, "E1"),
        accepted=at_both(Accept(low=-1, high=1, reason="within a factor of 2: near")),
    ),
    Claim(
        name="E1 decline",
        finding="It declines from Nε = d/4 on.",
        needs=whole("E1"),
        effect=True,
        measure="rank correlation of ε and mono per feature from there",
        bounds=CORRELATION,
        paper="-1",
        statistic=seeds(m.decline, "E1"),
        accepted=at_both(FALLS),
    ),
    Claim(
        name="E1 none",
        finding="Almost no neuron is monosemantic by Nε = 2d.",
        needs=whole("E1"),
        effect=True,
        measure="mono per feature at Nε ≥ 2d",
        bounds=AT_LEAST_NONE,
        paper="about 0",
        statistic=seeds(m.at_twice_d, "E1"),
        accepted=at_both(Accept(high=0.05, reason="one feature in twenty")),
    ),
    Claim(
        name="E1 smooth",
        finding="The decline is smooth.",
        needs=whole("E1"),
        effect=True,
        measure="largest fall from one ε to the next, as a share of the peak",
        paper="well below 1",
        statistic=seeds(m.largest_step, "E1"),
        accepted=at_both(Accept(high=0.5, reason="half octaves: no step takes more than half of the peak")),
    ),
    Claim(
        name="E3 recovers",
        finding="Where features are rare, slower decay and longer training recover monosemantic neurons.",
        needs=whole(E[2], E[0]),
        effect=True,
        measure="mono per feature of E3 less that of E1, three lowest ε",
        paper="above 0",
        statistic=seeds(m.recovered, "E3", "E1"),
        accepted={
            "paper": Accept(low=0.05, reason="one feature in twenty more"),
            "small": Accept(low=0.02, reason="four times the steps and not eight"),
        },
    ),
    # -- 8: other tasks and regularisation
    Claim(
        name="RP1 one each",
        finding="The re-projector has about one monosemantic neuron per feature.",
        needs=whole("RP1"),
        effect=False,
        measure="mono per feature, mean over lr",
        bounds=AT_LEAST_NONE,
        paper="about 1",
        statistic=seeds(m.mono_everywhere, "RP1"),
        accepted={
            "paper": Accept(low=0.7, high=1.4, reason="about one"),
            "small": Accept(
                low=0.25, high=1.4, reason="an eighth of the steps leaves half of the neurons short of .999"
            ),
        },
    ),
    Claim(
        name="LR5 loss",
        finding="In the absolute-value task more monosemantic networks have a lower loss.",
        needs=whole("LR5"),
        effect=True,
        measure="rank correlation of mono per feature and min. loss over lr",
        bounds=CORRELATION,
        paper="-1",
        statistic=seeds(partial(m.mono_against_loss, by="lr"), "LR5"),
        accepted=at_both(Accept(high=-0.5, reason="an order that some pairs may break")),
    ),
    Claim(
        name="D1 loss",
        finding="So they have when the decay varies.",
        needs=whole("D1"),
        effect=True,
        measure="rank correlation of mono per feature and min. loss over decays",
        bounds=CORRELATION,
        paper="-1",
        statistic=seeds(partial(m.mono_against_loss, by="bias_decay"), "D1"),
        accepted=at_both(Accept(high=-0.5, reason="an order that some pairs may break")),
    ),
    Claim(
        name="LR5 rate",
        finding="There a bias of -1 alone is not enough: it takes a higher learning rate,",
        needs=whole("LR5"),
        effect=True,
        measure="mono per feature, mean over the other lr, less that at the lowest",
        paper="above 0",
        statistic=seeds(m.gain_of_rate, "LR5"),
        accepted=at_both(Accept(low=0.1, reason="one feature in ten more")),
    ),
    Claim(
        name="D1 decay",
        finding="or a slower decay.",
        needs=whole("D1"),
        effect=True,
        measure="rank correlation of bias_decay and mono per feature",
        bounds=CORRELATION,
        paper="-1",
        statistic=seeds(partial(m.trend, by="bias_decay", name=PER_FEATURE), "D1"),
        accepted=at_both(Accept(high=-0.5, reason="an order that some pairs may break")),
    ),
    Claim(
        name="RG1 best",
        finding="The best L1 run is about as monosemantic as the negative-bias run.",
        needs=(*whole("RG1"), Need(batch="LR3", only={"lr": (0.005,)})),
        effect=False,
        measure="mono per feature of the best l1 of like loss, over that of bias -1",
        paper="about 1",
        statistic=seeds(m.l1_against_bias, "RG1", "LR3"),
        accepted={
            "paper": Accept(low=0.75, high=1.33, reason="within a third"),
            "small": Accept(low=0.5, high=2, reason="within a factor of 2: decades of l1 are a coarse grid"),
        },
    ),
    # -- the mechanism (the paper's section 5)
    Claim(
        name="first kink",
        finding="A feature with one monosemantic neuron is zero below a threshold of about .4.",
        needs=whole("LR3"),
        effect=False,
        measure="mean strength at which such a neuron wakes",
        paper=".4 at ε = 1/64",
        statistic=partial(mechanism.of_best, value=partial(mechanism.kink, 0)),
        accepted={
            "paper": Accept(low=0.3, high=0.5, reason="read off a figure"),
            "small": Accept(low=0.25, high=0.5, reason="half the N/d: less interference asks for a lower threshold"),
        },
        also=WEIGHTS,
    ),
    Claim(
        name="second kink",
        finding="With two neurons the second sets in at about .8.",
        needs=whole("LR3"),
        effect=False,
        measure="mean strength at which the second one wakes",
        paper=".8 at ε = 1/64",
        statistic=partial(mechanism.of_best, value=partial(mechanism.kink, 1)),
        accepted={"paper": Accept(low=0.6, high=0.95, reason="read off a figure")},
        beyond={"small": "too few features have two monosemantic neurons at the small size"},
        also=WEIGHTS,
    ),
    Claim(
        name="poly slope",
        finding="Together the positive-bias neurons are linear with a slope of about d/N.",
        needs=whole("LR3"),
        effect=False,
        measure="mean slope over d/N",
        paper=".7 to 1.3 (.09 to .16)",
        statistic=partial(mechanism.of_best, value=partial(mechanism.poly_line, "slope")),
        accepted=at_both(Accept(low=0.7, high=1.3, reason="the paper's range of slopes")),
        also=WEIGHTS,
    ),
    Claim(
        name="poly slope varies",
        finding="The slope hardly varies over features.",
        needs=whole("LR3"),
        effect=False,
        measure="standard deviation of the slopes",
        bounds=AT_LEAST_NONE,
        paper="below .01",
        statistic=partial(mechanism.of_best, value=partial(mechanism.poly_line, "varies")),
        accepted={
            "paper": Accept(high=0.015, reason="the paper's bound and half as much again"),
            "small": Accept(high=0.07, reason="P's own columns overlap unevenly at N 128, and training is short"),
        },
        also=WEIGHTS,
    ),
    Claim(
        name="poly intercept",
        finding="Its intercept is about 0.",
        needs=whole("LR3"),
        effect=False,
        measure="largest intercept",
        paper="below .005",
        statistic=partial(mechanism.of_best, value=partial(mechanism.poly_line, "intercept")),
        accepted={
            "paper": Accept(high=0.0075, reason="the paper's bound and half as much again"),
            "small": Accept(high=0.04, reason="an eighth of the steps: some kinks still lie inside [0, 1]"),
        },
        also=WEIGHTS,
    ),
    Claim(
        name="poly rank",
        finding="Their map L2₊ L1₊ P is an identity of rank d or less:",
        needs=whole("LR3"),
        effect=False,
        measure="singular values above .1, over d",
        paper="1 or less",
        statistic=partial(mechanism.of_best, value=mechanism.rank),
        accepted=at_both(Accept(low=0.8, high=1, reason="at most d, and not far fewer")),
        also=WEIGHTS,
    ),
    Claim(
        name="poly identity",
        finding="its other singular values are all 1.",
        needs=whole("LR3"),
        effect=False,
        measure="root mean square distance of these from 1",
        bounds=AT_LEAST_NONE,
        paper=".99 to 1.03",
        statistic=partial(mechanism.of_best, value=mechanism.unit),
        accepted={
            "paper": Accept(high=0.03, reason="the paper's largest distance"),
            "small": Accept(high=0.12, reason="an eighth of the steps: they have not settled"),
        },
        also=WEIGHTS,
    ),
    Claim(
        name="poly constant",
        finding="The constant L2₊ b₊ is about 0.",
        needs=whole("LR3"),
        effect=False,
        measure="its largest entry",
        paper="below .005",
        statistic=partial(mechanism.of_best, value=mechanism.constant),
        accepted={
            "paper": Accept(high=0.0075, reason="the paper's bound and half as much again"),
            "small": Accept(high=0.01, reason="the paper's bound at d/N twice as large"),
        },
        also=WEIGHTS,
    ),
)

JERMYN2022 = Study(name="jermyn2022", families=(FAMILY,), sizes=SCALES, claims=CLAIMS)

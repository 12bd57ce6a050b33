"""The numbers of a two-layer toy model that figures show, and the two colours of its neurons."""

from __future__ import annotations

from monosweep.analysis.figures.data import Metric
from monosweep.analysis.figures.style import COLOURS
from monosweep.analysis.figures.traces import Curve

PER_FEATURE = Metric(name="mono_per_feature", label="monosemantic neurons\nper feature", from_zero=True)
PER_NEURON = Metric(name="mono_per_neuron", label="monosemantic share\nof neurons")
LOSS = Metric(name="loss", label="task loss\n(squared error per sample)")
CURVES = (
    Curve(name="loss", column="loss", label=LOSS.label),
    Curve(name="mono_per_feature", column="n_mono", per="n_features", label=PER_FEATURE.label),
    Curve(name="mean_bias", column="mean_bias", label="mean bias"),
)
MONO, POLY = COLOURS[1], COLOURS[0]

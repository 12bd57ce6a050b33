"""The figures of a two-layer toy model by name: what each shows, and its painter."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from monosweep.analysis.families.two_layer.bias import bias, bias_info
from monosweep.analysis.families.two_layer.capacity import capacity, capacity_info
from monosweep.analysis.families.two_layer.metrics import CURVES, LOSS, PER_FEATURE, PER_NEURON
from monosweep.analysis.families.two_layer.response_map import response, response_info
from monosweep.analysis.families.two_layer.summary import summary, summary_info
from monosweep.analysis.figures.data import Data
from monosweep.analysis.figures.means import MeansInfo, means, means_info
from monosweep.analysis.figures.points import PointsInfo, points, points_info
from monosweep.analysis.figures.traces import TracesInfo, traces, traces_info
from monosweep.analysis.knobs import named


def training_info(data: Data) -> TracesInfo:
    """Loss, monosemantic neurons and mean bias over training (Figures 3 and 7)."""
    return traces_info(data, CURVES)


def mono_info(data: Data) -> PointsInfo:
    """Monosemantic neurons and loss against a knob (Figures 8, 13, 17 and 18)."""
    return points_info(data, (PER_FEATURE, PER_NEURON, LOSS))


def mono(info: PointsInfo) -> Figure:
    """Monosemantic neurons per feature and per neuron."""
    return points(info, (PER_FEATURE, PER_NEURON), f"Monosemantic neurons against {named(info.by)}")


def mono_means_info(data: Data) -> MeansInfo:
    """Monosemantic neurons and loss, as means over seeds with their intervals."""
    return means_info(data, (PER_FEATURE, LOSS))


def mono_means(info: MeansInfo) -> Figure:
    return means(info, (PER_FEATURE, LOSS))


FIGURES: dict[str, Callable[[Data], Figure]] = {
    "summary": lambda data: summary(summary_info(data)),
    "traces": lambda data: traces(training_info(data)),
    "mono": lambda data: mono(mono_info(data)),
    "means": lambda data: mono_means(mono_means_info(data)),
    "bias": lambda data: bias(bias_info(data)),
    "response": lambda data: response(response_info(data)),
    "capacity": lambda data: capacity(capacity_info(data)),
}

"""What the paper's figures draw, as numbers small enough to be read and compared: typed infos to plain JSON.

    info_of(fig1 … fig26) -> plain -> small.py

Curves and points stand as they are drawn, to four digits; what is drawn neuron by neuron or feature by feature
(figures 2, 4, 10, 20 and 24 to 26) stands as quantiles and means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import singledispatch
from typing import Any

import numpy as np

from monosweep.analysis.families.two_layer.bias import BiasPanel
from monosweep.analysis.families.two_layer.response_map import Map
from monosweep.analysis.figures.data import Data
from monosweep.analysis.figures.points import Series
from monosweep.analysis.figures.traces import Panel, Trace, TracesInfo
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers.jermyn2022.amplitude import OWNERS, AmplitudeInfo
from monosweep.analysis.papers.jermyn2022.cdf import CdfInfo
from monosweep.analysis.papers.jermyn2022.figures import NUMBERED, info_of
from monosweep.analysis.papers.jermyn2022.linear import LinearInfo

QUANTILES = np.linspace(0, 1, 21)
EVERY = 10
"""Of the strengths of figures 24 and 25."""


def numbers_of(data: Data) -> dict[str, Any]:
    """Every figure by name; of one that the tables cannot carry, why."""
    return {name: _numbers(name, data) for name in NUMBERED}


def _numbers(name: str, data: Data) -> Any:
    try:
        return plain(info_of(name, data))
    except FigureError as error:
        return {"missing": str(error)}


@singledispatch
def plain(value: Any) -> Any:
    """`value` in lists, dictionaries and rounded numbers; NaN as None."""
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(one) for one in value]
    if isinstance(value, (float, np.floating)):
        return _rounded(float(value))
    return value.item() if isinstance(value, np.generic) else value


def _rounded(value: float) -> float | None:
    if not np.isfinite(value):
        return None
    return int(value) if value.is_integer() else float(f"{value:.4g}")  # a step keeps all of its digits


@plain.register
def _(info: TracesInfo) -> Any:
    return plain({"by": info.by, "panels": info.panels})


@plain.register
def _(trace: Trace) -> Any:
    return plain({"steps": trace.steps} | trace.curves)


@plain.register
def _(series: Series) -> Any:
    medians = {f"median_{name}": values for name, values in series.medians.items()}
    return plain({"label": series.label, "x": series.x} | series.points | {"values": series.values} | medians)


@plain.register
def _(panel: Panel) -> Any:
    seeds = {value: len(traces) for value, traces in panel.seeds.items()}
    return plain({"title": panel.title, "seeds": seeds, "median": panel.median})


@plain.register
def _(info: CdfInfo) -> Any:
    steps = {step: np.quantile(r, QUANTILES) for step, r in info.r.items()}
    return plain({"title": info.title, "quantiles of r by step": steps})


@plain.register
def _(panel: BiasPanel) -> Any:
    kinds = {"monosemantic": panel.mono, "dead": panel.dead, "polysemantic": ~(panel.mono | panel.dead)}
    return plain({"title": panel.title} | {f"bias of {kind}": panel.bias[mask] for kind, mask in kinds.items()})


@plain.register
def _(one: Map) -> Any:
    shown = one.shown
    strongest = np.quantile(shown.response.max(axis=1), QUANTILES)
    counts = {"shape": shown.response.shape, "n_mono": shown.n_mono}
    quantiles = {"quantiles of r": np.quantile(shown.r, QUANTILES), "quantiles of the largest response": strongest}
    return plain({"title": one.title} | counts | quantiles)


@plain.register
def _(info: AmplitudeInfo) -> Any:
    owners = np.minimum(info.n_owners, len(OWNERS) - 1)
    parts = {"whole": info.whole, "mono": info.mono, "poly": info.poly}
    by_owners = {
        OWNERS[n][0]: {"features": int((owners == n).sum())}
        | {part: said[::EVERY, owners == n].mean(axis=1) for part, said in parts.items()}
        for n in np.unique(owners)
    }
    kinks = {"first_kink": info.first_kink, "second_kink": info.second_kink}
    strengths = {"strengths": info.strengths[::EVERY]}
    return plain({"title": info.title} | kinks | strengths | {"mean output by monosemantic neurons": by_owners})


@plain.register
def _(info: LinearInfo) -> Any:
    diagonal = np.diag(info.matrix)
    rest = info.matrix[~np.eye(len(info.matrix), dtype=bool)]
    entries = {name: {"mean": part.mean(), "sd": part.std()} for name, part in (("diagonal", diagonal), ("rest", rest))}
    return plain({"title": info.title} | entries | {"singular values": info.singular_values[: info.d_embed + 2]})

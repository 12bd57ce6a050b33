"""The paper's figures by number, `fig1` to `fig26`: which batches each shows, at whichever size is there.

    Data -> the batch's trials -> an info (of the family's figures, or of a file beside this one) -> its painter

A figure takes the paper's size where the tables hold trials of its batches, else the small one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from monosweep.analysis.families.two_layer.bias import bias, bias_info
from monosweep.analysis.families.two_layer.figures import mono, mono_info, training_info
from monosweep.analysis.families.two_layer.response_map import response, response_info
from monosweep.analysis.figures.data import Data
from monosweep.analysis.figures.style import headed
from monosweep.analysis.figures.traces import traces
from monosweep.analysis.knobs import FigureError, Row, by_value
from monosweep.analysis.papers.jermyn2022.amplitude import amplitude, amplitude_info
from monosweep.analysis.papers.jermyn2022.batches import SCALES, B, E, Scale
from monosweep.analysis.papers.jermyn2022.cdf import cdf, cdf_info
from monosweep.analysis.papers.jermyn2022.linear import linear, linear_info
from monosweep.analysis.papers.jermyn2022.plane import plane, plane_info


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to show trials: what it shows, and its painter."""

    info: Callable[[Data, Scale], Any]
    paint: Callable[[Any], Figure]


def _of_any_size(info: Callable[[Data], Any], paint: Callable[[Any], Figure]) -> Kind:
    return Kind(lambda data, scale: info(data), paint)


TRACES = _of_any_size(training_info, traces)
MONO = _of_any_size(mono_info, mono)
MAPS = _of_any_size(response_info, response)
BIAS = _of_any_size(bias_info, bias)
CDF = _of_any_size(cdf_info, cdf)
PLANE = Kind(plane_info, plane)
AMPLITUDE = _of_any_size(amplitude_info, amplitude)
LINEAR = _of_any_size(linear_info, linear)


# -- which trials


Choice = Callable[[list[Row], Scale], list[Row]]


def _all(rows: list[Row], scale: Scale) -> list[Row]:
    return rows


def _contrast(rows: list[Row], scale: Scale) -> list[Row]:
    """The trials at the lowest rate and at the most monosemantic one."""
    rates = by_value(rows, "lr")
    top = max(rates, key=lambda lr: float(np.median([row["mono_per_feature"] for row in rates[lr]])))
    return [row for lr in {min(rates), top} for row in rates[lr]]


def _at_l1_rate(rows: list[Row], scale: Scale) -> list[Row]:
    """RG1 and, of LR3, the trials at RG1's own rate: the unregularised comparison."""
    rate = scale.batches["RG1"].base["lr"]
    return [row for row in rows if row["lr"] == rate]


def _sparser(rows: list[Row], scale: Scale) -> list[Row]:
    """The trials at a quarter of the usual ε."""
    wanted = scale.base["feature_prob"] / 4
    return [row for row in rows if abs(row["feature_prob"] / wanted - 1) < 1e-4]


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbered:
    """One figure of the paper."""

    kind: Kind
    batches: tuple[str, ...]
    by: str
    choice: Choice = _all
    one_by_one: bool = False
    """Whether every value of the axis is a group, a panel each."""

    def trials(self, rows: Sequence[Row]) -> tuple[list[Row], Scale] | None:
        """Its trials at the first size that has some."""
        for scale in SCALES:
            mine = [r for r in rows if any(scale.batches[name].holds(r) for name in self.batches)]
            if mine and (chosen := self.choice(mine, scale)):
                return chosen, scale
        return None


def _traces(*batches: str, by: str = "lr", choice: Choice = _all) -> Numbered:
    return Numbered(kind=TRACES, batches=batches, by=by, choice=choice)


def _mono(*batches: str, by: str) -> Numbered:
    return Numbered(kind=MONO, batches=batches, by=by)


def _networks(kind: Kind, batch: str) -> Numbered:
    return Numbered(kind=kind, batches=(batch,), by="lr", choice=_contrast, one_by_one=True)


NUMBERED: dict[str, Numbered] = {
    "fig1": _traces("LR1", "LR3"),
    "fig2": Numbered(kind=CDF, batches=("LR1",), by="lr"),
    "fig3": _traces("LR1"),
    "fig4": _networks(MAPS, "LR1"),
    "fig5": _networks(BIAS, "LR1"),
    "fig6": _traces("LR2"),
    "fig7": _traces("LR3"),
    "fig8": _mono(*B, by="bias_offset"),
    "fig9": Numbered(kind=PLANE, batches=B, by="bias_offset"),
    "fig10": _networks(MAPS, "LR3"),
    "fig11": _networks(BIAS, "LR3"),
    "fig12": _traces("LR4"),
    "fig13": _mono("G3", by="bias_offset"),
    "fig14": _traces("K0", by="n_neurons"),
    "fig15": _traces("K1", by="n_neurons"),
    "fig16": _traces("K2", by="n_neurons"),
    "fig17": _mono("K0", "K1", "K2", by="n_neurons"),
    "fig18": _mono(*E, by="feature_prob"),
    "fig19": _traces("RP1"),
    "fig20": _networks(MAPS, "RP1"),
    "fig21": _traces("LR5"),
    "fig22": _traces("D1", by="bias_decay"),
    "fig23": _traces("RG1", "LR3", by="l1", choice=_at_l1_rate),
    "fig24": Numbered(kind=AMPLITUDE, batches=("LR3",), by="lr"),
    "fig25": Numbered(kind=AMPLITUDE, batches=E, by="feature_prob", choice=_sparser),
    "fig26": Numbered(kind=LINEAR, batches=("LR3",), by="lr"),
}
"""The paper's numbers (section 7 of its description here); the batches behind each follow its sections."""


def info_of(name: str, data: Data, by: str | None = None) -> Any:
    """What figure `name` shows of `data`; `by` overrules the axis.

    Raises:
        FigureError: if the tables lack its data; one line with the presets that would give it.
    """
    figure = NUMBERED[name]
    rows, scale = _shown_by(name, data)
    axis = "seed" if figure.one_by_one else by or figure.by
    try:
        return figure.kind.info(data.only(rows, axis), scale)
    except FigureError as error:
        raise FigureError(f"{name}: {error}") from None


def _shown_by(name: str, data: Data) -> tuple[list[Row], Scale]:
    """Its trials, of whichever size is there; a trial asked for may belong to no batch."""
    figure = NUMBERED[name]
    found = figure.trials(data.rows)
    if found is None and data.trial is None:
        batches = " and ".join(figure.batches)
        presets = " or ".join(f"small/{batch}" for batch in figure.batches)
        raise FigureError(f"{name} shows {batches}, of which no trial is here; launch {presets}")
    return found or ([data.trial or {}], SCALES[-1])


def paint(name: str, data: Data, by: str | None = None) -> Figure:
    """Figure `name`, headed by its number and what it shows; raises as `info_of` does."""
    figure = NUMBERED[name].kind.paint(info_of(name, data, by))
    number = f"Figure {name.removeprefix('fig')}"
    if data.trial is not None:
        return headed(figure, number)
    batches = ", ".join(NUMBERED[name].batches)
    return headed(figure, f"{number}: {batches} at the {_shown_by(name, data)[1].name} size")

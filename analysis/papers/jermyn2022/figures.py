"""The paper's figures by number, `fig1` to `fig26`: which batches each shows, at whichever size is there.

    Data -> the batch's trials -> an info (of analysis/figures.py or below) -> drawing.py

A figure takes the paper's size where the tables hold trials of its batches, else the small one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monosweep.analysis.families.two_layer.mechanism import AMPLITUDES, amplitudes, kinks, linear_map, part, split
from monosweep.analysis.figures.data import (
    Array,
    Data,
    bias_info,
    mono_info,
    response_info,
    title_of,
    traces_info,
)  # fmt: skip
from monosweep.analysis.knobs import FigureError, Row, best, by_value, shown
from monosweep.analysis.papers.jermyn2022.batches import SCALES, B, E, Scale
from monosweep.analysis.tables.storage import quoted
from monosweep.sweep.store.schema import config_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_CHECKPOINTS = 9


# -- the distribution of r over checkpoints (figure 2)


@dataclass(frozen=True, slots=True)
class CdfInfo:
    """r of every neuron, ascending, at each recorded step of one trial."""

    title: str
    r: dict[int, Array]
    threshold: float


def cdf_info(data: Data) -> CdfInfo:
    """How r spreads out over training.

    Raises:
        FigureError: if neurons are recorded at the end only.
    """
    row = data.trial or best(data.rows)
    found = data.root.sql(
        f"SELECT step, list(r ORDER BY r) AS r FROM neurons WHERE trial_id = {quoted(row['trial_id'])} "
        "GROUP BY step ORDER BY step"
    ).to_pylist()
    if len(found) < 2:
        raise FigureError("it needs r at several steps; launch with `record_neurons: log2`")
    kept = found[-MOST_CHECKPOINTS:]  # before, r is still that of the initial weights
    curves = {int(point["step"]): np.array(point["r"], dtype=np.float64) for point in kept}
    return CdfInfo(title_of("", row, data.by), curves, row["mono_threshold"])


# -- the plane of bias_offset and ε (figure 9)


@dataclass(frozen=True, slots=True)
class PlaneInfo:
    """Medians over seeds; (ε, offset) matrices with NaN where no trial is, and the curve that divides them."""

    offsets: Array
    probs: Array
    mono_per_neuron: Array
    mono_per_feature: Array
    curve: Array
    """-√ε at each of `probs`, as `Scale.bias_threshold` puts it."""


def plane_info(data: Data, scale: Scale) -> PlaneInfo:
    """Monosemanticity over the initial bias and the density of features."""
    offsets, probs = (sorted({row[name] for row in data.rows}) for name in ("bias_offset", "feature_prob"))
    cells = {
        (prob, offset): same
        for prob, line in by_value(data.rows, "feature_prob").items()
        for offset, same in by_value(line, "bias_offset").items()
    }

    def matrix(name: str) -> Array:
        return np.array(
            [
                [np.median([r[name] for r in cells[p, o]]) if (p, o) in cells else np.nan for o in offsets]
                for p in probs
            ]
        )

    curve = np.array([scale.bias_threshold(prob) for prob in probs])
    return PlaneInfo(
        np.array(offsets), np.array(probs), matrix("mono_per_neuron"), matrix("mono_per_feature"), curve
    )


# -- amplitudes (figures 24 and 25)


@dataclass(frozen=True, slots=True)
class AmplitudeInfo:
    """What whole, negative-bias (monosemantic) and positive-bias (polysemantic) part say of each feature alone."""

    title: str
    strengths: Array
    whole: Array
    """(strengths, n_features), as the two below; they add up to it."""
    mono: Array
    poly: Array
    n_owners: NDArray[np.intp]
    """Monosemantic neurons of each feature."""
    first_kink: float
    """Mean over the features with one or more monosemantic neurons; NaN if there is none."""
    second_kink: float
    """Mean over the features with two or more."""


def amplitude_info(data: Data) -> AmplitudeInfo:
    """Output against input amplitude of the most monosemantic trial with saved weights."""
    title, row = _with_weights(data)
    weights, config = data.root.weights(row["trial_id"]), config_of(row)
    halves, found = split(weights), kinks(weights, config)
    return AmplitudeInfo(
        title=title,
        strengths=AMPLITUDES,
        whole=amplitudes(weights, config),
        mono=amplitudes(part(weights, halves.negative), config),
        poly=amplitudes(part(weights, halves.positive), config),
        n_owners=np.array([len(k) for k in found]),
        first_kink=_mean([k[0] for k in found if len(k) >= 1]),
        second_kink=_mean([k[1] for k in found if len(k) >= 2]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


# -- the polysemantic map (figure 26)


@dataclass(frozen=True, slots=True)
class LinearInfo:
    title: str
    matrix: Array
    """L2₊ L1₊ P."""
    singular_values: Array
    d_embed: int


def linear_info(data: Data) -> LinearInfo:
    """The linearised positive-bias half of the most monosemantic trial with saved weights."""
    title, row = _with_weights(data)
    found = linear_map(data.root.weights(row["trial_id"]))
    return LinearInfo(title, found.matrix, found.singular_values, row["d_embed"])


def _with_weights(data: Data) -> tuple[str, Row]:
    """The trial asked for, or the most monosemantic one whose weights are saved."""
    saved = data.root.with_weights({row["sweep"] for row in data.rows})
    kept = [data.trial] if data.trial else [r for r in data.rows if (r["sweep"], r["pack_id"]) in saved]
    if not kept:
        raise FigureError("its trials saved no weights; launch with `save_weights: final`")
    row = best(kept)
    # the axis's value alone does not name a trial of several batches
    knobs = ", ".join(f"{words} {shown(name, row[name])}" for name, words in _NAMING.items())
    return f"{knobs}, seed {row['seed']}", row


_NAMING = {"lr": "lr", "bias_offset": "bias offset", "feature_prob": "ε"}


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

    batches: tuple[str, ...]
    by: str
    painter: str
    """Function of drawing.py."""
    info: Callable[[Data, Scale], Any]
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


def _plain(info: Callable[[Data], Any]) -> Callable[[Data, Scale], Any]:
    return lambda data, scale: info(data)


def _traces(*batches: str, by: str = "lr", choice: Choice = _all) -> Numbered:
    return Numbered(batches=batches, by=by, painter="traces", info=_plain(traces_info), choice=choice)


def _mono(*batches: str, by: str) -> Numbered:
    return Numbered(batches=batches, by=by, painter="mono", info=_plain(mono_info))


def _maps(batch: str, choice: Choice = _all) -> Numbered:
    return Numbered(
        batches=(batch,), by="lr", painter="response", info=_plain(response_info), choice=choice, one_by_one=True
    )


def _bias(batch: str) -> Numbered:
    return Numbered(
        batches=(batch,), by="lr", painter="bias", info=_plain(bias_info), choice=_contrast, one_by_one=True
    )


NUMBERED: dict[str, Numbered] = {
    "fig1": _traces("LR1", "LR3"),
    "fig2": Numbered(batches=("LR1",), by="lr", painter="cdf", info=_plain(cdf_info)),
    "fig3": _traces("LR1"),
    "fig4": _maps("LR1", _contrast),
    "fig5": _bias("LR1"),
    "fig6": _traces("LR2"),
    "fig7": _traces("LR3"),
    "fig8": _mono(*B, by="bias_offset"),
    "fig9": Numbered(batches=B, by="bias_offset", painter="plane", info=plane_info),
    "fig10": _maps("LR3", _contrast),
    "fig11": _bias("LR3"),
    "fig12": _traces("LR4"),
    "fig13": _mono("G3", by="bias_offset"),
    "fig14": _traces("K0", by="n_neurons"),
    "fig15": _traces("K1", by="n_neurons"),
    "fig16": _traces("K2", by="n_neurons"),
    "fig17": _mono("K0", "K1", "K2", by="n_neurons"),
    "fig18": _mono(*E, by="feature_prob"),
    "fig19": _traces("RP1"),
    "fig20": _maps("RP1", _contrast),
    "fig21": _traces("LR5"),
    "fig22": _traces("D1", by="bias_decay"),
    "fig23": _traces("RG1", "LR3", by="l1", choice=_at_l1_rate),
    "fig24": Numbered(batches=("LR3",), by="lr", painter="amplitude", info=_plain(amplitude_info)),
    "fig25": Numbered(
        batches=E, by="feature_prob", painter="amplitude", info=_plain(amplitude_info), choice=_sparser
    ),
    "fig26": Numbered(batches=("LR3",), by="lr", painter="linear", info=_plain(linear_info)),
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
        return figure.info(Data(data.root, rows, axis, data.trial, data.notes), scale)
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
    from monosweep.analysis.figures import style as drawing

    figure: Figure = getattr(drawing, NUMBERED[name].painter)(info_of(name, data, by))
    number = f"Figure {name.removeprefix('fig')}"
    if data.trial is not None:
        return drawing.headed(figure, number)
    batches = ", ".join(NUMBERED[name].batches)
    return drawing.headed(figure, f"{number}: {batches} at the {_shown_by(name, data)[1].name} size")

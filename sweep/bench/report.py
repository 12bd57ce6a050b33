"""What `monosweep bench` prints.  Pure: rates in, text out."""

from __future__ import annotations

from collections.abc import Sequence

from monosweep.model.bench.shapes import Shape
from monosweep.sweep.bench.measure import Machine, ShapeRates
from monosweep.sweep.text import table

_HEADER = (
    "shape", "N / d / k / batch", "steps", "trials/h", "solo/h", "packed ÷ solo",
    "ms/step", "products alone", "memory alone", "share",
)  # fmt: skip


def report(machine: Machine, rates: Sequence[ShapeRates]) -> str:
    """The table, and how to read it."""
    cores = "core" if machine.n_cores == 1 else "cores"
    rows = [_row(r) for r in rates]
    return "\n".join([
        f"{machine.device}, {machine.n_cores} {cores}, float32",
        "",
        table(_HEADER, rows, right=range(2, len(_HEADER))),
        "",
        "trials/h: whole trials of so many steps, all cores training packs; solo/h: one at a time per core,"
        " with autograd.",
        "ms/step: whole machine, one step of one trial; its matrix products and its memory traffic alone would"
        " take so long; share: products ÷ ms/step.",
    ])  # fmt: skip


def _row(rates: ShapeRates) -> tuple[str, ...]:
    return (
        rates.shape.name,
        sizes(rates.shape),
        f"{rates.shape.n_steps:,}",
        number(rates.trials_per_hour),
        number(rates.solo_trials_per_hour),
        f"{rates.solo_ms / rates.packed_ms:.1f}",
        number(rates.packed_ms),
        number(rates.limit.products_ms),
        number(rates.limit.traffic_ms),
        f"{rates.share_of_limit:.0%}",
    )


def sizes(shape: Shape) -> str:
    """The four sizes.

    >>> from monosweep.model.bench.shapes import SHAPES
    >>> sizes(SHAPES[0])
    '32 / 8 / 64 / 128'
    """
    return f"{shape.n_features} / {shape.d_embed} / {shape.n_neurons} / {shape.batch_size}"


def number(value: float) -> str:
    """Three digits that count.

    >>> [number(v) for v in (43210.0, 321.4, 12.34, 0.01234)]
    ['43,210', '321', '12.3', '0.0123']
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}"

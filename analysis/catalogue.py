"""All figures that can be asked for by name: a family's, and a paper's by number.  It stands above all three.

    Root + names + Selection -> draw -> PNG and PDF
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.families.two_layer.figures import FIGURES
from monosweep.analysis.figures.data import Selection, load
from monosweep.analysis.figures.save import save_both
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers.jermyn2022.figures import NUMBERED, paint
from monosweep.analysis.tables.root import Root
from monosweep.model.config import UserError, unknown_name

ALL_NUMBERED = "paper"
"""The name that stands for fig1 to fig26."""
NAMES = (*FIGURES, *NUMBERED, ALL_NUMBERED)


def draw(
    root: Root, folder: str | Path, names: Sequence[str], selection: Selection, note: Callable[[str], None]
) -> Iterator[Path]:
    """Draw `names` into `folder`; yields each PNG when it is there.

    No names mean all of FIGURES that the tables can carry, `paper` those of fig1 to fig26 that they
    can.  A PDF is written beside each PNG.  What is left out is told to `note`.

    Raises:
        FigureError: if a name is unknown, or nothing can be drawn.
        QueryError: as `Root.sql` and `Root.weights` do.
    """
    for name in names:
        if name not in NAMES:
            raise FigureError(unknown_name("figure", name, NAMES))
    data = load(root, selection, FAMILY)
    for name in _wanted(names):
        try:
            figure = FIGURES[name](data) if name in FIGURES else paint(name, data, selection.by)
        except UserError as error:
            if name in names:
                raise
            note(f"no {name} figure: {error}")
            continue
        yield save_both(figure, Path(folder) / f"{name}.png")
    for text in dict.fromkeys(data.notes):
        note(text)


def _wanted(names: Sequence[str]) -> list[str]:
    listed = FIGURES if not names else (*names, *NUMBERED) if ALL_NUMBERED in names else names
    return [name for name in dict.fromkeys(listed) if name != ALL_NUMBERED]

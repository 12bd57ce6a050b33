"""All figures that can be asked for by name: a family's, a paper's by number, a search's.  It stands above them all.

Root + names + Selection -> draw -> PNG and PDF; of a search also its table, as CSV
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from monosweep.analysis.families.two_layer import FAMILY
from monosweep.analysis.families.two_layer.figures import FIGURES
from monosweep.analysis.figures.data import Selection, load
from monosweep.analysis.figures.save import save_both, save_text
from monosweep.analysis.figures.search import SEARCH_FIGURES
from monosweep.analysis.figures.style import footed
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.papers import figures as papers
from monosweep.analysis.papers.figures import PAPER_FIGURES
from monosweep.analysis.papers.jermyn2022.figures import NUMBERED, paint
from monosweep.analysis.tables.root import Root
from monosweep.analysis.tables.search import Search
from monosweep.analysis.tables.text import as_csv
from monosweep.model.config import UserError, unknown_name

ALL_NUMBERED = "paper"
"""The name that stands for fig1 to fig26."""
NAMES = (*FIGURES, *PAPER_FIGURES, *SEARCH_FIGURES, *NUMBERED, ALL_NUMBERED)


def draw(
    root: Root, folder: str | Path, names: Sequence[str], selection: Selection, note: Callable[[str], None]
) -> Iterator[Path]:
    """Draw `names` into `folder`; yields each PNG when it is there.

    No names mean all of FIGURES and PAPER_FIGURES that the tables can carry, and of SEARCH_FIGURES where a sweep was
    searched or judged; `paper` means those of fig1 to fig26 that they can.  A PDF is written beside each PNG, and
    beside a search's figures their numbers as CSV.  What is left out is told to `note`.

    Raises:
        FigureError: if a name is unknown, or nothing can be drawn.
        QueryError: as `Root.sql` and `Root.weights` do.
    """
    for name in names:
        if name not in NAMES:
            raise FigureError(unknown_name("figure", name, NAMES))
    wanted = _wanted(names, root, selection)
    of_search = [name for name in wanted if name in SEARCH_FIGURES]
    of_papers = [name for name in wanted if name in PAPER_FIGURES]
    of_family = [name for name in wanted if name not in (*of_search, *of_papers)]
    if of_family:
        yield from _of_family(root, folder, of_family, names, selection, note, bool(of_search or of_papers))
    for name in of_papers:
        yield save_both(papers.paint(name, root, selection), Path(folder) / f"{name}.png")
    if of_search:
        search = root.search(selection.sweep, selection.objectives, selection.where)
        yield from _of_search(search, folder, of_search, names, note)


def _of_family(
    root: Root, folder: str | Path, wanted: Sequence[str], names: Sequence[str], selection: Selection,
    note: Callable[[str], None], or_else: bool,
) -> Iterator[Path]:  # fmt: skip
    """Figures of the family's completed trials; none of these is no mistake if nobody named them and there are others
    (`or_else`)."""
    try:
        data = load(root, selection, FAMILY)
    except FigureError as error:
        if names or not or_else:
            raise
        note(f"no {', '.join(wanted)} figure: {error}")
        return
    told: list[str] = []
    for name in wanted:
        own = replace(data, notes=[*data.notes])
        try:
            figure = FIGURES[name](own) if name in FIGURES else paint(name, own, selection.by)
        except UserError as error:
            if name in names:
                raise
            note(f"no {name} figure: {error}")
            continue
        yield save_both(footed(figure, own.notes), Path(folder) / f"{name}.png")
        told += own.notes
    for text in dict.fromkeys(told):
        note(text)


def _of_search(
    search: Search, folder: str | Path, wanted: Sequence[str], names: Sequence[str], note: Callable[[str], None]
) -> Iterator[Path]:
    """Figures of all trials of a search, however they ended."""
    for name in wanted:
        try:
            drawn = SEARCH_FIGURES[name](search)
        except UserError as error:
            if name in names:
                raise
            note(f"no {name} figure: {error}")
            continue
        save_text(as_csv(drawn.table), Path(folder) / f"{name}.csv")
        yield save_both(drawn.figure, Path(folder) / f"{name}.png")


def _wanted(names: Sequence[str], root: Root, selection: Selection) -> list[str]:
    """Those of a search are drawn unasked where there is just one, or it is named."""
    if not names:
        searched = SEARCH_FIGURES if selection.sweep or len(root.searches()) == 1 else ()
        return [*FIGURES, *papers.drawable(root, selection), *searched]
    listed = (*names, *NUMBERED) if ALL_NUMBERED in names else names
    return [name for name in dict.fromkeys(listed) if name != ALL_NUMBERED]

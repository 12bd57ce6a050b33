"""Figures to files, each of which appears whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from monosweep.analysis.figures.style import in_our_style
from monosweep.analysis.knobs import FigureError
from monosweep.analysis.output import written

DPI = 200
ENDINGS = (".png", ".pdf", ".svg")


def save(figure: Figure, path: Path) -> None:
    """Write `figure` in the format of the path's ending.

    Raises:
        FigureError: if `path` cannot be written or has another ending than .png, .pdf or .svg.
    """
    form = path.suffix.lower()
    if form not in ENDINGS:
        raise FigureError(f"a figure's file must end in .png, .pdf or .svg; got {path}")
    drawn = io.BytesIO()  # the formats jump about in what they write, which a pipe cannot
    about = {"Date": None} if form == ".svg" else None
    with in_our_style():  # tight, so that legends and notes are whole however wide they are
        _hold_legends(figure)
        figure.savefig(drawn, format=form[1:], dpi=DPI, metadata=about, bbox_inches="tight", pad_inches=0.08)
    _save(drawn.getbuffer(), path)


def _hold_legends(figure: Figure) -> None:
    """Where the layout puts them: saving the figure tight would move them to the edges of what is saved."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in (figure, *figure.subfigs):
        for legend in part.legends:
            legend.set_bbox_to_anchor((0, 0, 1, 1), part.transSubfigure)


def save_text(text: str, path: Path) -> None:
    """Write `text` and the end of its last line; raises as `save`."""
    _save(f"{text}\n".encode(), path)


def _save(data: bytes | memoryview, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written(path) as file:
            file.write(data)
    except OSError as error:
        raise FigureError(f"cannot write {path}: {error.strerror}; choose another folder") from None


def save_both(figure: Figure, path: Path) -> Path:
    """As PNG at `path`, and as PDF beside it; returns `path`."""
    save(figure, path)
    save(figure, path.with_suffix(".pdf"))
    return path

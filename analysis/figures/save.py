"""Figures to files, each of which appears whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from monosweep.analysis.figures.style import STYLE
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
    with mpl.rc_context(STYLE):
        figure.savefig(drawn, format=form[1:], dpi=DPI, metadata={"Date": None} if form == ".svg" else None)
    _save(drawn.getbuffer(), path)


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

"""Figures to files, each of which appears whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from monosweep.analysis.figures.style import STYLE
from monosweep.analysis.knobs import FigureError

DPI = 200
ENDINGS = (".png", ".pdf", ".svg")


def save(figure: Figure, path: Path) -> None:
    """Write `figure` in the format of the path's ending.

    Raises:
        FigureError: if `path` cannot be written or has another ending than .png, .pdf or .svg.
    """
    if path.suffix not in ENDINGS:
        raise FigureError(f"a figure's file must end in .png, .pdf or .svg; got {path}")
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context(STYLE):
            figure.savefig(partial, dpi=DPI, metadata={"Date": None} if path.suffix == ".svg" else None)
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise FigureError(f"cannot write {path}: {error.strerror}; choose another folder") from None


def save_text(text: str, path: Path) -> None:
    """Write `text` and the end of its last line; raises as `save`."""
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(f"{text}\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise FigureError(f"cannot write {path}: {error.strerror}; choose another folder") from None


def save_both(figure: Figure, path: Path) -> Path:
    """As PNG at `path`, and as PDF beside it; returns `path`."""
    save(figure, path)
    save(figure, path.with_suffix(".pdf"))
    return path

"""Figures: of each its typed info, computed from the tables and testable as numbers, and its painter, in one file."""

from __future__ import annotations

import logging
import os
from importlib import import_module


def load_matplotlib() -> None:
    """Import matplotlib for files alone: neither a backend that Jupyter names, which may not be there, nor a user's
    matplotlibrc is looked at.  Where it is loaded already, painters see to that (`style.in_our_style`)."""
    before = {name: os.environ.get(name) for name in ("MPLBACKEND", "MATPLOTLIBRC")}
    os.environ.pop("MPLBACKEND", None)
    os.environ["MATPLOTLIBRC"] = os.devnull
    log = logging.getLogger("matplotlib")  # has words for a matplotlibrc in the working directory, which comes first
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        import_module("matplotlib")
    finally:
        log.setLevel(level)
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ |= {} if value is None else {name: value}

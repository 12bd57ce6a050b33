"""Figures: of each its typed info, computed from the tables and testable as numbers, and its painter, in one file."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "draw_response":  # the front door asks for it here
        return import_module("monosweep.analysis.families.two_layer.response_map").draw_response
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

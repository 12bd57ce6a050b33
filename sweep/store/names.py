"""Sweep names in paths: `paper/LR1` is `paper.LR1` there.  A name holds no dot, so no two names share a path."""

from __future__ import annotations


def in_path(sweep: str) -> str:
    """How a sweep is called in folders and files.

    >>> in_path("paper/LR1")
    'paper.LR1'
    """
    return sweep.replace("/", ".")


def from_path(text: str) -> str:
    """The name of a sweep, from folders and files.

    >>> from_path("paper.LR1")
    'paper/LR1'
    """
    return text.replace(".", "/")


def before_version_2(sweep: str) -> str:
    """How a sweep was called, everywhere, until version 2 of the schema: `paper/LR1` and `paper-LR1` were the same."""
    return sweep.replace("/", "-")

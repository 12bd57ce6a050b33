"""A user without a home: a uid that has no entry in /etc/passwd, as containers are given, and no HOME.

front door, a launch from Python -> stand_in() -> Ray and others, which look for one when they are imported
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

NOWHERE = "/nonexistent"
"""As Debian calls the home of who has none: a library that would keep something there finds no folder."""


def stand_in() -> Mapping[str, str]:
    """The environment variables that say so to libraries; none for who has a home."""
    try:
        Path.home()
    except RuntimeError:
        return {"HOME": NOWHERE}
    return {}

"""How to launch: what the command line and `launch` are told besides the spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchOptions:
    """How to launch; none of it changes a row."""

    executor: Literal["ray", "inline"] = "ray"
    """`ray` on this machine or a cluster; `inline` in this process."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    workers: int | None = None
    """Packs in training at a time; left out, one per core or GPU with Ray, and one inline.  More than this machine has
    GPUs share them."""
    address: str | None = None
    """A running Ray cluster; left out, Ray starts here and ends with the launch."""
    retry_failed: bool = False
    """Train failed trials again."""
    unfinished: bool = False
    """Train also what the sweep was asked for before and lacks."""
    dry_run: bool = False
    """Only say what would be trained."""

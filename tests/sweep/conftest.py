"""Small trials, tables without their clocks, and disks that are too small or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monosweep.model.families.two_layer.config import TwoLayerConfig
from same_tables import read_rows


def small_trial(**fields: Any) -> TwoLayerConfig:
    """A trial of a few milliseconds."""
    shape = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "feature_prob": 1 / 8, "batch_size": 64}
    return TwoLayerConfig(**{**shape, "n_steps": 64, **fields})


@pytest.fixture(scope="session")
def trial() -> Callable[..., TwoLayerConfig]:
    return small_trial


@pytest.fixture(scope="session")
def rows() -> Callable[..., list[dict[str, Any]]]:
    return read_rows


@contextmanager
def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root and the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    with _mounted(tmp_path / "small", "size=256k") as folder:
        yield folder


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder that not even root can write to."""
    with _mounted(tmp_path / "read_only", "size=256k,ro") as folder:
        yield folder

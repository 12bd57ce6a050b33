"""Small trials, tables without their clocks, and disks that are too small or read-only."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from model.config import TrialConfig

_CLOCKS = ("wall_time_s", "finished_at", "pack_id")
"""Columns in which two sweeps of the same trials may differ."""


def small_trial(**fields: Any) -> TrialConfig:
    """A trial of a few milliseconds."""
    shape = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "feature_prob": 1 / 8, "batch_size": 64}
    return TrialConfig(**{**shape, "n_steps": 64, **fields})


def read_rows(root: Path | str, table: str = "trials") -> list[dict[str, Any]]:
    """All rows of a table, without their clocks, in an order of their own."""
    dataset = ds.dataset(f"{root}/{table}", format="parquet", exclude_invalid_files=False)
    columns = [name for name in dataset.schema.names if name not in _CLOCKS]
    rows = dataset.to_table(columns=columns).to_pylist()
    return sorted(rows, key=lambda row: [str(row.get(k)) for k in ("trial_id", "step", "neuron")])


@pytest.fixture(scope="session")
def trial() -> Callable[..., TrialConfig]:
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

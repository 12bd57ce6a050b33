"""Clusters in network namespaces, with folders short enough for Ray's sockets."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodes import requires_namespaces


@pytest.fixture(scope="session", autouse=True)
def _can_make_nodes() -> None:
    requires_namespaces()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Where the paths of sockets stay under 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)

"""CPU tensors are multiplied trial by trial, unless a test says otherwise: rows that are nobody's cost time."""

import pytest
import torch

from .packs import groups_of


@pytest.fixture(autouse=True)
def _groups_of_one(monkeypatch):
    if not torch.cuda.is_available():
        groups_of(1, monkeypatch)

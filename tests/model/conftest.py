"""Engines that a test drives directly run as `PackTrainer` runs them: on one thread.  The GPU's engine multiplies CPU
tensors trial by trial, unless a test says otherwise: rows that are nobody's cost time."""

import pytest
import torch

from monosweep.model.engines.gpu import products

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _groups_of_one(monkeypatch):
    if not torch.cuda.is_available():
        monkeypatch.setattr(products, "MOST", 1)

"""Fronts and the volume that they dominate, against definitions."""

from __future__ import annotations

import numpy as np
import pytest

from monosweep.analysis.stats.fronts import hypervolume, undominated


@pytest.mark.parametrize("n_objectives", [1, 2, 3])
def test_the_front_is_who_nobody_dominates(n_objectives: int) -> None:
    vectors = np.random.default_rng(n_objectives).integers(0, 6, (60, n_objectives)).astype(float)
    better = (vectors[:, None] <= vectors[None]).all(2) & (vectors[:, None] < vectors[None]).any(2)
    assert undominated(vectors).tolist() == (~better.any(axis=0)).tolist()


def test_who_has_no_value_is_on_no_front() -> None:
    assert undominated(np.array([[np.nan, 0.0], [1.0, 1.0]])).tolist() == [False, True]


@pytest.mark.parametrize("n_objectives", [1, 2, 3, 4])
def test_hypervolume_is_how_many_cells_are_dominated(n_objectives: int) -> None:
    """On a lattice, cell by cell; some points lie beyond the reference."""
    vectors = np.random.default_rng(n_objectives).integers(1, 7, (9, n_objectives)).astype(float)
    cells = np.stack(np.meshgrid(*[np.arange(5.0)] * n_objectives), axis=-1).reshape(-1, n_objectives)
    dominated = (vectors[:, None] <= cells[None]).all(2).any(0).sum()
    assert 0 < dominated < len(cells)
    assert hypervolume(vectors, np.full(n_objectives, 5.0)) == dominated
    assert hypervolume(vectors + 10, np.full(n_objectives, 5.0)) == 0

"""The paper's tensors, decomposed by both algorithms; `sweep/presets/tree/`.  Pure."""

from __future__ import annotations

from typing import Any

from monosweep.analysis.claims.batch import Batch, Mixed, Presets, around
from monosweep.model.families.tensor_tree.config import TensorTreeConfig

ISING, SQUARE, RANDOM, RATIO = "ising", "square", "random", "ratio"
METHODS = ("greedy", "brute_force")
COUPLINGS = (-2.0, -0.5, 0.5, 2.0)
GREEDY_INDICES, BRUTE_INDICES = tuple(range(4, 17)), tuple(range(4, 10))
"""How many indices each algorithm is given in the chain."""
SQUARE_COUPLINGS = tuple(i / 2 for i in range(-14, 15))
KINDS, SIZES = ("normal", "binary"), (4, 6, 8)
SLOPES = (0.25, 0.5, 1.0, 2.0, 3.0)


def _batch(name: str, tensor: str | None, grid: dict[str, Any], **base: Any) -> Batch:
    given = {"tensor": tensor, **base} if tensor else base
    return around(TensorTreeConfig.from_dict(given), name, grid, follows=("n_steps",))


def _chain(method: str, n_indices: tuple[int, ...]) -> Batch:
    grid = {"n_indices": n_indices, "coupling": COUPLINGS, "method": (method,)}
    return _batch(ISING, "ising_chain", grid)


TREE = Presets(
    name="tree",
    batches={
        ISING: Mixed(
            name=ISING, base={"family": TensorTreeConfig.FAMILY, "tensor": "ising_chain"},
            parts=(_chain("greedy", GREEDY_INDICES), _chain("brute_force", BRUTE_INDICES)),
        ),
        SQUARE: _batch(SQUARE, "ising_square", {"coupling": SQUARE_COUPLINGS, "method": METHODS}, n_indices=9),
        RANDOM: _batch(RANDOM, None, {"n_indices": SIZES, "tensor": KINDS, "method": METHODS}),
        RATIO: _batch(RATIO, "ratio", {"n_indices": SIZES, "slope": SLOPES, "method": METHODS}),
    },
)  # fmt: skip

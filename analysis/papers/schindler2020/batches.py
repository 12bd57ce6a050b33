"""The paper's random network, and random networks of several sizes; `sweep/presets/contraction/`.  Pure."""

from __future__ import annotations

from monosweep.analysis.claims.batch import Presets, around
from monosweep.model.families.contraction_order.config import ContractionOrderConfig

RANDOM10, BY_SIZE = "random10", "sizes"
METHODS = ("greedy", "annealing", "genetic")
EDGES = (
    "0-2 1-2 0-3 0-4 1-4 2-4 3-4 0-5 1-5 3-5 4-5 0-6 2-6 4-6 5-6 0-7 1-7 2-7 3-7 5-7 0-8 1-8 2-8 3-8 4-8 5-8 6-8 7-8 "
    "0-9 1-9 3-9 4-9 6-9 7-9 8-9"
)
"""The network of 10 tensors and 35 bonds that the authors' code saved."""
NUMBERS_OF_TENSORS = (6, 8, 10, 12)
INSTANCES = (1, 2, 3, 4, 5)
MEDIANS = {"greedy": 23.05, "annealing": 22.11, "genetic": 21.37}
"""log10 of the cost over the authors' 40 runs."""
OPTIMUM = 20.54
"""The least that any of their runs found."""

CONTRACTION = Presets(
    name="contraction",
    batches={
        RANDOM10: around(ContractionOrderConfig(network="given", edges=EDGES), RANDOM10, {"method": METHODS}),
        BY_SIZE: around(
            ContractionOrderConfig(), BY_SIZE,
            {"size": NUMBERS_OF_TENSORS, "instance": INSTANCES, "method": METHODS},
        ),
    },
)  # fmt: skip

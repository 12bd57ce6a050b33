"""What the decomposition of a tensor does: a tensor in, the smallest tree found and how well it is the tensor out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from monosweep.model.families.tensor_tree.config import TENSOR_TREE, TensorTreeConfig
from monosweep.model.families.tensor_tree.methods import search
from monosweep.model.families.tensor_tree.tensors import tensor_of
from monosweep.model.procedure import Effort, Outcome, Procedure

if TYPE_CHECKING:
    from collections.abc import Mapping


class TensorTree(Procedure):
    """A method, a tensor and a budget of singular value decompositions."""

    Config, Metrics, Losses = TENSOR_TREE.config, TENSOR_TREE.metrics, TENSOR_TREE.losses
    Tables: ClassVar = TENSOR_TREE.tables

    @classmethod
    def run(cls, config: TensorTreeConfig, effort: Effort) -> Outcome:
        """As the base class says."""
        tensor = tensor_of(config)
        found = search(config, tensor, effort)
        tree, whole = found.tree, float(np.linalg.norm(tensor)) or 1.0  # binary tensors may be zero
        metrics = {
            "n_elements": tree.n_elements, "compression": tree.n_elements / tensor.size,
            "truncation_error": float(np.linalg.norm(tensor - tree.product())) / whole,
            "largest_rank": max((edge.rank for edge in tree.edges), default=1), "n_trees": found.n_trees,
        }  # fmt: skip
        edges: dict[str, Any] = {
            "edge": np.arange(len(tree.edges)),
            "indices": [" ".join(map(str, tree.leaves(edge))) for edge in range(len(tree.edges))],
            "rank": np.array([edge.rank for edge in tree.edges], dtype=np.int64),
            "dropped": np.array([edge.dropped / whole**2 for edge in tree.edges], dtype=np.float64),
        }
        return Outcome(math.log10(tree.n_elements), metrics, {"tree": edges})

    @classmethod
    def summary(cls, config: TensorTreeConfig, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """As the base class says."""
        return {
            "elements": f"{metrics['n_elements']:,}, {metrics['compression']:.3g} of the tensor's",
            "largest rank": f"{metrics['largest_rank']} of {config.n_indices - 3} inner edges",
            "error": f"{metrics['truncation_error']:.2g} of the tensor's norm",
        }

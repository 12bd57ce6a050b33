"""What a search for a contraction order does: a network in, the best order found and what it costs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from monosweep.model.data.random import generator
from monosweep.model.families.contraction_order.config import CONTRACTION_ORDER, ContractionOrderConfig
from monosweep.model.families.contraction_order.cost import log10
from monosweep.model.families.contraction_order.graph import network_of
from monosweep.model.families.contraction_order.methods import search
from monosweep.model.families.contraction_order.parts import optimum
from monosweep.model.procedure import Effort, Outcome, Procedure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class ContractionOrder(Procedure):
    """A method, a network and a budget of cost evaluations."""

    Config, Metrics, Losses = CONTRACTION_ORDER.config, CONTRACTION_ORDER.metrics, CONTRACTION_ORDER.losses
    Tables: ClassVar = CONTRACTION_ORDER.tables

    @classmethod
    def run(cls, config: ContractionOrderConfig, effort: Effort) -> Outcome:
        """As the base class says."""
        network = network_of(config)
        found = search(config, network, effort, np.random.Generator(generator(config.seed, "method")))
        cost, largest = found.costs.total(found.order), found.costs.largest(found.order)
        least = optimum(network)
        best = None if least is None else log10(least)
        metrics = {
            "n_bonds": len(network.bonds), "log2_largest": log10(largest) / log10(2), "optimum": best,
            "gap": None if best is None else log10(cost) - best, "bond_order": " ".join(map(str, found.order)),
        }  # fmt: skip
        steps, losses = zip(*found.progress, strict=True)
        return Outcome(log10(cost), metrics, {"progress": {"step": np.array(steps), "loss": np.array(losses)}})

    @classmethod
    def summary(cls, config: ContractionOrderConfig, metrics: Mapping[str, Any]) -> Mapping[str, str]:
        """As the base class says."""
        lines = {"largest": f"2^{metrics['log2_largest']:.1f} elements on the way, {metrics['n_bonds']} bonds"}
        if metrics["gap"] is not None:
            lines["optimum"] = f"10^{metrics['optimum']:.3f}, {metrics['gap']:.3f} decades below"
        return lines

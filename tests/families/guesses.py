"""A family whose trials are plain functions, as a user writes one: how near guesses come to a number."""

from dataclasses import dataclass

import numpy as np

from monosweep.model import generator
from monosweep.model.procedure import Outcome, Procedure, ProcedureConfig, Spent


class Guesses(Procedure):
    """Guesses uniform on ±width, the nearest of which counts."""

    @dataclass(frozen=True, kw_only=True)
    class Config(ProcedureConfig):
        width: float = 1.0
        "Guesses are uniform on ±width."
        trouble: str = "none"
        "What goes wrong at guess 5: `none`, `raises`, `memory`, `loops`, or `nothing` is ever found."

    @dataclass(frozen=True, kw_only=True)
    class Metrics:
        n_better: int
        "How often a guess was nearer than all before it."

    @dataclass(frozen=True, kw_only=True)
    class BetterRecord:
        step: int
        "Guesses made."
        loss: float
        "How far the best of them is off."

    Tables = {"better": BetterRecord}  # noqa: RUF012

    @classmethod
    def run(cls, config, effort):
        random = np.random.Generator(generator(config.seed, "guesses"))
        steps, losses = [], []
        try:
            while True:
                effort.spend()
                off = abs(random.uniform(-config.width, config.width))
                if effort.step == 5:
                    trouble(config.trouble)
                if off < effort.least and config.trouble != "nothing":
                    steps.append(effort.step)
                    losses.append(off)
                effort.note(off)
        except Spent:
            if not steps:
                raise
        return Outcome(
            losses[-1],
            {"n_better": len(steps)},
            {"better": {"step": steps, "loss": losses}},
        )


def trouble(kind):
    if kind == "raises":
        raise ValueError("five")
    if kind == "memory":
        raise MemoryError("no more")
    while kind == "loops":
        pass

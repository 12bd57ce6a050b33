"""Simulated trials: learning curves whose ends are known."""

from __future__ import annotations

import math

import numpy as np
from ray.tune.schedulers import ASHAScheduler

from monosweep.model.config import TrialConfig
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.contract import Objective, Point
from monosweep.sweep.search.measure import Objectives
from monosweep.sweep.search.tune_judge import TuneJudge

LOSS = Objective(expression="loss", mode="min")
MONO = Objective(expression="n_mono / n_features", mode="max")
N_STEPS, FACTOR, GRACE = 4096, 4, 64
EXAMPLE = {**TwoLayerConfig().to_dict(), "step": 1, "loss": 0.5, "min_loss": 0.5, "n_mono": 3, "mean_bias": 0.1}
RUNGS = Rungs.of(GRACE, FACTOR, N_STEPS)


class World:
    """Trials whose loss at the end depends on lr, and their curves; a knob that trades loss for monosemanticity."""

    def __init__(self, n: int, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        self.lr = np.exp(draw.uniform(math.log(1e-4), math.log(1), n))
        self.end = 0.1 + (np.log10(self.lr) + 2) ** 2 / 4 + draw.normal(0, 0.02, n).clip(-0.05)
        self.rate = draw.uniform(0.4, 0.6, n)
        self.mono = draw.uniform(0, 1, n)
        self.configs = [TwoLayerConfig(lr=float(lr), n_steps=N_STEPS, seed=i) for i, lr in enumerate(self.lr)]
        self.place = {config.trial_id: i for i, config in enumerate(self.configs)}

    def loss(self, i: int, step: int) -> float:
        return float(self.end[i] + 0.3 * self.mono[i] + step ** -self.rate[i])

    def point(self, config: TrialConfig, step: int) -> Point:
        i = self.place[config.trial_id]
        values = {"step": step, "loss": self.loss(i, step), "min_loss": 0.0, "n_mono": int(64 * self.mono[i])}
        return Point(config=config, step=step, values=values)

    def best(self) -> TrialConfig:
        return min(self.configs, key=lambda c: self.loss(self.place[c.trial_id], N_STEPS))


def of_losses(*objectives: Objective) -> Objectives:
    return Objectives(objectives or (LOSS,), (), EXAMPLE)


def asha() -> TuneJudge:
    scheduler = ASHAScheduler(time_attr="step", max_t=N_STEPS, grace_period=GRACE, reduction_factor=FACTOR)
    return TuneJudge(scheduler, "asha", of_losses(), RUNGS)

"""The paper's batches as conditions on config columns, at the paper's size and at the small one.  Pure.

    trials of all sweeps -> Batch.pick -> figures.py, by number; claims.py, seed by seed

A batch is told by config and not by the sweep's name, because a trial that two batches share stands in the
tables once.  `sweep/presets/{paper,small}/*.yaml` train exactly these; a test holds the two equal.

The small size keeps the paper's proportions: k = 2N; Nε = d/8, that is twice the paper's ε because N/d is half the
paper's; bias_decay times n_steps (what the decay does in all), hence eight times the paper's decay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from monosweep.analysis.claims.batch import FREE, Batch, Grid, Mixed
from monosweep.model.families.two_layer.config import TwoLayerConfig

B = ("B1", "B2", "B3", "B4", "B5")
"""Over the initial bias, ε halving from each to the next."""
E = ("E1", "E2", "E3", "E4")
"""Over ε."""
K = ("K0", "K1", "K2")
"""Over the width."""
BATCHES = (
    "LR1", "LR2", "LR3", "LR4", *B, "G3", *E, *K, "RG1", "RP1", "LR5", "D1", "ER1",
)  # fmt: skip
"""The rows of the paper's Table 1, named as the presets are; G3 is the second that the paper calls B3, and ER1 is
ours, for a finding that the table has no batch for."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scale:
    """One size at which the paper is reproduced."""

    name: str
    """Also the folder of its presets."""
    base: Mapping[str, Any]
    """The fields of every trial unless its batch says otherwise."""
    abs_neurons: int
    """Width in LR5 and D1."""
    long_steps: int
    """Steps of E3 and D1."""
    low_lr: float
    """Rate of B, G3 (its lowest too) and E."""
    decays: Mapping[str, float]
    """bias_decay of the batches; `""` stands for all that are not named."""
    b_probs: Sequence[float]
    """ε of B1 to B5."""
    grids: Mapping[str, Grid]
    """What the batches sweep, by their names; `""` stands for those over lr that are not named."""
    batches: Mapping[str, Batch] = field(init=False)

    def __post_init__(self) -> None:
        found = {name: self._batch(name) for name in BATCHES}
        object.__setattr__(self, "batches", found)

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a trial is of this size."""
        return all(row[k] == self.base[k] for k in ("n_features", "d_embed"))

    @property
    def n_features(self) -> int:
        return int(self.base["n_features"])

    @property
    def d_embed(self) -> int:
        return int(self.base["d_embed"])

    def bias_threshold(self, feature_prob: float) -> float:
        """Where the paper's -√ε lies at this size: one standard deviation of what reaches a new neuron.

        That is proportional to √(Nε/d) and equals √ε at the paper's N/d of 8.
        """
        return -math.sqrt(feature_prob * self.n_features / (8 * self.d_embed))

    def _batch(self, name: str) -> Batch:
        grid = self.grids.get(name, self.grids[""])
        given = {"bias_decay": self.decays.get(name, self.decays[""]), **_FIXED[name]}
        if name in ("LR5", "D1"):
            given["n_neurons"] = self.abs_neurons
            given["batch_size"] = self._batch_size(self.abs_neurons)
        if name in ("E3", "D1"):
            given["n_steps"] = self.long_steps
        if name in B:
            given["feature_prob"] = self.b_probs[B.index(name)]
        if name in (*B, *E):
            given["lr"] = self.low_lr
        values = {**_DEFAULT, **self.base, **given}
        fixed = {k: v for k, v in values.items() if k not in (*grid, *_FOLLOWS.get(name, ()), *FREE)}
        batch = Batch(name=name, base=fixed, grid=grid)
        return self._as_many_weights(batch) if name == "ER1" else batch

    def _as_many_weights(self, batch: Batch) -> Batch:
        """The wider, the sparser: a network that is neither is of another batch."""
        widths = {density: round(self.base["n_neurons"] / density) for density in batch.grid["connectivity"]}
        parts = [
            replace(batch, base={**batch.base, "n_neurons": width}, grid={"connectivity": (density,)})
            for density, width in widths.items()
        ]
        return Mixed(name=batch.name, base=batch.base, grid=batch.grid, parts=parts)

    def _batch_size(self, n_neurons: int) -> int:
        """The paper's rule, batch · k constant, from this size's own."""
        return int(self.base["batch_size"] * self.base["n_neurons"] // n_neurons)


_DEFAULT: dict[str, Any] = TwoLayerConfig().to_dict()
_FOLLOWS = dict.fromkeys(K, ("batch_size",))
"""What changes with the swept field."""
_ZERO: dict[str, Any] = {"bias_offset": 0.0, "bias_decay": 0.0}
_POWER = {"feature_dist": "power_law"}
_FIXED: dict[str, dict[str, Any]] = {
    "LR1": _ZERO,
    "LR2": {**_ZERO, **_POWER},
    "LR3": {"bias_offset": -1.0},
    "LR4": {"bias_offset": -1.0, **_POWER},
    **{name: {} for name in B},
    "G3": {"activation": "gelu"},
    **{name: {"bias_offset": -1.0} for name in E},
    "K0": {"lr": 0.007, **_ZERO},
    "K1": {"lr": 0.007, "bias_offset": -1.0},
    "K2": {"lr": 0.007, "bias_offset": -1.0, **_POWER},
    "RG1": {"lr": 0.005, **_ZERO},
    "RP1": {"task": "reprojector", "bias_offset": -1.0},
    "LR5": {"task": "abs", "bias_offset": -1.0},
    "ER1": {"lr": 0.007, "bias_offset": -1.0},
    "D1": {"task": "abs", "lr": 0.007, "bias_offset": -1.0},
}
"""What Table 1 fixes at any size."""


def _each(names: Sequence[str], **grid: Sequence[Any]) -> dict[str, Grid]:
    """The same grid for batches that sweep the same."""
    return dict.fromkeys(names, grid)


PAPER = Scale(
    name="paper",
    base={"n_features": 512, "d_embed": 64, "n_neurons": 1024, "feature_prob": 1 / 64, "batch_size": 8192},
    abs_neurons=2048,
    long_steps=2**20,
    low_lr=0.003,
    decays={"": 0.03, **dict.fromkeys(("B2", "B3", "B4", "B5", "E3"), 0.003), "E2": 0.01, "E4": 0.001},
    b_probs=(1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256),
    grids={
        "": {"lr": (0.001, 0.003, 0.005, 0.007, 0.01, 0.03)},
        **_each(B, bias_offset=(-2, -1.7, -1.4, -1.1, -0.8, -0.5, -0.2, 0.1, 0.4, 0.7, 1)),
        "G3": {
            "bias_offset": (-3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3),
            "lr": (0.001, 0.003, 0.005, 0.007, 0.01),
        },
        **_each(E, feature_prob=[2 ** (half / 2) for half in range(-18, -1)]),
        **_each(K, n_neurons=(16, 32, 64, 128, 256, 384, 512, 1024, 2048)),
        "RG1": {"l1": (0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1)},
        "ER1": {"connectivity": (1, 0.5, 0.25)},
        "D1": {"bias_decay": [10 ** (half / 2) for half in range(-7, -2)]},
    },
)
SMALL = Scale(
    name="small",
    base={
        "n_features": 128, "d_embed": 32, "n_neurons": 256, "feature_prob": 1 / 32, "batch_size": 512,
        "n_steps": 15872,
    },
    abs_neurons=512,
    long_steps=64000,
    low_lr=0.003,
    decays={"": 0.25, "E2": 0.08, "E3": 0.05, "E4": 0.008, "LR5": 0.05},
    b_probs=(1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128),
    grids={
        "": {"lr": (0.003, 0.005, 0.007, 0.01, 0.02, 0.03)},
        **_each(B, bias_offset=(-2, -1.5, -1, -0.6, -0.4, -0.2, 0, 0.4, 1)),
        "G3": {"bias_offset": (-3, -2, -1.5, -1, -0.5, 0, 1, 3), "lr": (0.003, 0.01)},
        "E1": {"feature_prob": [*(2.0**n for n in range(-8, -5)), *(2 ** (half / 2) for half in range(-10, -1))]},
        **_each(E[1:], feature_prob=[2.0**n for n in range(-8, -1)]),
        **_each(K, n_neurons=(4, 8, 16, 32, 64, 96, 128, 256, 512)),
        "RG1": {"l1": (0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1)},
        "ER1": {"connectivity": (1, 0.5, 0.25)},
        "D1": {"bias_decay": (0.005, 0.016, 0.05, 0.16, 0.5)},
    },
)  # fmt: skip
SCALES = (PAPER, SMALL)

"""The four shapes that every benchmark measures, and the arithmetic of their steps.  Torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from monosweep.model.config import ConfigError, Precision, unknown_name
from monosweep.model.families.two_layer.config import TwoLayerConfig

RATES = (0.003, 0.005, 0.007, 0.01, 0.014, 0.02, 0.025, 0.03)
"""Learning rates of the trials of one seed; they share its data, as those of a sweep do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """Sizes of a trial, and how long one lasts in a sweep."""

    name: str
    n_features: int
    d_embed: int
    n_neurons: int
    batch_size: int
    feature_prob: float
    n_steps: int
    """Steps of a whole trial, for trials per hour."""

    def trials(
        self, n: int, n_steps: int | None = None, seed: int = 0, precision: Precision = "fp32"
    ) -> tuple[TwoLayerConfig, ...]:
        """`n` trials: the eight rates with one seed, then with the next, ..."""
        return tuple(
            TwoLayerConfig(
                n_features=self.n_features, d_embed=self.d_embed, n_neurons=self.n_neurons,
                batch_size=self.batch_size, feature_prob=self.feature_prob, n_steps=n_steps or self.n_steps,
                lr=RATES[i % len(RATES)], seed=seed + i // len(RATES), precision=precision,
            )
            for i in range(n)
        )  # fmt: skip

    @property
    def operations(self) -> float:
        """Floating-point operations of the five matrix products of one step of one trial.

        Two of (batch, d_embed + 1, n_neurons): encoder and its gradient; three of (batch, n_features,
        n_neurons): decoder, its gradient, and back through it.  A multiply-add counts as two.
        """
        return 2.0 * self.batch_size * self.n_neurons * (3 * self.n_features + 2 * (self.d_embed + 1))

    @property
    def traffic(self) -> float:
        """Bytes that one step must read and write besides its products, were every pass fused (float32).

        ReLU in place (2 passes over h), its slope (3), the error (2), and LAMB: read p, m, v and the gradient,
        write p, m and v (7).
        """
        hidden, outer = self.batch_size * self.n_neurons, self.batch_size * self.n_features
        params = self.n_neurons * (self.d_embed + 1 + self.n_features)
        return 4.0 * (5 * hidden + 2 * outer + 7 * params)


SHAPES = (
    Shape(
        name="tiny", n_features=32, d_embed=8, n_neurons=64, batch_size=128, feature_prob=1 / 32,
        n_steps=4096,
    ),
    Shape(
        name="small", n_features=64, d_embed=16, n_neurons=128, batch_size=512, feature_prob=1 / 64,
        n_steps=4096,
    ),
    Shape(
        name="quick", n_features=128, d_embed=32, n_neurons=256, batch_size=256, feature_prob=1 / 32,
        n_steps=15872,
    ),
    Shape(
        name="paper", n_features=512, d_embed=64, n_neurons=1024, batch_size=8192, feature_prob=1 / 64,
        n_steps=2**17,
    ),
)  # fmt: skip
"""`quick` is the preset's trial, `paper` the paper's (section 2); the lengths of the others are our choice."""

LARGE_OPERATIONS = 1e9
"""From so many operations of a step on, a pack of a few trials is enough to measure, and all that time allows."""


def shape_named(name: str) -> Shape:
    """One of `SHAPES`.

    Raises:
        ConfigError: if there is none of that name.
    """
    for shape in SHAPES:
        if shape.name == name:
            return shape
    raise ConfigError(unknown_name("shape", name, [shape.name for shape in SHAPES]))

"""One trial as the packed engine on a CPU holds it: its rows of the pack's storage, and its schedule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.families.two_layer.samples import stream_key


class Member:
    """One trial's rows of the pack's storage, and its schedule over the current chunk.

    Args:
        rows: parameters and both moments.
        mask: 1 where a connection exists, else 0; None if all do.
        joined: where the engine's clock stood when the trial began, or would have stood.
    """

    def __init__(
        self, config: TwoLayerConfig, layout: Layout, rows: Sequence[Float[ndarray, " row"]], mask: ndarray | None,
        joined: int,
    ) -> None:  # fmt: skip
        self.config, self.mask, self.dtype = config, mask, rows[0].dtype
        self.joined, self.stream = joined, stream_key(config)
        self.rows = tuple(rows)
        self.encoder, self.decoder = layout.encoder_of(rows[0]), layout.decoder_of(rows[0])
        self.bias = rows[0][layout.segments[1]]
        self.segments = [[row[segment] for row in rows] for segment in layout.segments]
        # Both in units of the gradients, which lack a factor of 2 / batch.
        self.l1 = self.dtype.type(config.l1 / 2)
        self.bias_reg = self.dtype.type(config.bias_reg * config.samples_per_step)
        self.bias_target = self.dtype.type(config.bias_reg_target)
        self.lr = self.bias_decay = np.empty(0, self.dtype)

"""The samples of a chunk of steps, drawn and embedded once for all trials that read the same ones.

FeatureStream -> Group.chunk -> Chunk -> step
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from monosweep.model.config import Meanings
from monosweep.model.data.embedding import orthonormal_map
from monosweep.model.data.stream import FeatureStream
from monosweep.model.engines.cpu import elementwise
from monosweep.model.engines.cpu.step import Chunk, Step
from monosweep.model.families.two_layer.config import REPROJECTS, TwoLayerConfig
from monosweep.model.families.two_layer.samples import stream_key
from monosweep.model.precision import DTYPES


class Group:
    """Trials that share a data stream and an embedding.

    Args:
        config: any of them.
        maps: P and, for the reprojector, Q.
        step: what trains them.
    """

    def __init__(self, config: TwoLayerConfig, maps: Mapping[str, Tensor], step: Step) -> None:
        self.config, self._step, self._stream = config, step, FeatureStream(stream_key(config))
        self._starts = np.arange(0, config.samples_per_step, step.rows)
        columns = {name: np.ascontiguousarray(values.numpy().T) for name, values in maps.items()}
        self._read, self._target_map = columns["embedding"], columns.get("target_map")

    def chunk(self, first: int, n_steps: int) -> Chunk:
        """Draw and embed the samples of some steps: x = P f, and what the network is to answer.

        Only present features are added up, sample by sample, so no sample's bits depend on how many are drawn at once.
        """
        cells, values = self._stream.steps(first, n_steps)
        values = values.astype(self._read.dtype)
        batch, shape = self.config.samples_per_step, (n_steps, self.config.samples_per_step, self.config.d_embed)
        x = _mapped(cells, values, self._read, shape)
        dense = None if self._target_map is None else _mapped(cells, values, self._target_map, shape)
        if self._step.halves is not None:
            x, exact = np.empty(x.shape, np.uint16), x
            elementwise.to_bf16(exact, x)
        starts = np.append(np.add.outer(np.arange(n_steps) * batch, self._starts).ravel(), n_steps * batch)
        bounds = np.searchsorted(cells, starts * self.config.n_features)
        return Chunk(x, cells, _ANSWERS[self.config.task](values), bounds, dense)


_ANSWERS: Meanings[Callable[[ndarray], ndarray]] = Meanings(
    "task", {"decoder": np.array, "abs": np.abs, "reprojector": np.array}
)
"""Of present features' strengths, what the network is to answer there, by task; for `reprojector`, `dense` is."""


def maps(config: TwoLayerConfig) -> dict[str, Tensor]:
    """P and, for the reprojector, Q, in the type of the trial."""
    purposes = ("embedding", "target_map") if REPROJECTS[config.task] else ("embedding",)
    sizes, dtype = (config.n_features, config.d_embed), DTYPES[config.precision]
    return {purpose: orthonormal_map(config.seed, purpose, *sizes).to(dtype) for purpose in purposes}


def _mapped(
    cells: Int64[ndarray, " present"], values: Float[ndarray, " present"], read: Float[ndarray, "n_features d_embed"],
    shape: tuple[int, int, int],
) -> Float[ndarray, "steps batch d_embed"]:  # fmt: skip
    """P f of every sample, P given by its columns."""
    out = np.empty(shape, read.dtype)
    elementwise.embed(cells, values, read, out.reshape(-1, shape[2]))
    return out

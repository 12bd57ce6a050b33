"""One step's inputs and targets of a whole pack on the device: x = P f, and what the networks are to answer.

Trials with the same data stream read the same samples, drawn and embedded once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from monosweep.model.data.stream import StreamKey
from monosweep.model.engines.gpu.products import DeviceProducts, matmul_settings
from monosweep.model.engines.gpu.sampling import DeviceStreams
from monosweep.model.families.two_layer.config import REPROJECTS, SIGNED, TwoLayerConfig
from monosweep.model.families.two_layer.samples import embedding, stream_key, target_map
from monosweep.model.precision import DTYPES

_ALIGN = 32
"""Rows of samples begin at a multiple of so many elements, as the tensor cores want them."""


class DeviceSamples:
    """The samples of a pack, step by step, in buffers on the device.

    Args:
        configs: the pack's members.
        device: where they are trained.
        ahead: how many steps each of them is ahead of the step that the others' methods are told.
    """

    def __init__(self, configs: Sequence[TwoLayerConfig], device: str, ahead: Sequence[int] | None = None) -> None:
        config, self._dtype, self._device = configs[0], DTYPES[configs[0].precision], device
        keys = [(stream_key(c), by) for c, by in zip(configs, ahead or [0] * len(configs), strict=True)]
        kinds = _by_kind(keys)
        order = [key for kind in kinds for key in kind]
        place = {key: index for index, key in enumerate(order)}
        first = dict(zip(reversed(keys), reversed(configs), strict=True))
        self._stream_of = [place[key] for key in keys]
        self._gather = torch.tensor(self._stream_of, device=device)
        self.streams = [DeviceStreams([key for key, _ in kind], self._dtype, device) for kind in kinds]
        self._ahead = [kind[0][1] for kind in kinds]
        self._embeddings = torch.stack([embedding(first[key]).to(self._dtype) for key in order])
        self._read = self._embeddings.to(device)
        self._task, batch, cells = config.task, config.samples_per_step, config.samples_per_step * config.n_features
        self._dense = torch.zeros(len(order), _aligned(cells + 1), dtype=self._dtype, device=device)
        self._f = self._dense[:, :cells].view(len(order), batch, -1)
        self._slices = _runs([len(kind) for kind in kinds])
        width = config.d_embed
        self._x = torch.zeros(len(order), batch, _aligned(width), dtype=self._dtype, device=device)[..., :width]
        self._map: Tensor | None = None
        self._target = self._f
        if REPROJECTS[config.task]:
            self._map = torch.stack([target_map(first[key]).to(self._dtype) for key in order]).to(device)
            self._target = torch.zeros_like(self._x)
        elif SIGNED[config.task]:
            self._target = torch.zeros_like(self._f)

    def fixed(self, member: int) -> dict[str, Float[Tensor, "d_embed n_features"]]:
        """P and, for the reprojector, Q of one trial, on the host."""
        stream = self._stream_of[member]
        maps = {} if self._map is None else {"target_map": self._map[stream].cpu()}
        return {"embedding": self._embeddings[stream], **maps}

    def seek(self, step: int) -> None:
        """Make ready for `fill` to give the samples of a step."""
        for stream, ahead in zip(self.streams, self._ahead, strict=True):
            stream.seek(step + ahead)

    def seek_if_due(self, step: int) -> None:
        """The same where `fill` was last called for the step before."""
        for stream, ahead in zip(self.streams, self._ahead, strict=True):
            if (step + ahead - 1) % stream.steps_ahead == 0:
                stream.seek(step + ahead)

    def scatter_with(self, kernel: Callable[..., None] | None) -> None:
        """Have `fill` use a fused kernel, or torch's operations."""
        for stream in self.streams:
            stream.scatter = kernel

    def left(self, step: int) -> int:
        """How many steps from this one on `fill` can serve before samples have to be drawn again."""
        return min(
            stream.steps_ahead - (step + ahead - 1) % stream.steps_ahead
            for stream, ahead in zip(self.streams, self._ahead, strict=True)
        )

    def in_step(self) -> list[int]:
        """Have all members read the samples of the step that is told, until `out_of_step` is given the answer."""
        ahead, self._ahead = self._ahead, [0] * len(self._ahead)
        return ahead

    def out_of_step(self, ahead: list[int]) -> None:
        """Take back `in_step`."""
        self._ahead = ahead

    def fill(self) -> None:
        """Put the samples of the step in turn into the buffers; the next call puts the next step's there."""
        self._dense.zero_()
        for rows, stream in zip(self._slices, self.streams, strict=True):
            stream.fill(self._dense[rows])
        with matmul_settings("fp32"):  # whatever the trials' products are: x is the same data in all precisions
            torch.bmm(self._f, self._read.mT, out=self._x)
            if self._map is not None:
                torch.bmm(self._f, self._map.mT, out=self._target)
        if SIGNED[self._task]:
            torch.abs(self._f, out=self._target)

    def inputs(self, products: DeviceProducts) -> Float[Tensor, "pack batch d_embed"]:
        """Embedded samples, as an operand, trial by trial."""
        x = self._of_members(products.operand("x", self._x))
        return x.expand(len(self._stream_of), *x.shape[1:])

    def subtract_target(self, error: Float[Tensor, "pack batch n_out"]) -> None:
        """What the networks answer, less what they are to answer."""
        error.sub_(self._of_members(self._target))

    def targets(self) -> tuple[Float[Tensor, "streams batch n_out"], Int64[Tensor, " pack"]]:
        """What networks that read a stream are to answer, and which stream each trial reads."""
        return self._target, self._gather

    def _of_members(self, values: Tensor) -> Tensor:
        """The streams' values, trial by trial, or one for all."""
        if self._stream_of == list(range(len(values))) or len(values) == 1:
            return values
        return values.index_select(0, self._gather)


_Stream = tuple[StreamKey, int]
"""A data stream and how many steps ahead it is read."""


def _by_kind(keys: Sequence[_Stream]) -> list[list[_Stream]]:
    """The pack's data streams; those in a list differ in nothing but their seeds."""
    kinds: dict[_Stream, list[_Stream]] = {}
    for key, ahead in dict.fromkeys(keys):
        kinds.setdefault((replace(key, seed=0), ahead), []).append((key, ahead))
    return list(kinds.values())


def _runs(lengths: list[int]) -> list[slice]:
    """Consecutive slices of these lengths."""
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [slice(start, start + length) for start, length in zip(starts, lengths, strict=True)]


def _aligned(n: int) -> int:
    return -(-n // _ALIGN) * _ALIGN

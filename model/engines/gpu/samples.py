"""One step's inputs and targets of a whole pack on the device: x = P f, and what the networks are to answer.

Slots whose trials read the same data stream at the same step share a place, where samples are drawn and embedded once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from monosweep.model.data.stream import Process, StreamKey
from monosweep.model.engines.gpu.layout import padded
from monosweep.model.engines.gpu.products import DeviceProducts, group_size, matmul_settings, multiply, whole_groups
from monosweep.model.engines.gpu.sampling import DeviceStreams, HostStreams, Streams, arrivals, most_arrivals
from monosweep.model.families.two_layer.config import REPROJECTS, SIGNED, TwoLayerConfig
from monosweep.model.families.two_layer.samples import embedding, stream_key, target_map
from monosweep.model.precision import DTYPES

SPARE = 2
"""Places for data streams, as a multiple of those that a pack starts with; at most one for each slot."""


class DeviceSamples:
    """The samples of a pack, step by step, in buffers on the device that stay where they are.

    Args:
        configs: of the pack's first members; others may come whose streams have no more arrivals.
        done: how many steps each of them has done.
        n_slots: how many members there may be.
        device: where they are trained.
        kernels: whether samples are drawn there, or by numpy.
    """

    def __init__(
        self, configs: Sequence[TwoLayerConfig], done: Sequence[int], n_slots: int, device: str, kernels: bool
    ) -> None:
        self._config, self._dtype, self._device = configs[0], DTYPES[configs[0].precision], device
        streams = {(stream_key(c), n) for c, n in zip(configs, done, strict=True)}
        keys = [key for key, _ in streams] * SPARE
        n, batch, width = min(n_slots, len(keys)), self._config.samples_per_step, padded(self._config.d_embed)
        del keys[n:]
        self.streams: Streams = DeviceStreams(keys, self._dtype, device) if kernels else HostStreams(keys)
        self._room = most_arrivals(keys)
        self._streams: list[tuple[StreamKey, int] | None] = [None] * n
        """What each place holds, and how many steps of it have been given."""
        self._steps = [1] * n
        """Of a block of each place's stream."""
        self._drawn = [-1] * n
        self._place_of: list[int | None] = [None] * n_slots
        self._gather = torch.zeros(n_slots, dtype=torch.int64, device=device)
        self._maps: list[dict[str, Tensor]] = [{}] * n
        self._group, row = group_size(self._config), padded(self._config.n_features)
        rows = whole_groups(n, self._group)
        self._f = self._zeros(rows, batch, row)
        self._read, self._x = self._zeros(rows, width, row), self._zeros(rows, batch, width)
        self._map, self._target = None, self._f
        if REPROJECTS[self._config.task]:
            self._map, self._target = torch.zeros_like(self._read), torch.zeros_like(self._x)
        elif SIGNED[self._config.task]:
            self._target = torch.zeros_like(self._f)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=self._dtype, device=self._device)

    def has_room(self, config: TwoLayerConfig, done: int) -> bool:
        """Whether a slot that reads nothing can be put to read this trial's samples."""
        key = stream_key(config)
        return arrivals(key) <= self._room and ((key, done) in self._streams or None in self._streams)

    def put(self, slot: int, config: TwoLayerConfig | None, done: int) -> None:
        """Have a slot read a trial's samples from step `done` + 1 on, or none."""
        old, self._place_of[slot] = self._place_of[slot], None
        if old is not None and old not in self._place_of:
            self._streams[old] = None
            self.streams.put(old, None, 0)
        if config is None:
            return
        stream = (stream_key(config), done)
        if stream not in self._streams:
            self._hold(self._streams.index(None), config, done)
        place = self._place_of[slot] = self._streams.index(stream)
        self._gather[slot] = place

    def _hold(self, place: int, config: TwoLayerConfig, done: int) -> None:
        key, d, n = stream_key(config), config.d_embed, config.n_features
        self._streams[place], self._drawn[place] = (key, done), -1
        self._steps[place] = Process(key).steps_per_block
        self.streams.put(place, key, done)
        self._maps[place] = {"embedding": embedding(config).to(self._dtype)}
        self._read[place, :d, :n].copy_(self._maps[place]["embedding"])
        if self._map is not None:
            self._maps[place]["target_map"] = target_map(config).to(self._dtype)
            self._map[place, :d, :n].copy_(self._maps[place]["target_map"])

    def fixed(self, slot: int) -> dict[str, Float[Tensor, "d_embed n_features"]]:
        """P and, for the reprojector, Q of one slot's trial, on the host."""
        place = self._place_of[slot]
        assert place is not None, "the slot is empty"
        return self._maps[place]

    def passed(self, n_steps: int) -> None:
        """Note that so many steps have been given, or taken back."""
        self._streams = [held and (held[0], held[1] + n_steps) for held in self._streams]

    def seek(self) -> None:
        """Have `fill` go on from where the streams are noted to be, whatever has been run meanwhile."""
        self.streams.seek([held[1] if held else 0 for held in self._streams])
        self._drawn = [-1] * len(self._drawn)

    def left(self, ran: int) -> int:
        """How many steps `fill` can serve before samples are to be drawn, `ran` steps from here."""
        return min(
            steps - (held[1] + ran) % steps if (held[1] + ran) // steps == drawn else 0
            for held, steps, drawn in zip(self._streams, self._steps, self._drawn, strict=True)
            if held
        )

    def drawn(self, ran: int) -> int:
        """Note that samples have been drawn, `ran` steps from here; `left` since then."""
        pairs = zip(self._streams, self._steps, strict=True)
        self._drawn = [(held[1] + ran) // steps if held else -1 for held, steps in pairs]
        return self.left(ran)

    def fill(self) -> None:
        """Put the samples of the step in turn into the buffers; the next call puts the next step's there."""
        f = self._f[: len(self._streams)].zero_()
        self.streams.fill(f)
        with matmul_settings("fp32"):  # whatever the trials' products are: x is the same data in all precisions
            multiply(self._f, self._read.mT, self._x, self._group)
            if self._map is not None:
                multiply(self._f, self._map.mT, self._target, self._group)
        if SIGNED[self._config.task]:
            torch.abs(self._f, out=self._target)

    def inputs(self, products: DeviceProducts) -> Float[Tensor, "pack batch d_embed"]:
        """Embedded samples, as an operand, trial by trial."""
        return products.operand(self._x).index_select(0, self._gather)

    def targets(self) -> tuple[Float[Tensor, "streams batch n_out"], Int64[Tensor, " pack"]]:
        """What networks that read a stream are to answer, and which stream each trial reads."""
        return self._target, self._gather

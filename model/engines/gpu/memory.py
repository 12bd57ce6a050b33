"""What a pack takes of a GPU's memory: an upper bound on the buffers of `engine`, for choosing a pack's size."""

from __future__ import annotations

from monosweep.model.engines.gpu.layout import PaddedLayout, padded
from monosweep.model.engines.gpu.products import ROUNDS_TO, group_size
from monosweep.model.engines.gpu.sampling import most_arrivals
from monosweep.model.families.two_layer.config import REPROJECTS, SIGNED, TOLD_BY_ANSWER, TwoLayerConfig
from monosweep.model.families.two_layer.samples import stream_key
from monosweep.model.precision import DTYPES

_LIBRARIES = 800 * 2**20
"""CUDA's context, kernels and the matrix library's workspace."""
_PER_ARRIVAL = 8 + 4
"""Bytes of a drawn arrival: its cell and value."""
_SMALL = 2**16
"""Knobs, schedules, losses and partial sums of a member."""


def gpu_bytes(config: TwoLayerConfig) -> tuple[int, int]:
    """Bytes that a pack takes whatever its size, and that one more trial adds, with a data stream of its own; rows that
    are nobody's, all but one of a group, are counted with the former."""
    member = _kept(config) + 2 * _passing(config) + _SMALL
    return _LIBRARIES + (group_size(config) - 1) * member, member


def _kept(config: TwoLayerConfig) -> int:
    """Buffers that stay."""
    layout, item, half = PaddedLayout.of(config), DTYPES[config.precision].itemsize, _product_item(config)
    batch, told = config.samples_per_step, TOLD_BY_ANSWER[config.activation]
    # Parameters and moments, as they are and as they were before what is trained ahead; a mask; gradients.
    rows = layout.row * (item * (6 + (config.connectivity < 1)) + half)
    step = batch * half * (layout.n_neurons * (2 if told else 3) + layout.n_out)
    return rows + step + _stream_bytes(config, layout, item)


def _passing(config: TwoLayerConfig) -> int:
    """What a step makes on its way; once in the graphs' own pool, once for steps that are run as they are."""
    layout, item, half = PaddedLayout.of(config), DTYPES[config.precision].itemsize, _product_item(config)
    batch, rounded = config.samples_per_step, half < item
    inputs = batch * layout.d_embed * half * (2 + rounded)
    silent = batch * layout.n_neurons * (config.bias_decay_mode == "per_neuron")
    tied = layout.row * 3 * item * (config.bias_decay_mode == "tied_to_update")
    return inputs + silent + tied + layout.row * half * rounded


def _stream_bytes(config: TwoLayerConfig, layout: PaddedLayout, item: int) -> int:
    """Samples, x, the target where it is neither, P, Q, and what is drawn ahead."""
    row, batch, parts = padded(config.n_features), config.samples_per_step, 1 + SIGNED[config.task]
    maps = 1 + REPROJECTS[config.task]
    samples = batch * item * (row * parts + layout.d_embed * maps)
    drawn = parts * most_arrivals([stream_key(config)]) * _PER_ARRIVAL
    return samples + layout.d_embed * row * item * maps + drawn + 8 * row


def _product_item(config: TwoLayerConfig) -> int:
    return 2 if ROUNDS_TO[config.precision] == "bf16" else DTYPES[config.precision].itemsize

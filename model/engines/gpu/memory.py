"""What a pack takes of a GPU's memory: an upper bound on the buffers of `engine`, for choosing a pack's size."""

from __future__ import annotations

from monosweep.model.data.stream import Process, capacity
from monosweep.model.engines.gpu.products import ROUNDS_TO
from monosweep.model.engines.gpu.sampling import ARRIVALS_AT_ONCE
from monosweep.model.families.two_layer.config import SIGNED, TOLD_BY_ANSWER, TwoLayerConfig
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.families.two_layer.samples import stream_key
from monosweep.model.precision import DTYPES

_LIBRARIES = 800 * 2**20
"""CUDA's context, kernels and the matrix library's workspace."""
_PER_ARRIVAL = 16 + 2 * 96
"""Bytes of a drawn arrival: its cell and value, and what is held while it is drawn; that twice, since what eager runs
have used stays with the allocator beside the graphs' own pool."""


def gpu_bytes(config: TwoLayerConfig) -> tuple[int, int]:
    """Bytes that a pack takes whatever its size, and that one more trial adds."""
    return _per_pack(config), _per_member(config)


def _per_pack(config: TwoLayerConfig) -> int:
    return _LIBRARIES + _parts(config) * ARRIVALS_AT_ONCE * _PER_ARRIVAL


def _per_member(config: TwoLayerConfig) -> int:
    """With a data stream of its own."""
    layout, item = Layout.of(config), DTYPES[config.precision].itemsize
    batch, rounded = config.samples_per_step, 2 * (ROUNDS_TO[config.precision] == "bf16")
    # Parameters, moments, gradient, update, and five copies while the recorded step is checked.
    rows = layout.row * (item * (12 + (config.connectivity < 1)) + 2 * rounded)
    hidden = batch * config.n_neurons * (item * _hidden_buffers(config) + 3 * rounded)
    outer = batch * layout.n_out * (item * 3 + 2 * rounded)  # the error; its target, gathered
    inputs = 4 * batch * (config.d_embed + 32) * item
    samples = batch * config.n_features * item * _parts(config) + 2 * batch * config.d_embed * item
    maps = 2 * config.d_embed * config.n_features * item
    return int(rows + hidden + outer + inputs + samples + maps + _stream_bytes(config)) + 2**16


def _hidden_buffers(config: TwoLayerConfig) -> int:
    """Activations and their gradient; for the sign of `l1` or the slopes of smooth activations, what they hold on the
    way, twice as above."""
    return 2 + 2 * 1 if TOLD_BY_ANSWER[config.activation] else 3 + 2 * 5


def _stream_bytes(config: TwoLayerConfig) -> float:
    process = Process(stream_key(config))
    samples = process.steps_per_block * config.samples_per_step
    arrivals = capacity(float(process.ends[-1]) * samples) + samples * len(process.always)
    return _parts(config) * arrivals * _PER_ARRIVAL


def _parts(config: TwoLayerConfig) -> int:
    """Draws that make up a sample: `abs` takes the difference of two."""
    return 2 if SIGNED[config.task] else 1

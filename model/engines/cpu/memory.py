"""What a pack takes of memory on a CPU: an upper bound on the buffers of `engine`, for choosing a pack's size."""

from __future__ import annotations

from monosweep.model.engines.cpu.compiled_step import is_gram, is_half
from monosweep.model.engines.cpu.pack import CHUNK_BYTES
from monosweep.model.engines.cpu.step import block_rows
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.precision import DTYPES, ROUNDED


def cpu_bytes(config: TwoLayerConfig) -> tuple[int, int]:
    """Bytes that a pack takes whatever its size, and for each member: parameters and moments, their two copies while a
    checkpoint is written, neurons and data stream."""
    return _per_pack(config), _per_member(config)


def _per_member(config: TwoLayerConfig) -> int:
    layout, item = Layout.of(config), DTYPES[config.precision].itemsize
    stream = config.d_embed * config.n_features * item + 2**20
    return item * 9 * layout.row + 8 * 9 * config.n_neurons + stream


def _per_pack(config: TwoLayerConfig) -> int:
    """Buffers of one step and samples."""
    layout, item = Layout.of(config), DTYPES[config.precision].itemsize
    batch, n_features = config.samples_per_step, config.n_features
    buffers = block_rows(config, layout) * (3 * layout.n_neurons + layout.n_out) + 2 * layout.row
    if config.precision in ROUNDED:  # operands and products once more
        buffers += buffers // 2 if is_half(config) else buffers
    buffers += 2 * layout.n_neurons**2 * is_gram(config)
    samples = max(CHUNK_BYTES, batch * n_features * item) * 3 * config.d_embed / n_features
    present = 64 * max(1.0, n_features * config.feature_prob) * max(batch, CHUNK_BYTES / (n_features * item))
    return int(item * buffers + samples + present)

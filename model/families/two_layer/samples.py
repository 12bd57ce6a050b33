"""What a two-layer network reads and is to answer: its features' stream, embedding and target map."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from monosweep.model.data.embedding import orthonormal_map
from monosweep.model.data.stream import StreamKey
from monosweep.model.families.two_layer.config import SIGNED, TwoLayerConfig


def stream_key(config: TwoLayerConfig) -> StreamKey:
    """The key of the data stream that `config` trains on."""
    signed = SIGNED[config.task]
    return StreamKey(
        seed=config.seed,
        n_features=config.n_features,
        batch_size=config.samples_per_step,
        feature_prob=config.feature_prob / 2 if signed else config.feature_prob,
        feature_dist=config.feature_dist,
        signed=signed,
    )


def embedding(config: TwoLayerConfig) -> Float[Tensor, "d_embed n_features"]:
    """P, the fixed map from features to the network's input; columns have length 1; float64 (section 2)."""
    return orthonormal_map(config.seed, "embedding", config.n_features, config.d_embed)


def target_map(config: TwoLayerConfig) -> Float[Tensor, "d_embed n_features"]:
    """Q, the target of the `reprojector` task, drawn like P (eq. 2)."""
    return orthonormal_map(config.seed, "target_map", config.n_features, config.d_embed)

"""How much memory a pack takes, for choosing its size before it is trained."""

from __future__ import annotations

from monosweep.model.config import ConfigError, TrialConfig, unknown_name
from monosweep.model.engines import hand_tuned
from monosweep.model.families import family_of
from monosweep.model.precision import DTYPES
from monosweep.model.schedule import loss_window, recorded_steps

LIBRARIES = 800 * 2**20
"""torch built for CUDA holds 680 MiB; built for CPUs 370."""
LOOK_BYTES = 2**21
"""Metrics are computed for as many members at once as fit in cache: fewer calls, and no more memory to speak of."""
_HELD = 12
"""Of a family's own: copies of parameters (with moments, gradients, a checkpoint's) and of a batch (with what is kept
for the gradients), at most."""


def bytes_of_pack(config: TrialConfig, device: str = "cpu") -> tuple[int, int]:
    """Bytes of `device` that a pack of such trials takes: whatever its size, and for each member.

    Raises:
        ConfigError: if the device is neither `cpu` nor `cuda`.
    """
    if device not in ("cpu", "cuda"):
        raise ConfigError(unknown_name("device", device, ["cpu", "cuda"]))
    tuned = hand_tuned(config, device)
    per_pack, per_member = tuned.bytes_of_pack(config) if tuned else _of_any_family(config)
    on_host = device == "cpu"
    look = max(LOOK_BYTES, family_of(config).look_bytes(config)) if on_host else 0
    return per_pack + on_host * LIBRARIES + look, per_member + on_host * _record_bytes(config)


def _of_any_family(config: TrialConfig) -> tuple[int, int]:
    family, item = family_of(config), DTYPES[config.precision].itemsize
    kept, drawn = (
        sum(tensor.numel() for tensor in tensors.values())
        for tensors in (family.start(config) | family.fixed(config), family.sample(config, 1))  # type: ignore[operator]
    )
    return 0, item * _HELD * (kept + drawn)


def _record_bytes(config: TrialConfig) -> int:
    """Losses and curve of one member."""
    return 8 * loss_window(config, config.n_steps) + 400 * len(list(recorded_steps(config.n_steps)))

"""The weights that trials of a root have left, by trial.  Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monosweep.sweep.store.files import DamagedError, Storage, one_line
from monosweep.sweep.store.names import in_path
from monosweep.sweep.store.parts import pack_and_step
from monosweep.sweep.store.read import sweep_of

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True, slots=True)
class Kept:
    """A trial's weights after some step."""

    trial_id: str
    pack_id: str
    step: int
    tensors: dict[str, ndarray]


def kept_weights(storage: Storage, sweep: str, pack_id: str | None = None) -> Iterator[Kept]:
    """All weights that trials of a sweep have left, or those of one pack, file by file.

    Raises:
        DamagedError: if a file holds something else.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    for name in sorted(storage.names(f"weights/sweep={in_path(sweep)}", ".safetensors")):
        of_pack, step = pack_and_step(name)
        if step < 0 or pack_id not in (None, of_pack):
            continue
        try:
            tensors = load(storage.get(name))
        except SafetensorError as error:
            raise DamagedError(f"cannot read {storage.path(name)}: {one_line(error)}; remove it") from None
        by_trial: dict[str, dict[str, ndarray]] = {}
        for key, tensor in tensors.items():
            trial_id, _, called = key.partition("/")
            by_trial.setdefault(trial_id, {})[called] = tensor
        yield from (Kept(trial_id, of_pack, step, named) for trial_id, named in by_trial.items())


def last_weights(storage: Storage, row: Mapping[str, Any]) -> dict[str, ndarray] | None:
    """The weights of a trial at its last step; None if they were not kept."""
    sweeps = {sweep_of(name) for name in storage.names("weights", ".safetensors")}
    for sweep in sorted(sweeps):
        for kept in kept_weights(storage, sweep, row["pack_id"]):
            if (kept.trial_id, kept.step) == (row["trial_id"], row["last_step"]):
                return kept.tensors
    return None

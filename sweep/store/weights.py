"""The weights that trials of a root have left, by trial.  Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monosweep.model.records import TrialStatus
from monosweep.sweep.store.files import DamagedError, Storage, one_line
from monosweep.sweep.store.names import in_path
from monosweep.sweep.store.parts import pack_and_step, tensor_names
from monosweep.sweep.store.read import sweep_of

if TYPE_CHECKING:
    from numpy import ndarray


WITH_WEIGHTS = (TrialStatus.COMPLETED, TrialStatus.STOPPED)
"""How trials end that have some."""


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

    for name, of_pack, step in _files(storage, sweep):
        if pack_id not in (None, of_pack):
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


def lacking(storage: Storage, rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of `trials` that have ended with weights, of which none were kept; only names are read.

    Raises:
        DamagedError: if a file of weights holds something else.
    """
    kept = {
        (sweep, pack_id, step, trial_id)
        for sweep in sorted({row["sweep"] for row in rows})
        for name, pack_id, step in _files(storage, sweep)
        for trial_id in _holders(storage, name)
    }
    ended = [row for row in rows if row["status"] in WITH_WEIGHTS]
    return [row for row in ended if (row["sweep"], row["pack_id"], row["last_step"], row["trial_id"]) not in kept]


def _holders(storage: Storage, name: str) -> set[str]:
    """Whose weights a file holds."""
    try:
        names = storage.use(name, lambda file: tensor_names(lambda n: file.read_at(n, 0), file.size()))
    except ValueError as error:
        raise DamagedError(f"cannot read {storage.path(name)}: {one_line(error)}; remove it") from None
    return {each.partition("/")[0] for each in names}


def _files(storage: Storage, sweep: str) -> Iterator[tuple[str, str, int]]:
    """(name, pack_id, step) of the files of weights of a sweep."""
    for name in sorted(storage.names(f"weights/sweep={in_path(sweep)}", ".safetensors")):
        pack_id, step = pack_and_step(name)
        if step >= 0:
            yield name, pack_id, step

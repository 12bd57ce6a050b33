"""The weights that trials left: who left some, and one trial's tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from monosweep.analysis.tables.guard import QueryError
from monosweep.analysis.tables.storage import Files, Part, first_line
from monosweep.sweep.store.parts import pack_and_step, tensor_names

if TYPE_CHECKING:
    import numpy as np


Holders = frozenset[tuple[str, str, str]]
"""(sweep, pack_id, trial_id) of trials."""


def with_weights(files: Files, sweeps: Iterable[str], known: dict[Part, Holders]) -> Holders:
    """Who has left weights, of those that `sweeps` have trained; only names are read, and those not twice.

    Args:
        known: what files hold that were read before; grows.

    Raises:
        QueryError: if a file is damaged.
    """
    wanted = set(sweeps)
    parts = [p for p in files.parts("weights", ".safetensors") if p.sweep in wanted]
    for part in parts:
        if part not in known:
            pack_id, _ = pack_and_step(part.path)
            known[part] = frozenset((part.sweep, pack_id, name.partition("/")[0]) for name in _names(files, part))
    return frozenset().union(*(known[part] for part in parts))


def _names(files: Files, part: Part) -> list[str]:
    try:
        return tensor_names(partial(files.begin, part.path), part.size)
    except ValueError as error:
        raise QueryError(f"cannot read the weights in {part.path}: {first_line(error)}; remove it") from None


def last_weights(files: Files, row: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """The last saved weights of the trial of a row, by name of the tensor; None if there are none.

    Raises:
        QueryError: if the file that should hold them cannot be read.
    """
    for part in _parts_of(files, row):
        if found := _tensors(files, part, row["trial_id"]):
            return found
    return None


def _parts_of(files: Files, row: Mapping[str, Any]) -> list[Part]:
    """The weights files of a trial's pack, the latest step first."""
    parts = [p for p in files.parts("weights", ".safetensors") if p.sweep == row["sweep"]]
    ours = [p for p in parts if pack_and_step(p.path)[0] == row["pack_id"]]
    return sorted(ours, key=lambda p: pack_and_step(p.path)[1], reverse=True)


def _tensors(files: Files, part: Part, trial_id: str) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError  # late: most questions are about rows alone
    from safetensors.numpy import load

    try:
        tensors = load(files.read(part.path))
    except SafetensorError as error:
        raise QueryError(f"cannot read the weights in {part.path}: {first_line(error)}") from None
    prefix = f"{trial_id}/"
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

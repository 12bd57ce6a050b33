"""Checkpoints: a pack's training state as bytes, over the previous one until all its trials have rows.

    worker -> Store.save_checkpoint -> checkpoints/sweep=NAME/PACKID.safetensors -> load_checkpoint -> worker

A file is what `model.checkpoint` makes, with a checksum in it.
"""

from __future__ import annotations

import json
import struct

import pyarrow as pa

from monosweep.sweep.store.files import GoneError, Storage
from monosweep.sweep.store.names import in_path


def save(storage: Storage, sweep: str, pack_id: str, data: bytes) -> None:
    """Keep a pack's training state, over the previous one."""
    storage.put(_name(sweep, pack_id), data)


def load(storage: Storage, sweep: str, pack_id: str) -> bytes | None:
    """A pack's last training state; None if there is none.

    Raises:
        StoreError: if it cannot be read.
    """
    try:
        return storage.get(_name(sweep, pack_id))
    except GoneError:
        return None


def of_sweep(storage: Storage, sweep: str) -> list[str]:
    """The pack_ids that have a checkpoint."""
    folder = f"checkpoints/sweep={in_path(sweep)}"
    names = storage.names(folder, ".safetensors")
    return [name.removeprefix(f"{folder}/").removesuffix(".safetensors") for name in names]


def metadata(storage: Storage, sweep: str, pack_id: str) -> dict[str, str] | None:
    """The metadata in a checkpoint's header, without reading its tensors: empty if it is no header; None if the
    checkpoint has gone."""
    try:
        return storage.use(_name(sweep, pack_id), _header)
    except GoneError:
        return None


def drop(storage: Storage, sweep: str, pack_id: str) -> None:
    """Remove a pack's checkpoint, if there is one."""
    storage.remove(_name(sweep, pack_id))


def _name(sweep: str, pack_id: str) -> str:
    return f"checkpoints/sweep={in_path(sweep)}/{pack_id}.safetensors"


def _header(file: pa.NativeFile) -> dict[str, str]:
    """`__metadata__` of a safetensors file: eight bytes of length, then a JSON header."""
    size = file.size()
    if size < 8:
        return {}
    (length,) = struct.unpack("<Q", file.read(8))
    if length > size - 8:
        return {}
    try:
        header = json.loads(file.read(length))
        return {str(k): str(v) for k, v in header["__metadata__"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}

"""Members as bytes (safetensors), and back: any of them, into a pack on any engine.

    | header: {"monosweep_checkpoint_2": {pack, members: [{config, step, curve, …}]}} | tensors "PLACE/NAME" |
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy import ndarray
from safetensors import SafetensorError
from torch import Tensor

from monosweep.model.config import ConfigError
from monosweep.model.families import config_of
from monosweep.model.member import MemberState, Rows
from monosweep.model.records import CHECKPOINT_FORMAT as FORMAT

_ROWS = "rows"


def to_bytes(members: Sequence[MemberState], about: Mapping[str, Any]) -> bytes:
    """A checkpoint of some members.

    Args:
        about: what else to keep, as JSON.
    """
    tensors: dict[str, Tensor] = {}
    for place, member in enumerate(members):
        tensors |= {f"{place}/{name}": tensor for name, tensor in member.tensors.items()}
        tensors[f"{place}/latest"] = torch.from_numpy(np.ascontiguousarray(member.latest))
        tensors |= {f"{place}/{name}": torch.from_numpy(values) for name, values in _flat(member.rows).items()}
    told = {**about, "members": [_plain(member) for member in members]}
    return serialise(tensors, {FORMAT: json.dumps(told)})


def from_bytes(data: bytes, only: Collection[str] | None = None) -> tuple[list[MemberState], dict[str, Any]]:
    """The members of a checkpoint, or those of some trial_ids, and what was kept besides.

    Raises:
        ConfigError: if `data` is no whole checkpoint of this format.
    """
    about, members = _header(data)
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError) as error:
        raise _broken(error) from None
    own: dict[str, dict[str, Tensor]] = {str(i): {} for i in range(len(members))}
    for name, tensor in tensors.items():
        place, _, rest = name.partition("/")
        own[place][rest] = tensor
    chosen = [i for i, told in enumerate(members) if only is None or told["trial_id"] in only]
    return [_member(members[i], own[str(i)]) for i in chosen], about


def _header(data: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        about = json.loads(_metadata(data)[FORMAT])
        return about, about.pop("members")
    except (KeyError, ValueError, TypeError) as error:
        raise _broken(error) from None


def _broken(error: Exception) -> ConfigError:
    return ConfigError(f"not a monosweep checkpoint ({error}); delete it to start over")


def _plain(member: MemberState) -> dict[str, Any]:
    return {
        "trial_id": member.config.trial_id, "config": member.config.to_dict(), "step": member.step,
        "least": member.least, "curve": list(member.curve), "seconds": member.seconds,
    }  # fmt: skip


def _member(told: Mapping[str, Any], own: dict[str, Tensor]) -> MemberState:
    rows: Rows = {}
    recorded = [name for name in own if name.startswith(f"{_ROWS}/")]
    for name in sorted(recorded, key=lambda name: int(name.rpartition("/")[2])):
        _, table, column, _ = name.split("/")
        rows.setdefault(table, {}).setdefault(column, []).append(own.pop(name).numpy())
    latest = own.pop("latest").numpy()
    return MemberState(
        config=config_of(told["config"]), step=told["step"], tensors=own, latest=latest, least=told["least"],
        curve=tuple(told["curve"]), rows=rows, seconds=told["seconds"],
    )  # fmt: skip


def _flat(rows: Rows) -> dict[str, ndarray]:
    return {
        f"{_ROWS}/{table}/{column}/{index}": values.copy()  # members may share theirs, safetensors may not
        for table, columns in rows.items()
        for column, arrays in columns.items()
        for index, values in enumerate(arrays)
    }


def serialise(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> bytes:
    """Safetensors bytes; tensors that share memory are written one by one."""
    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone(memory_format=torch.contiguous_format) if place in seen else tensor.contiguous()
        seen.add(place)
    data: bytes = safetensors.torch.save(own, metadata)
    return data


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of safetensors bytes: eight bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 + length:
        raise ValueError("the file is cut short")
    return json.loads(data[8 : 8 + length])["__metadata__"]  # type: ignore[no-any-return]

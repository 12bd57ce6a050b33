"""Members as bytes (safetensors), and back: any of them, into a pack on any engine.

    | header: {FORMAT: {code, pack, source, members: [{config, step, curve, …}]}, checksum} | tensors |

Tensors are "PLACE/tensors/NAME", "PLACE/losses", and "PLACE/rows/TABLE/COLUMN/INDEX" for each recorded step.  The
checksum is of all of them, where they lie, and of what the header says: a file cut short or altered is told from one
that cannot be read, which is its owner's matter.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy import ndarray
from safetensors import SafetensorError
from torch import Tensor

from monosweep.model.checkpoint_header import CHECKSUM, FORMAT, CheckpointError, damaged, told
from monosweep.model.config import TrialConfig
from monosweep.model.families import config_from
from monosweep.model.member import MemberState, Rows


def to_bytes(members: Sequence[MemberState], about: Mapping[str, Any], code: str = "") -> bytes:
    """A checkpoint of some members of one pack.

    Args:
        about: what else to keep, as JSON.
        code: a name of the code that trained them.
    """
    tensors: dict[str, Tensor] = {}
    for place, member in enumerate(members):
        tensors |= {f"{place}/tensors/{name}": tensor for name, tensor in member.tensors.items()}
        tensors[f"{place}/losses"] = torch.from_numpy(np.ascontiguousarray(member.latest))
        tensors |= {f"{place}/rows/{name}": torch.from_numpy(values) for name, values in _flat(member.rows).items()}
    sources = [member.config.SOURCE for member in members[:1]]
    source = asdict(sources[0]) if sources and sources[0] else None
    pack = {"code": code, "pack": dict(about), "source": source, "members": [_plain(member) for member in members]}
    return sealed(tensors, json.dumps(pack))


def sealed(tensors: Mapping[str, Tensor], pack: str) -> bytes:
    """A checkpoint of these tensors that says `pack` of them."""
    return serialise(tensors, {FORMAT: pack, CHECKSUM: _checksum(tensors, pack)})


def _checksum(tensors: Mapping[str, Tensor], pack: str) -> str:
    """Of names, types, sizes and numbers, and of what is said of them; copies none that lies in one piece."""
    found = zlib.crc32(pack.encode())
    for name, tensor in sorted(tensors.items()):
        found = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), found)
        if tensor.numel():
            found = zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data, found)
    return f"{found:08x}"


def from_bytes(
    data: bytes, only: Collection[str] | None = None, code: str | None = None
) -> tuple[list[MemberState], dict[str, Any]]:
    """The members of a checkpoint, or those of some trial_ids, and what was kept besides.

    Args:
        code: who is to go on from it, as `to_bytes` was told; None if any code may.

    Raises:
        CheckpointError: if `data` is no whole checkpoint, or other code has written it.
    """
    try:
        metadata = _metadata(data)
        said = told(metadata, code)
        tensors = safetensors.torch.load(data)
        if _checksum(tensors, metadata[FORMAT]) != metadata.get(CHECKSUM):
            raise damaged("it does not have its checksum")
        own: list[dict[str, Tensor]] = [{} for _ in said["members"]]
        for name, tensor in tensors.items():
            place, _, rest = name.partition("/")
            own[int(place)][rest] = tensor
        members = zip(said["members"], own, strict=True)
        chosen = [(about, kept) for about, kept in members if only is None or about["trial_id"] in only]
        return [_member(_config(about, said["source"]), about, kept) for about, kept in chosen], said["pack"]
    except CheckpointError:
        raise
    except (SafetensorError, KeyError, IndexError, ValueError, TypeError) as error:
        raise damaged((str(error).splitlines() or [type(error).__name__])[0]) from None


def _plain(member: MemberState) -> dict[str, Any]:
    return {
        "trial_id": member.config.trial_id, "config": member.config.to_dict(), "step": member.step,
        "least": member.least, "curve": list(member.curve), "seconds": member.seconds,
        "trained_by": list(member.trained_by), "judged": member.judged,
    }  # fmt: skip


def _config(about: Mapping[str, Any], source: Mapping[str, str] | None) -> TrialConfig:
    """A member's config; of a user's family, as the family was when the checkpoint was written."""
    config = config_from(about["config"], source)
    if config.trial_id != about["trial_id"]:
        raise ValueError(f"it holds trial {config.trial_id} under the name {about['trial_id']}")
    return config


def _member(config: TrialConfig, about: Mapping[str, Any], own: Mapping[str, Tensor]) -> MemberState:
    rows: Rows = {}
    recorded = [name.split("/")[1:] for name in own if name.startswith("rows/")]
    for table, column, index in sorted(recorded, key=lambda parts: int(parts[2])):
        rows.setdefault(table, {}).setdefault(column, []).append(own[f"rows/{table}/{column}/{index}"].numpy())
    tensors = {name.removeprefix("tensors/"): tensor for name, tensor in own.items() if name.startswith("tensors/")}
    return MemberState(
        config=config, step=about["step"], tensors=tensors, latest=own["losses"].numpy(), least=about["least"],
        curve=tuple(about["curve"]), rows=rows, seconds=about["seconds"],
        trained_by=tuple(about.get("trained_by", ())), judged=about.get("judged", 0),
    )  # fmt: skip


def _flat(rows: Rows) -> dict[str, ndarray]:
    return {
        f"{table}/{column}/{index}": np.ascontiguousarray(values)
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


def weights_bytes(weights: Mapping[str, Mapping[str, Tensor]], step: int) -> bytes:
    """Members' weights as safetensors, all after so many steps: `{trial_id}/{name}`."""
    tensors = {f"{trial_id}/{name}": t for trial_id, named in weights.items() for name, t in named.items()}
    return serialise(tensors, {"step": str(step)})


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of safetensors bytes: eight bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < max(9, 8 + length):
        raise damaged("it is cut short" if data else "it is empty")
    return json.loads(data[8 : 8 + length])["__metadata__"]  # type: ignore[no-any-return]

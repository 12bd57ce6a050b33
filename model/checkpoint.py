"""Members as bytes (safetensors), and back: any of them, into a pack on any engine.

    | header: {"monosweep_checkpoint_2": {pack, source, members: [{config, step, curve, …}]}} | tensors |

Tensors are "PLACE/tensors/NAME", "PLACE/losses", and "PLACE/rows/TABLE/COLUMN/INDEX" for each recorded step.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy import ndarray
from safetensors import SafetensorError
from torch import Tensor

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families import config_from
from monosweep.model.member import MemberState, Rows
from monosweep.model.records import CHECKPOINT_FORMAT as FORMAT


def to_bytes(members: Sequence[MemberState], about: Mapping[str, Any]) -> bytes:
    """A checkpoint of some members of one pack.

    Args:
        about: what else to keep, as JSON.
    """
    tensors: dict[str, Tensor] = {}
    for place, member in enumerate(members):
        tensors |= {f"{place}/tensors/{name}": tensor for name, tensor in member.tensors.items()}
        tensors[f"{place}/losses"] = torch.from_numpy(np.ascontiguousarray(member.latest))
        tensors |= {f"{place}/rows/{name}": torch.from_numpy(values) for name, values in _flat(member.rows).items()}
    sources = [member.config.SOURCE for member in members[:1]]
    source = asdict(sources[0]) if sources and sources[0] else None
    told = {"pack": dict(about), "source": source, "members": [_plain(member) for member in members]}
    return serialise(tensors, {FORMAT: json.dumps(told)})


def from_bytes(data: bytes, only: Collection[str] | None = None) -> tuple[list[MemberState], dict[str, Any]]:
    """The members of a checkpoint, or those of some trial_ids, and what was kept besides.

    Raises:
        ConfigError: if `data` is no whole checkpoint of this format.
    """
    try:
        told = _told(_metadata(data))
        own: list[dict[str, Tensor]] = [{} for _ in told["members"]]
        for name, tensor in safetensors.torch.load(data).items():
            place, _, rest = name.partition("/")
            own[int(place)][rest] = tensor
        members = zip(told["members"], own, strict=True)
        chosen = [(about, tensors) for about, tensors in members if only is None or about["trial_id"] in only]
        return [_member(_config(about, told["source"]), about, tensors) for about, tensors in chosen], told["pack"]
    except (SafetensorError, KeyError, IndexError, ValueError, TypeError) as error:
        raise _broken(error) from None


def _told(metadata: Mapping[str, str]) -> dict[str, Any]:
    if FORMAT not in metadata:
        raise ValueError(f"it is {', '.join(metadata) or 'nothing'} and not {FORMAT}")
    return json.loads(metadata[FORMAT])  # type: ignore[no-any-return]


def _broken(error: Exception) -> ConfigError:
    problem = (str(error).splitlines() or [type(error).__name__])[0]
    return ConfigError(f"not a monosweep checkpoint ({problem}); delete it to start over")


def _plain(member: MemberState) -> dict[str, Any]:
    return {
        "trial_id": member.config.trial_id, "config": member.config.to_dict(), "step": member.step,
        "least": member.least, "curve": list(member.curve), "seconds": member.seconds,
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


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata of safetensors bytes: eight bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 + length:
        raise ValueError("the file is cut short")
    return json.loads(data[8 : 8 + length])["__metadata__"]  # type: ignore[no-any-return]

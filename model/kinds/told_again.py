"""Checkpoints of plain functions: who is in one, and how far; the header of any checkpoint, with no numbers behind it.

A member goes on from there by doing the same again, which a pure function can.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from safetensors.numpy import save

from monosweep.model.checkpoint_header import CHECKSUM, FORMAT, CheckpointError, damaged, told
from monosweep.model.families import config_from
from monosweep.model.member import MemberState


def to_bytes(members: Sequence[MemberState], about: Mapping[str, Any], code: str) -> bytes:
    """As `Kind`; the header of a checkpoint, with no numbers behind it."""
    source = members[0].config.SOURCE if members else None
    listed = [
        {
            "trial_id": one.config.trial_id, "config": one.config.to_dict(), "step": one.step,
            "curve": list(one.curve), "seconds": one.seconds, "trained_by": list(one.trained_by), "judged": one.judged,
        }
        for one in members
    ]  # fmt: skip
    pack = {"code": code, "pack": dict(about), "source": asdict(source) if source else None, "members": listed}
    text = json.dumps(pack)
    data: bytes = save({}, {FORMAT: text, CHECKSUM: _checksum(text)})
    return data


def from_bytes(data: bytes, only: Collection[str] | None, code: str) -> tuple[list[MemberState], dict[str, Any]]:
    """As `Kind`."""
    try:
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        said = told(metadata, code)
        if _checksum(metadata[FORMAT]) != metadata.get(CHECKSUM):
            raise damaged("it does not have its checksum")
        chosen = [one for one in said["members"] if only is None or one["trial_id"] in only]
        members = [
            MemberState(
                config=config_from(one["config"], said["source"]), step=one["step"], curve=tuple(one["curve"]),
                seconds=one["seconds"], trained_by=tuple(one["trained_by"]), judged=one["judged"],
            )
            for one in chosen
        ]  # fmt: skip
    except CheckpointError:
        raise
    except (KeyError, ValueError, TypeError) as error:
        raise damaged((str(error).splitlines() or [type(error).__name__])[0]) from None
    return members, dict(said["pack"])


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"

"""What the header of a checkpoint says, and why none goes on from it.  Torch-free: whoever plans reads headers alone.

checkpoint (writes) -> {FORMAT: JSON of pack and members, CHECKSUM: …} -> told -> checkpoint, sweep.plan
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from monosweep.model.config import ConfigError

FORMAT = "monosweep_checkpoint_3"
"""Under which a checkpoint's header says who is in it."""
CHECKSUM = "checksum"
"""Under which it has that of all numbers and of what it says."""
_EARLIER = "monosweep_checkpoint_"


class CheckpointError(ConfigError):
    """A checkpoint that its trials cannot go on from: `problem` says why, as `is damaged (…)`."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"the checkpoint {problem}; delete it to start over")
        self.problem = problem


def damaged(reason: str) -> CheckpointError:
    """What is no whole checkpoint."""
    return CheckpointError(f"is damaged ({reason})")


def told(metadata: Mapping[str, str], code: str | None = None) -> dict[str, Any]:
    """What a header's metadata says.

    Args:
        code: which code is to go on from it; None if any may.

    Raises:
        CheckpointError: if it is none, or other code has written it: its bits would not be those of one training.
    """
    if FORMAT not in metadata:
        if earlier := [name for name in metadata if name.startswith(_EARLIER)]:
            raise _of_other_code(f"format {earlier[0]}", code)
        raise damaged("it has no header of a checkpoint")
    try:
        found = json.loads(metadata[FORMAT])
        wrote = str(found["code"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(f"its header says {str(error) or type(error).__name__}") from None
    if code not in (None, wrote):
        raise _of_other_code(wrote or "it does not say which", code)
    return dict(found)


def _of_other_code(wrote: str, code: str | None) -> CheckpointError:
    return CheckpointError(f"was written by other code ({wrote}; this is {code or FORMAT})")

"""What every kind of trials can: be begun in packs, gone on with, and told of.  Torch-free.

Kind: start, resume ──> Trainer: advance ──> snapshots        to_bytes, from_bytes: members in checkpoints
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, Protocol

from monosweep.model.config import TrialConfig
from monosweep.model.member import MemberState
from monosweep.model.results import Snapshot, TrialResult, Weights

Record = Literal["final", "log2"]
Keep = Literal["none", "final", "log2"]


class Trainer(Protocol):
    """A pack on its way; members may leave it between any two calls."""

    @property
    def configs(self) -> tuple[TrialConfig, ...]:
        """All that have ever been members, in the order in which they came."""

    @property
    def members(self) -> tuple[TrialConfig, ...]:
        """Those that have not ended."""

    @property
    def done(self) -> bool:
        """Whether there are none."""

    @property
    def step(self) -> int:
        """Steps that the member furthest ahead has done."""

    @property
    def model_steps(self) -> int:
        """Steps of all members together."""

    @property
    def diverged(self) -> dict[int, str]:
        """Members that have diverged, by the order in which they came, with the reason."""

    @property
    def engine(self) -> str:
        """What trains, as rows of members that were stopped say."""

    @property
    def how(self) -> str:
        """The same, and how it goes about it."""

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""

    def advance(self, max_seconds: float) -> Snapshot | None:
        """Go on until a member is to be looked at or leaves, or for about so long; None if nothing is to be told."""

    def points(self, trial_id: str) -> list[tuple[Mapping[str, Any], bool]]:
        """A member's curve so far, and of each point whether it has been decided that the member goes on from it."""

    def goes_on(self, trial_id: str) -> None:
        """It has been decided that a member goes on from where it is."""

    def stop_all(self, why: Mapping[str, str]) -> list[TrialResult]:
        """Have members leave with what they are now, by trial_id with the reason."""

    def results(self) -> list[TrialResult]:
        """Of all who have left with one, in the order in which they came."""

    def weights(self, trial_id: str) -> Weights:
        """A member's tensors as they are now, if it has any."""

    def to_bytes(self, code: str = "") -> bytes:
        """A checkpoint of the members."""

    def close(self) -> None:
        """Let go of what members hold; it is used no more."""


class Kind(Protocol):
    """How trials of a kind are run; implemented by modules."""

    @property
    def LIBRARIES(self) -> tuple[str, ...]:
        """Packages whose versions a trial's numbers may depend on, if they are installed."""

    def device_name(self, device: str) -> str:
        """What the device is called in rows."""

    def check_device(self, device: str) -> None:
        """Have it compute something; raises whatever it has to say if it cannot."""

    def engine_name(self, config: TrialConfig, device: str) -> str:
        """What rows of trials say that could not be begun."""

    def bytes_of_pack(self, config: TrialConfig, device: str) -> tuple[int, int]:
        """Bytes of the device that a pack of such trials takes whatever its size, and for each member."""

    def start(
        self, configs: Sequence[TrialConfig], device: str, record: Record = "final", keep_weights: Keep = "none",
        process: str = "", together: bool = False,
    ) -> Trainer:  # fmt: skip
        """A pack at its start; `together`: members reach recorded steps at the same time, as judges need it."""

    def resume(
        self, data: bytes, device: str, only: Collection[str], record: Record, keep_weights: Keep, code: str,
        process: str, together: bool,
    ) -> Trainer:  # fmt: skip
        """A pack from a checkpoint; raises CheckpointError if it cannot."""

    def to_bytes(self, members: Sequence[MemberState], about: Mapping[str, Any], code: str) -> bytes:
        """A checkpoint of members of one pack."""

    def from_bytes(
        self, data: bytes, only: Collection[str] | None, code: str
    ) -> tuple[list[MemberState], dict[str, Any]]:
        """The members of a checkpoint, and what was kept besides; raises CheckpointError."""

"""The plan of a launch: missing trials and a place to train them in, packs and their memory out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.kinds import kind_of
from monosweep.sweep.ahead import importing
from monosweep.sweep.plan.packs import Pack, Useful, make_packs


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where a launch trains, as far as packs depend on it."""

    device: str
    """`cpu` or `cuda`."""
    n_workers: int
    """Packs in training at a time."""
    memory_bytes: int
    """Free for all workers together."""
    useful: Useful | None = None
    """How many trials are worth training together; None where what suits a CPU will do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What a launch is going to do."""

    n_trials: int
    """Trials to train."""
    n_packs: int
    """Packs that they form."""
    n_resumed: int
    """Packs among them that continue from a checkpoint."""
    model_steps: int
    """Optimiser steps of single trials."""
    n_workers: int
    """Packs in training at a time."""
    memory_bytes: int
    """Estimated peak of all workers together."""
    device: str
    """`cpu` or `cuda`."""
    seconds: float | None = None
    """About how long training them takes; None where that was not to be found out."""


def packs_for(
    missing: Sequence[TrialConfig], resumed: Sequence[Pack], pack_size: int | Literal["auto"], site: Site
) -> list[Pack]:
    """The packs that go on as they are, then new ones of the other missing trials."""
    taken = {config.trial_id for pack in resumed for config in pack.configs}
    rest = [config for config in missing if config.trial_id not in taken]
    if not rest:
        return list(resumed)
    new = make_packs(
        rest, pack_size=pack_size, n_workers=site.n_workers, memory_bytes=site.memory_bytes,
        footprint=partial(_footprint, site.device), useful=site.useful,
    )  # fmt: skip
    return [*resumed, *new]


def plan_of(packs: Sequence[Pack], n_resumed: int, site: Site) -> Plan:
    """What training these packs there comes to."""
    needs = sorted((needed_bytes(site.device, pack) for pack in packs), reverse=True)
    return Plan(
        n_trials=sum(len(pack.configs) for pack in packs), n_packs=len(packs), n_resumed=n_resumed,
        model_steps=sum(config.n_steps for pack in packs for config in pack.configs),
        n_workers=min(site.n_workers, len(packs)), memory_bytes=sum(needs[: site.n_workers]),
        device=site.device,
    )  # fmt: skip


def needed_bytes(device: str, pack: Pack) -> int:
    """Memory of `device` that a pack is estimated to take."""
    per_pack, per_member = _footprint(device, pack.configs[0])
    return per_pack + per_member * len(pack.configs)


def _footprint(device: str, config: TrialConfig) -> tuple[int, int]:
    with importing():
        kind = kind_of(config)
    try:
        return kind.bytes_of_pack(config, device)
    except ConfigError:
        raise
    except Exception:  # a family of a user's is measured by what it makes; if it raises, that is its trials' failure
        return 0, 0

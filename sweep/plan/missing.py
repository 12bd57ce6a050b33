"""What is left to train: trials without a row, and the checkpoints that they go on from.

    members + index -> ended -> missing + checkpoints -> resumable -> packs that go on, and trials that start

A checkpoint stays as long as a trial in it was asked for and has no row.  Who wants some of its trials only has
these cut out, and leaves it to the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families import config_of
from monosweep.model.records import CHECKPOINT_FORMAT, TrialStatus
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Index, Store

RETRIED = (TrialStatus.FAILED, TrialStatus.STOPPED)
"""What --retry-failed trains again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Saved:
    """A checkpoint, from its header."""

    pack_id: str
    step: int
    configs: tuple[TrialConfig, ...]


def ended(index: Index, retry_failed: bool, wanted: Collection[str]) -> Mapping[str, TrialStatus]:
    """The rows that count; those of failed trials that are `wanted` do not if they are to be retried."""
    if not retry_failed:
        return index.statuses
    again = {trial_id for trial_id in wanted if index.statuses.get(trial_id) in RETRIED}
    return {trial_id: status for trial_id, status in index.statuses.items() if trial_id not in again}


def resumable(
    store: Store, sweep: str, missing: Sequence[TrialConfig], unended: Collection[str], say: Callable[[str], None],
    dry_run: bool,
) -> list[Pack]:  # fmt: skip
    """The packs of `missing` trials that go on from a checkpoint; what nobody needs any more is dropped.

    Args:
        missing: what this launch trains.
        unended: all trials that the sweep was asked for and that have no row.
    """
    wanted, open_ids = {config.trial_id for config in missing}, set(unended)
    packs: dict[str, Pack] = {}
    for saved in _furthest_first(store, sweep, say, dry_run):
        still = [config for config in saved.configs if config.trial_id in open_ids]
        chosen = tuple(config for config in still if config.trial_id in wanted)
        whole = len(chosen) == len(still)
        pack = Pack(chosen, saved.pack_id if whole else "")
        if chosen and (whole or dry_run or _cut(store, sweep, saved, pack, say)):
            packs[pack.pack_id] = pack
        if not dry_run and not still:
            store.drop_checkpoint(sweep, saved.pack_id)
        open_ids.difference_update(config.trial_id for config in pack.configs)
    return list(packs.values())


def _furthest_first(store: Store, sweep: str, say: Callable[[str], None], dry_run: bool) -> list[_Saved]:
    """What can be read of a sweep's checkpoints; the others are dropped."""
    found = []
    for pack_id in store.list_checkpoints(sweep):
        if saved := _saved(pack_id, store.checkpoint_metadata(sweep, pack_id)):
            found.append(saved)
            continue
        say(f"the checkpoint of pack {pack_id} is not readable; its trials start over")
        if not dry_run:
            store.drop_checkpoint(sweep, pack_id)
    return sorted(found, key=lambda saved: (-saved.step, -len(saved.configs), saved.pack_id))


def _saved(pack_id: str, metadata: Mapping[str, str]) -> _Saved | None:
    try:
        members = json.loads(metadata[CHECKPOINT_FORMAT])["members"]
        configs = tuple(config_of(member["config"]) for member in members)
        step = max((int(member["step"]) for member in members), default=0)
        return _Saved(pack_id=pack_id, step=step, configs=configs)
    except (ValueError, KeyError, TypeError):
        return None


def _cut(store: Store, sweep: str, saved: _Saved, pack: Pack, say: Callable[[str], None]) -> bool:
    """Have some trials of a checkpoint go on by themselves, from one of their own; whether that can be."""
    from monosweep.model.checkpoint import from_bytes, to_bytes  # torch

    try:
        ids = {config.trial_id for config in pack.configs}
        part = to_bytes(*from_bytes(store.load_checkpoint(sweep, saved.pack_id) or b"", ids))
    except ConfigError:
        say(f"the checkpoint of pack {saved.pack_id} is not readable; its trials start over")
        return False
    store.save_checkpoint(sweep, pack.pack_id, part)
    return True


def fresh(missing: Sequence[TrialConfig], resumed: Sequence[Pack]) -> Iterator[TrialConfig]:
    """The trials that no checkpoint holds."""
    taken = {config.trial_id for pack in resumed for config in pack.configs}
    yield from (config for config in missing if config.trial_id not in taken)

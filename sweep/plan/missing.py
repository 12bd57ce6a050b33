"""What is left to train: trials without a row, and the checkpoints that they go on from.

    members + index -> Standing: missing + checkpoints -> resumable -> packs that go on
                                                       -> drop_done, once a launch has ended

A checkpoint stays as long as a trial in it was asked for and has no row.  Who wants some of its trials only has
these cut out, and leaves it to the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from monosweep.model.checkpoint_header import CheckpointError, damaged, told
from monosweep.model.config import TrialConfig
from monosweep.model.families import config_from
from monosweep.model.kinds import kind_of
from monosweep.model.records import TrialStatus
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Index, Store, count_by_status
from monosweep.sweep.version import training_code

RETRIED = (TrialStatus.FAILED,)
"""What --retry-failed trains again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Saved:
    """A checkpoint, from its header."""

    pack_id: str
    step: int
    configs: tuple[TrialConfig, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a sweep stands for a launch of it."""

    wanted: Mapping[str, TrialConfig]
    """By id, what the launch is to see to the end."""
    members: frozenset[str]
    """All that the sweep was ever asked for, this launch included."""
    rows: Mapping[str, TrialStatus]
    """What has become of the root's trials; those that are to be retried have no row here."""
    to_come: tuple[TrialConfig, ...] = ()
    """Stand-ins for trials that are yet to be asked for."""

    @property
    def missing(self) -> list[TrialConfig]:
        """What the launch trains."""
        return [config for trial_id, config in self.wanted.items() if trial_id not in self.rows]

    @property
    def unended(self) -> frozenset[str]:
        """All members without a row."""
        return self.members.difference(self.rows)

    @property
    def n_failed(self) -> int:
        """Wanted trials whose row says `failed`."""
        return sum(self.rows.get(trial_id) == TrialStatus.FAILED for trial_id in self.wanted)

    @property
    def counts(self) -> Counter[TrialStatus]:
        """Members by status."""
        return count_by_status(self.rows, self.members)


def counting(index: Index, retry_failed: bool, wanted: Collection[str]) -> Mapping[str, TrialStatus]:
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


def drop_done(store: Store, sweep: str, statuses: Mapping[str, TrialStatus]) -> None:
    """Drop the checkpoints whose trials all have rows, failures apart: those may be about to be trained again.

    A worker of a launch that was superseded may write one when the pack has long been ended by another.  Both launches
    look once their own workers have ended, and rows come first, so whoever is later sees it.  What a worker writes even
    then, the next launch drops.

    Args:
        statuses: by id, of all rows.
    """
    saved = _furthest_first(store, sweep, lambda line: None, dry_run=True)
    for each in saved:
        if all(statuses.get(config.trial_id, TrialStatus.FAILED) != TrialStatus.FAILED for config in each.configs):
            store.drop_checkpoint(sweep, each.pack_id)


def _furthest_first(store: Store, sweep: str, say: Callable[[str], None], dry_run: bool) -> list[_Saved]:
    """What can be read of a sweep's checkpoints; the others are dropped."""
    found = []
    for pack_id in store.list_checkpoints(sweep):
        metadata = store.checkpoint_metadata(sweep, pack_id)
        if metadata is None:  # a worker of an earlier launch has just ended its pack
            continue
        try:
            found.append(_saved(pack_id, metadata))
        except CheckpointError as error:
            say(f"the checkpoint of pack {pack_id} {error.problem}; its trials start over")
            if not dry_run:
                store.drop_checkpoint(sweep, pack_id)
    return sorted(found, key=lambda saved: (-saved.step, -len(saved.configs), saved.pack_id))


def _saved(pack_id: str, metadata: Mapping[str, str]) -> _Saved:
    said = told(metadata, training_code())
    try:
        members = said["members"]
        configs = tuple(config_from(member["config"], said["source"]) for member in members)
        step = max((int(member["step"]) for member in members), default=0)
        return _Saved(pack_id=pack_id, step=step, configs=configs)
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(str(error)) from None


def _cut(store: Store, sweep: str, saved: _Saved, pack: Pack, say: Callable[[str], None]) -> bool:
    """Have some trials of a checkpoint go on by themselves, from one of their own; whether that can be."""
    kind = kind_of(pack.configs[0])
    try:
        ids = {config.trial_id for config in pack.configs}
        members, about = kind.from_bytes(store.load_checkpoint(sweep, saved.pack_id) or b"", ids, training_code())
    except CheckpointError as error:
        say(f"the checkpoint of pack {saved.pack_id} {error.problem}; its trials start over")
        return False
    store.save_checkpoint(sweep, pack.pack_id, kind.to_bytes(members, about, training_code()))
    return True

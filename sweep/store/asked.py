"""What was asked for: one row per sweep and trial, written before the trial is trained.

    launch -> Store.ask -> asked/sweep=NAME/part-TRIALS.parquet -> Store.asked -> status, list, resume; the view `asked`

A sweep's members are what stands here, whoever trained them first.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from monosweep.model.config import TrialConfig
from monosweep.model.families import config_of_trial
from monosweep.model.families.source import is_reference
from monosweep.sweep.store.families import load_families
from monosweep.sweep.store.files import Storage
from monosweep.sweep.store.parts import asked_name, parquet
from monosweep.sweep.store.read import read
from monosweep.sweep.store.schema import ASKED, arrow_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a sweep was asked for."""

    trial_ids: frozenset[str]
    unreadable: tuple[str, ...]
    """Parts that could not be read, as paths below the root."""


def ask(storage: Storage, sweep: str, configs: Collection[TrialConfig]) -> None:
    """Add to what `sweep` was asked for those of `configs` that it was not asked for yet, in one part."""
    known = asked(storage, sweep).trial_ids
    new = {config.trial_id: config for config in configs if config.trial_id not in known}
    if not new:
        return
    now = datetime.now(UTC)
    rows = [{"trial_id": i, "config": json.dumps(c.to_dict()), "asked_at": now} for i, c in new.items()]
    storage.put(asked_name(sweep, new), parquet(arrow_table(ASKED, rows)))


def asked(storage: Storage, sweep: str) -> Asked:
    """The trials that `sweep` was asked for; none in a root of schema version 1."""
    found = read(storage, ASKED, ["trial_id"], sweep)
    ids = (trial_id for rows in found.parts.values() for trial_id in rows["trial_id"].to_pylist())
    return Asked(trial_ids=frozenset(ids), unreadable=tuple(sorted(found.damaged)))


def asked_configs(storage: Storage, sweep: str) -> dict[str, TrialConfig]:
    """The same with their configs, in the order in which they were asked for."""
    parts = read(storage, ASKED, None, sweep).parts.values()
    rows = [row for part in sorted(parts, key=_asked_at) for row in part.to_pylist()]
    asked_for = {row["trial_id"]: json.loads(row["config"]) for row in rows}
    if any(is_reference(config.get("family", "")) for config in asked_for.values()):
        load_families(storage)
    return {trial_id: config_of_trial(config, trial_id) for trial_id, config in asked_for.items()}


def _asked_at(part: pa.Table) -> datetime:
    first: datetime = min(part["asked_at"].to_pylist())
    return first

"""What becomes of a pack that cannot be trained as it is: its halves are, from its checkpoint, and a trial that fails
alone gets a row that says so.

Membership must not decide a trial's fate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

from monosweep.model.checkpoint_header import CheckpointError
from monosweep.model.config import TrialConfig
from monosweep.model.kinds import kind_of
from monosweep.model.records import TrialStatus
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Store
from monosweep.sweep.version import training_code
from monosweep.sweep.work.contract import PackProgress, Work
from monosweep.sweep.work.rows import failed_tables


def missing(rows: Mapping[str, TrialStatus], pack: Pack) -> list[TrialConfig]:
    """The members of a pack that are not among its rows; those of earlier failures do not count."""
    return [c for c in pack.configs if rows.get(c.trial_id, TrialStatus.FAILED) == TrialStatus.FAILED]


def split(store: Store, sweep: str, pack: Pack, rest: Sequence[TrialConfig]) -> tuple[Pack, Pack]:
    """Two packs of some members of a pack, which go on from its checkpoint if there is a good one."""
    kind = kind_of(rest[0])
    middle = len(rest) // 2
    parts = Pack(tuple(rest[:middle])), Pack(tuple(rest[middle:]))
    data = store.load_checkpoint(sweep, pack.pack_id)
    if data is not None:
        with suppress(CheckpointError):  # else they start over
            for part in parts:
                members, about = kind.from_bytes(data, {config.trial_id for config in part.configs}, training_code())
                if len(members) == len(part.configs):
                    store.save_checkpoint(sweep, part.pack_id, kind.to_bytes(members, about, training_code()))
    store.drop_checkpoint(sweep, pack.pack_id)
    return parts


def fail(
    store: Store, sweep: str, pack: Pack, configs: Sequence[TrialConfig], error: str, device: str,
    device_name: str | None = None,
) -> None:  # fmt: skip
    """Commit `failed` rows for members of a pack that cannot be trained.

    Args:
        device_name: of where it was tried; left out, this process's.

    Raises:
        StoreError: if they cannot be written.
    """
    engine = kind_of(configs[0]).engine_name(configs[0], device)
    tables = failed_tables(pack.pack_id, configs, error, engine, device, device_name)
    store.commit(sweep, pack.pack_id, tables)
    store.drop_checkpoint(sweep, pack.pack_id)


def settled_progress(work: Work, pack: Pack) -> PackProgress:
    """The last report of a pack that nobody trains any longer: its members that have rows, whoever wrote them."""
    rows = work.store.pack_rows(work.sweep, pack.pack_id)
    settled = [config for config in pack.configs if config.trial_id in rows]
    return PackProgress(
        pack_id=pack.pack_id, n_trials=len(pack.configs), model_steps=sum(config.n_steps for config in settled),
        trained_steps=0, ended=Counter(rows[config.trial_id] for config in settled), finished=True,
    )  # fmt: skip

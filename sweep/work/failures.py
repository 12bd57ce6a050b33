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
from monosweep.model.records import TrialStatus
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.root import Store
from monosweep.sweep.version import training_code
from monosweep.sweep.work.contract import MAX_RETRIES, PackProgress, Work
from monosweep.sweep.work.rows import failed_tables


def after_losses(work: Work, pack: Pack, reason: str) -> tuple[Pack, ...]:
    """What to train instead of a pack whose workers died again and again: halves of what it lacks, from its checkpoint.

    A single trial gets a `failed` row, and nothing is left to train.
    """
    rest = missing(work.store.pack_rows(work.sweep, pack.pack_id), pack)
    if len(rest) > 1:
        return split(work.store, work.sweep, pack, rest)
    if rest:
        error = f"its worker died {MAX_RETRIES + 1} times ({reason})"
        fail(work.store, work.sweep, pack, rest, error, work.settings.device)
    return ()


def missing(rows: Mapping[str, TrialStatus], pack: Pack) -> list[TrialConfig]:
    """The members of a pack that are not among its rows; those of earlier failures do not count."""
    return [c for c in pack.configs if rows.get(c.trial_id, TrialStatus.FAILED) == TrialStatus.FAILED]


def split(store: Store, sweep: str, pack: Pack, rest: Sequence[TrialConfig]) -> tuple[Pack, Pack]:
    """Two packs of some members of a pack, which go on from its checkpoint if there is a good one."""
    from monosweep.model.checkpoint import from_bytes, to_bytes  # torch

    middle = len(rest) // 2
    parts = Pack(tuple(rest[:middle])), Pack(tuple(rest[middle:]))
    data = store.load_checkpoint(sweep, pack.pack_id)
    if data is not None:
        with suppress(CheckpointError):  # else they start over
            for part in parts:
                members, about = from_bytes(data, {config.trial_id for config in part.configs}, training_code())
                if len(members) == len(part.configs):
                    store.save_checkpoint(sweep, part.pack_id, to_bytes(members, about, training_code()))
    store.drop_checkpoint(sweep, pack.pack_id)
    return parts


def fail(store: Store, sweep: str, pack: Pack, configs: Sequence[TrialConfig], error: str, device: str) -> None:
    """Commit `failed` rows for members of a pack that cannot be trained.

    Raises:
        StoreError: if they cannot be written.
    """
    from monosweep.model.engines import engine_name  # torch

    engine = engine_name(configs[0], device)
    store.commit(sweep, pack.pack_id, failed_tables(pack.pack_id, configs, error, engine, device))
    store.drop_checkpoint(sweep, pack.pack_id)


def settled_progress(work: Work, pack: Pack) -> PackProgress:
    """The report of a pack that has its rows, whoever wrote them."""
    rows = work.store.pack_rows(work.sweep, pack.pack_id)
    return PackProgress(
        pack_id=pack.pack_id, n_trials=len(pack.configs), model_steps=sum(c.n_steps for c in pack.configs),
        trained_steps=0, ended=Counter(rows[c.trial_id] for c in pack.configs if c.trial_id in rows), finished=True,
    )  # fmt: skip

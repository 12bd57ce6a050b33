"""A writer, a compactor and a reader on one root, each a process of its own; what the reader saw is the result.

soak(): commits | compactions | queries -> Seen
"""

from __future__ import annotations

import multiprocessing as mp
import time
from dataclasses import dataclass
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import made_packs
from made_packs import N_NEURONS, STEPS

from monosweep.analysis.tables.root import open_root
from monosweep.sweep.store.compact import compact
from monosweep.sweep.store.root import Store

_QUERY = """
select (select count(*) from trials) trials, (select count(distinct trial_id) from trials) ids,
       (select count(*) from curves) curves, (select count(*) from neurons) neurons,
       (select count(distinct (trial_id, step)) from curves) points
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a soak has shown."""

    n_answers: int
    n_merged: int
    """Parts that were merged away under the reader."""
    faults: list[str]


def soak(root: Path, n_packs: int, n_compactions: int, grace_s: float) -> Seen:
    """Commit packs of one trial; all along, compact `n_compactions` times and read without pause."""
    Store.create(str(root))
    spawn = mp.get_context("spawn")
    committed, merged, reading = spawn.Value("i", 0), spawn.Value("i", 0), spawn.Value("i", 1)
    writer = spawn.Process(target=_write, args=(str(root), n_packs, n_compactions, committed, merged, grace_s))
    answers = spawn.Queue()
    reader = spawn.Process(target=_read, args=(str(root), committed, reading, answers))
    reader.start()
    writer.start()
    writer.join()
    reading.value = 0
    n_answers, faults = answers.get()
    reader.join()
    if writer.exitcode or committed.value != n_packs:
        faults.append(f"the writer ended with {writer.exitcode} after {committed.value} packs")
    return Seen(n_answers, merged.value, faults)


def _write(
    root: str, n_packs: int, n_compactions: int, committed: Synchronized[int], merged: Synchronized[int], grace_s: float
) -> None:
    store, spawn = Store.open(root), mp.get_context("spawn")
    compactor = spawn.Process(target=_compact, args=(root, n_packs, n_compactions, committed, merged, grace_s))
    compactor.start()
    for i in range(n_packs):
        # Not further ahead than one compaction's share, so that compactions fall between the commits.
        while compactor.is_alive() and i > (merged.value / 3 + 2 * n_packs / n_compactions):
            time.sleep(0.01)
        made_packs.commit(store, f"{i:016x}", [i])
        committed.value = i + 1
    compactor.join()
    if compactor.exitcode:
        raise SystemExit(compactor.exitcode)


def _compact(
    root: str, n_packs: int, n_compactions: int, committed: Synchronized[int], merged: Synchronized[int], grace_s: float
) -> None:
    store = Store.open(root)
    for i in range(n_compactions):
        while committed.value < (i + 1) * n_packs // n_compactions:
            time.sleep(0.01)
        merged.value += compact(store, grace_s).n_merged


def _read(root: str, committed: Synchronized[int], reading: Synchronized[int], answers: Any) -> None:
    faults: list[str] = []
    views, n_answers = open_root(root, faults.append), 0
    while reading.value or not n_answers:
        least = committed.value
        try:
            (row,) = views.sql(_QUERY).to_pylist()
        except Exception as error:
            faults.append(f"{type(error).__name__}: {error}")
            continue
        most, n_answers = committed.value + 1, n_answers + 1
        n = row["trials"]
        whole = {"trials": n, "ids": n, "curves": n * len(STEPS), "neurons": n * N_NEURONS, "points": n * len(STEPS)}
        if row != whole or not least <= n <= most:
            faults.append(f"between {least} and {most} packs were committed; seen: {row}")
    answers.put((n_answers, faults))

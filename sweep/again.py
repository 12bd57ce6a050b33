"""Weights of trials that have ended without leaving any: trained again, checked against their rows, kept.

rows without weights -> the packs they were trained in -> compared, number by number -> weights/ of the root
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monosweep.model.checkpoint import weights_bytes
from monosweep.model.families import description_of
from monosweep.model.family import names
from monosweep.model.kinds import kind_of
from monosweep.model.records import Losses, TrialStatus
from monosweep.model.watch import Watcher, watch_pack
from monosweep.sweep.store.schema import config_in
from monosweep.sweep.view.replay import Compared, Verdict, compare, compare_curve, provenance_here, verdict

if TYPE_CHECKING:
    from monosweep.model.trained import TrainedTrial
    from monosweep.sweep.store.root import Store

Row = Mapping[str, Any]
Watching = Callable[[int], AbstractContextManager[Watcher]]
"""Someone who looks on while so many steps are trained, of all trials together."""


@dataclass(frozen=True, slots=True)
class Again:
    """A trial that was trained again."""

    row: Row
    trained: TrainedTrial
    judged: Verdict
    equal: bool
    """Whether every number of its row and curve is the same, bit for bit; its weights are in the root then."""


def keep_weights(store: Store, rows: Sequence[Row], watching: Watching) -> Iterator[list[Again]]:
    """Train trials again, pack by pack, and keep the weights of those that are as their rows say.

    Args:
        rows: of `trials`.

    Raises:
        ConfigError: if what has trained them is not to be had here.
        TrialError: if training raises.
        StoreError: if the root cannot be read or written; what was kept is kept.
    """
    for pack in _packs(rows):
        wanted = {row["trial_id"] for row in pack}
        members = _neighbours(store, pack) if _engine(pack[0]) == "vmapped" else pack
        again = [each for each in _trained(store, members, watching) if each.row["trial_id"] in wanted]
        _keep(store, [each for each in again if each.equal])
        yield again


def _engine(row: Row) -> Any:
    return row["engine"].split(",")[0]


def _packs(rows: Sequence[Row]) -> list[list[Row]]:
    """Who was trained together fits into memory together."""
    packs = defaultdict[tuple[str, ...], list[Row]](list)
    for row in rows:
        packs[row["sweep"], row["pack_id"], row["device"], row["engine"]].append(row)
    return [*packs.values()]


def _neighbours(store: Store, pack: Sequence[Row]) -> Sequence[Row]:
    """All that were in it: the last bits of a stack of matrices depend on how many there are."""
    first = pack[0]
    ids = store.pack_rows(first["sweep"], first["pack_id"])
    together = [row for row in store.rows_of("trials", first["sweep"], ids) if row["pack_id"] == first["pack_id"]]
    there = {row["trial_id"]: row for row in together if _engine(row) == "vmapped"}
    return [*(there | {row["trial_id"]: row for row in pack}).values()]


def _trained(store: Store, rows: Sequence[Row], watching: Watching) -> Iterator[Again]:
    first, by_id = rows[0], {row["trial_id"]: row for row in rows}
    until = {trial_id: row["last_step"] for trial_id, row in by_id.items() if row["status"] == TrialStatus.STOPPED}
    curves = defaultdict[str, list[dict[str, Any]]](list)
    for point in store.rows_of("curves", first["sweep"], by_id):
        curves[point["trial_id"]].append(point)
    configs = [config_in(row) for row in rows]
    with watching(sum(row["last_step"] for row in rows)) as watcher:
        trained = watch_pack(configs, first["device"], _engine(first), watcher, until=until)
    for each in trained:
        row = by_id[each.trial_id]
        ending, curve, judged = held_against(row, curves[each.trial_id], each)
        yield Again(row, each, judged, all(number.equal for number in (*ending, *curve)))


def held_against(
    row: Row, curve_rows: Sequence[Row], trained: TrainedTrial
) -> tuple[list[Compared], list[Compared], Verdict]:
    """How a trial ended with its metrics, and its curve, number by number against its rows; and what that comes to."""
    result = trained.result
    numbers = (*names(Losses), *names(description_of(result.config).metrics))
    ending = compare(row, result.status, result.last_step, result.metrics, numbers)
    curve = compare_curve(curve_rows, result.curve)
    here = provenance_here(row, kind_of(result.config).device_name(trained.device))
    return ending, curve, verdict(row, [*ending, *curve], here)


def _keep(store: Store, again: Sequence[Again]) -> None:
    by_step = defaultdict[int, list[Again]](list)
    for each in again:
        by_step[each.row["last_step"]].append(each)
    for step, those in by_step.items():
        weights = {each.trained.trial_id: each.trained.tensors for each in those}
        row = those[0].row
        store.save_weights(row["sweep"], row["pack_id"], step, weights, weights_bytes(weights, step))

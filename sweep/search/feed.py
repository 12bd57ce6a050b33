"""The packs of a sweep that is searched or judged: made as they are needed, and made anew as their members leave.

    Source.ask -> fresh ┐                                        ┌ stop: leaves with its row
    released, go on     ├─ next() -> Pack -> worker -> heard() -> Judge -> Orders
    released, must stop ┘                                        └ release: a checkpoint, from which the next packs take

A pack whose members have left by half is released where others can fill it, and so is one with a member that has to
wait; who was released goes on from the checkpoint in another pack.  Members count for the judge in an order of their
ids' hashes, and so do packs: neither goes with any knob.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from monosweep.model.config import TrialConfig, shape_of
from monosweep.model.records import TrialStatus
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.search.contract import Judge, Point, Source, Verdict
from monosweep.sweep.work.contract import Left, Orders, PackProgress, Seen

Size = Callable[[TrialConfig], int]
"""How many trials of such a shape are trained together."""
_NOTHING = Orders()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A member that was released."""

    config: TrialConfig
    pack_id: str
    """In whose checkpoint it is."""


class Feed:
    """Gives packs to an executor and orders to its workers.

    Args:
        source: which trials come next.
        judge: who goes on; None lets everyone.
        size: of packs.
        ask: is told what the source asks for, before it is trained.
        drop: is told the pack whose checkpoint nobody needs any more.
        resumed: packs of earlier launches, with a checkpoint each.
    """

    def __init__(
        self, source: Source, judge: Judge | None, size: Size, ask: Callable[[Sequence[TrialConfig]], None],
        drop: Callable[[str], None], resumed: Sequence[Pack] = (),
    ) -> None:  # fmt: skip
        self._source, self._judge, self._size, self._ask, self._drop = source, judge, size, ask, drop
        self._fresh: dict[str, TrialConfig] = {}
        self._going_on: dict[str, _Kept] = {c.trial_id: _Kept(c, p.pack_id) for p in resumed for c in p.configs}
        self._waiting: dict[str, _Kept] = {}
        self._stopped: dict[str, tuple[_Kept, str]] = {}
        self._training: dict[str, dict[str, TrialConfig]] = {}
        """Packs in training: their members by trial_id."""
        self._held: dict[str, set[str]] = {}
        """By pack, who waits for a verdict while it still is in training."""
        self._doomed: dict[str, str] = {}
        """Who has to stop as soon as its pack is released, and why."""
        self._stored = {pack.pack_id: {config.trial_id for config in pack.configs} for pack in resumed}
        """Who is in a checkpoint and nowhere else."""
        self._taking: dict[str, Pack] = {}
        """Packs whose members come from other checkpoints, until they have one of their own."""
        self._waits_at: dict[str, int] = {}
        """At which step whom the judge was asked about stands."""
        self._decided: dict[tuple[str, int], Verdict] = {}
        """By trial and step."""
        self._known: set[tuple[str, int]] = set()
        """What the judge has been told: trials and steps."""

    @property
    def over(self) -> bool:
        """Whether no pack will come any more, unless one in training brings it."""
        return not (self._fresh or self._going_on or self._stopped) and self._source.is_over

    def next(self) -> Pack | None:
        """The next pack to train; None if there is none now."""
        first = self._first()
        if first is None:
            return None
        size = self._size(first)
        members = self._like(first, self._going_on)[:size]
        fresh = self._fresh_like(first, size - len(members))
        kept = [self._going_on.pop(config.trial_id) for config in members]
        sources = tuple(dict.fromkeys(each.pack_id for each in kept))
        leaving = self._leaving(sources) if kept or fresh else self._leaving_like(first)
        sources = tuple(dict.fromkeys([*sources, *(each.pack_id for each, _ in leaving)]))
        pack = Pack(
            (*members, *fresh, *(each.config for each, _ in leaving)), sources=sources,
            leaving=tuple((each.config.trial_id, why) for each, why in leaving),
        )  # fmt: skip
        self._training[pack.pack_id] = {config.trial_id: config for config in pack.configs}
        self._taking[pack.pack_id] = pack
        return pack

    def _first(self) -> TrialConfig | None:
        """Some trial that is to be packed: one that goes on before a new one."""
        if self._going_on:
            return self._going_on[min(self._going_on)].config
        if self._fresh or self._more(1):
            return self._fresh[min(self._fresh)]
        return self._stopped[min(self._stopped)][0].config if self._stopped else None

    def _like(self, first: TrialConfig, among: Mapping[str, _Kept]) -> list[TrialConfig]:
        """Of the same shape, by their ids."""
        shape = shape_of(first)
        return [among[i].config for i in sorted(among) if shape_of(among[i].config) == shape]

    def _fresh_like(self, first: TrialConfig, n: int) -> list[TrialConfig]:
        """So many new trials of the same shape, if the source has them."""
        shape = shape_of(first)
        while sum(shape_of(config) == shape for config in self._fresh.values()) < n and self._more(n):
            pass
        found = [self._fresh[i] for i in sorted(self._fresh) if shape_of(self._fresh[i]) == shape][: max(0, n)]
        for config in found:
            del self._fresh[config.trial_id]
        return found

    def _more(self, n: int) -> bool:
        """Ask the source; whether it had any."""
        if self._source.is_over:
            return False
        found = self._source.ask(n)
        if found:
            self._ask(found)
        self._fresh |= {config.trial_id: config for config in found}
        return bool(found)

    def _leaving(self, sources: Collection[str]) -> list[tuple[_Kept, str]]:
        """Who is to leave out of these checkpoints."""
        ids = [trial_id for trial_id, (kept, _) in self._stopped.items() if kept.pack_id in sources]
        return [self._stopped.pop(trial_id) for trial_id in ids]

    def _leaving_like(self, first: TrialConfig) -> list[tuple[_Kept, str]]:
        shape = shape_of(first)
        return self._leaving({kept.pack_id for kept, _ in self._stopped.values() if shape_of(kept.config) == shape})

    def heard(self, progress: PackProgress) -> Orders:
        """A worker reports; what it is to do."""
        self._has_taken(progress.pack_id)
        members = self._training.get(progress.pack_id, {})
        points = [self._point(members[seen.trial_id], seen) for seen in progress.seen if seen.trial_id in members]
        if self._judge is not None:
            self._judge.remember(self._new([p for p, s in zip(points, progress.seen, strict=True) if s.judged]))
        for left in progress.left:
            self._leave(progress.pack_id, left)
        if progress.released:
            self._release(progress.pack_id)
            return _NOTHING
        if progress.finished:
            self.replaced(progress.pack_id, ())
            return _NOTHING
        return self._judged(progress, [p for p, s in zip(points, progress.seen, strict=True) if not s.judged])

    def _has_taken(self, pack_id: str) -> None:
        """A pack's members are in its own checkpoint by the time of its first report, or have their rows."""
        pack = self._taking.pop(pack_id, Pack(()))
        for source in pack.sources:
            there = self._stored.get(source, set())
            there.difference_update(config.trial_id for config in pack.configs)
            if not there and self._stored.pop(source, None) is not None and source != pack_id:
                self._drop(source)

    def _judged(self, progress: PackProgress, points: Sequence[Point]) -> Orders:
        members = self._training.get(progress.pack_id, {})
        points = [point for point in points if point.trial_id in members]
        self._known |= {(point.trial_id, point.step) for point in points}
        verdicts = self._verdicts(points)
        self._elsewhere({i: v for i, v in verdicts.items() if i not in members})
        stop = {i: v.stop for i, v in verdicts.items() if i in members and v.stop is not None}
        held = {point.trial_id for point in points} - verdicts.keys()
        held |= self._held.pop(progress.pack_id, set()) - verdicts.keys()
        if held:
            self._held[progress.pack_id] = held
        release = bool(held) or self._is_thin(progress.pack_id, len(members) - len(stop))
        return Orders(stop=stop, hold=frozenset(held), release=release)

    def _verdicts(self, points: Sequence[Point]) -> dict[str, Verdict]:
        """On these members, and on others that waited for them.  What was decided stays so: a worker that takes up a
        pack again, or takes who waited, reports the same points once more."""
        known = {point.trial_id: self._decided.get((point.trial_id, point.step)) for point in points}
        before = {trial_id: verdict for trial_id, verdict in known.items() if verdict is not None}
        new = [point for point in points if point.trial_id not in before]
        self._waits_at |= {point.trial_id: point.step for point in new}
        given = dict(self._judge.see(new)) if self._judge is not None and new else {}
        self._decide(given)
        return {**given, **before}

    def _decide(self, verdicts: Mapping[str, Verdict]) -> None:
        for trial_id, verdict in verdicts.items():
            if (step := self._waits_at.pop(trial_id, None)) is not None:
                self._decided[trial_id, step] = verdict

    def _is_thin(self, pack_id: str, n_live: int) -> bool:
        """Whether so many members have left a pack that others should fill it, and there are others."""
        members = self._training.get(pack_id, {})
        if not members or not n_live:
            return False
        some = next(iter(members.values()))
        if n_live > self._size(some) // 2:
            return False
        shape = shape_of(some)
        there = any(shape_of(kept.config) == shape for kept in self._going_on.values())
        return there or any(shape_of(c) == shape for c in self._fresh.values()) or not self._source.is_over

    def _point(self, config: TrialConfig, seen: Seen) -> Point:
        return Point(config=config, step=seen.step, values=seen.values)

    def _new(self, points: Sequence[Point]) -> list[Point]:
        """Those that the judge was not told of."""
        new = [point for point in points if (point.trial_id, point.step) not in self._known]
        self._known |= {(point.trial_id, point.step) for point in new}
        return new

    def _leave(self, pack_id: str, left: Left) -> None:
        config = self._training.get(pack_id, {}).pop(left.trial_id, None)
        if config is None:
            return
        self._held.get(pack_id, set()).discard(left.trial_id)
        if self._judge is not None and left.status != TrialStatus.STOPPED:
            self._elsewhere(self._given(config))
        self._source.tell(config, {**(left.metrics or {}), "last_step": left.last_step, "status": str(left.status)})

    def _given(self, config: TrialConfig) -> Mapping[str, Verdict]:
        """What the judge says when someone has left."""
        verdicts = self._judge.left(config) if self._judge is not None else {}
        self._decide(verdicts)
        return verdicts

    def _elsewhere(self, verdicts: Mapping[str, Verdict]) -> None:
        """Verdicts on who waits in a checkpoint, or in a pack that is about to write one."""
        for trial_id, verdict in verdicts.items():
            for held in self._held.values():
                held.discard(trial_id)
            kept = self._waiting.pop(trial_id, None)
            if kept is None:
                if verdict.stop is not None:
                    self._doomed[trial_id] = verdict.stop
            elif verdict.stop is None:
                self._going_on[trial_id] = kept
            else:
                self._stopped[trial_id] = kept, verdict.stop

    def replaced(self, pack_id: str, parts: Sequence[Pack]) -> None:
        """A pack is trained no more; these are in its stead.  Whoever is in none of them has a row that no worker
        told of, or is left without one."""
        members = self._training.pop(pack_id, {})
        self._held.pop(pack_id, None)
        for part in parts:
            self._training[part.pack_id] = {c.trial_id: members.pop(c.trial_id, c) for c in part.configs}
        for config in members.values():
            if self._judge is not None:
                self._elsewhere(self._given(config))
            self._source.tell(config, {"last_step": 0, "status": str(TrialStatus.FAILED)})

    def _release(self, pack_id: str) -> None:
        """A pack is in its checkpoint; its members are packed anew."""
        held = self._held.pop(pack_id, set())
        self._stored[pack_id] = set(self._training.get(pack_id, ()))
        for trial_id, config in self._training.pop(pack_id, {}).items():
            kept = _Kept(config, pack_id)
            if why := self._doomed.pop(trial_id, None):
                self._stopped[trial_id] = kept, why
            elif trial_id in held:
                self._waiting[trial_id] = kept
            else:
                self._going_on[trial_id] = kept

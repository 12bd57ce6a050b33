"""A launch whose trials are asked for, or stopped, as it goes on: what of it stands in the tables, and its feed.

    SweepSpec + Store -> Adaptive -> configs so far, how many are to come -> Feed

Nothing of it is kept but rows: sources and judges are made anew at every launch, and told what the tables hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from monosweep.model.config import TrialConfig, shape_of
from monosweep.model.records import TrialStatus
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.plan.rungs import Rungs
from monosweep.sweep.search.build import check_searchable, judge_of, points_of, remind, source_of, stand_in
from monosweep.sweep.search.contract import Judge
from monosweep.sweep.search.feed import Feed
from monosweep.sweep.search.sources import Listed
from monosweep.sweep.spec.sweep_spec import SweepSpec
from monosweep.sweep.store.root import Store

if TYPE_CHECKING:
    from monosweep.sweep.search.searcher import Searcher
    from monosweep.sweep.search.tune_judge import TrialScheduler

MakePacks = Callable[[Sequence[TrialConfig]], Sequence[Pack]]
"""How trials would be packed here."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adaptive:
    """A spec that is searched or judged, and who does so if not whom the spec names."""

    spec: SweepSpec
    searcher: Searcher | None = None
    scheduler: TrialScheduler | None = None

    def __post_init__(self) -> None:
        if self.searcher is not None:
            check_searchable(self.spec)

    @property
    def is_searched(self) -> bool:
        """Whether trials are asked for as it goes on."""
        return self.spec.search is not None or self.searcher is not None

    @property
    def is_judged(self) -> bool:
        """Whether trials may be stopped."""
        return self.spec.scheduler is not None or self.spec.stop is not None or self.scheduler is not None

    @property
    def is_any(self) -> bool:
        """Whether what is trained depends on what is found."""
        return self.is_searched or self.is_judged

    def example(self, configs: Sequence[TrialConfig]) -> list[TrialConfig]:
        """Trials that stand for all: those that are known, or one that may come."""
        return list(configs) or [stand_in(self.spec)]

    def check(self, configs: Sequence[TrialConfig]) -> None:
        """Find mistakes before anything is trained.

        Raises:
            ConfigError: with the first of them.
        """
        judge_of(self.spec, self.example(configs), self.scheduler)
        if self.searcher is None and self.spec.search is not None:
            source_of(self.spec, (), {})

    def to_come(self, asked: Sequence[TrialConfig]) -> list[TrialConfig]:
        """As many trials as have not been asked for yet, each as costly as they may be expected to be."""
        if not self.is_searched:
            return []
        points = points_of(self.spec)
        known = sum(points.of(config) is not None for config in asked)
        some = stand_in(self.spec)
        n_left = max(0, self.spec.num_samples * self.spec.repeats - known)
        return [replace(some, seed=i) for i in range(n_left)]

    def feed(
        self, store: Store, asked: Sequence[TrialConfig], rows: Mapping[str, TrialStatus], resumed: Sequence[Pack],
        make_packs: MakePacks, n_new: int | None,
    ) -> tuple[Feed, Rungs | None]:  # fmt: skip
        """Who gives packs and orders, and at which steps members wait for them.

        Args:
            asked: the sweep's trials so far, in the order in which they were asked for.
            rows: what has become of those that have ended.
            resumed: packs that go on from checkpoints.
            n_new: most trials that may be begun; None for any number.
        """
        sweep = self.spec.name
        ended = [config for config in asked if config.trial_id in rows]
        again = {config.trial_id for pack in resumed for config in pack.configs}
        fresh = [config for config in asked if config.trial_id not in rows and config.trial_id not in again]
        judge = judge_of(self.spec, self.example(asked), self.scheduler)
        if judge is not None and ended:
            _remind(judge, store, sweep, ended, rows)
        listed = Listed(fresh)
        source: Any = listed
        if self.is_searched:
            found = {row["trial_id"]: row for row in store.rows_of("trials", None, [c.trial_id for c in ended])}
            source = Both(listed, source_of(self.spec, asked, found, self.searcher))
        feed = Feed(
            AtMost(source, n_new) if n_new is not None else source, judge, Sizes(make_packs),
            lambda new: store.ask(sweep, new), lambda pack_id: store.drop_checkpoint(sweep, pack_id), resumed,
        )  # fmt: skip
        return feed, judge.rungs if judge else None


def _remind(
    judge: Judge, store: Store, sweep: str, ended: Sequence[TrialConfig], rows: Mapping[str, TrialStatus]
) -> None:
    points = [(row["trial_id"], row) for row in store.rows_of("curves", sweep, [c.trial_id for c in ended])]
    stopped = [config for config in ended if rows[config.trial_id] == TrialStatus.STOPPED]
    others = [config for config in ended if rows[config.trial_id] != TrialStatus.STOPPED]
    remind(judge, others, stopped, points)


class Sizes:
    """How many trials of a shape are trained together."""

    def __init__(self, make_packs: MakePacks) -> None:
        self._make_packs = make_packs
        self._known: dict[tuple[object, ...], int] = {}

    def learn(self, packs: Sequence[Pack]) -> None:
        """As these are."""
        for pack in packs:
            shape = shape_of(pack.configs[0])
            self._known[shape] = max(self._known.get(shape, 1), len(pack.configs))

    def __call__(self, config: TrialConfig) -> int:
        shape = shape_of(config)
        if shape not in self._known:
            self.learn(self._make_packs([replace(config, seed=i) for i in range(_ENOUGH)]))
        return self._known[shape]


_ENOUGH = 512
"""Trials by which the size of packs is found: more than are trained together on two cores."""


class Both:
    """Trials that were asked for before, then those of a searcher."""

    def __init__(self, first: Listed, then: Any) -> None:
        self._first, self._then = first, then

    @property
    def is_over(self) -> bool:
        return bool(self._first.is_over and self._then.is_over)

    def ask(self, n: int) -> list[TrialConfig]:
        found = self._first.ask(n)
        return found or list(self._then.ask(n))

    def tell(self, config: TrialConfig, row: Mapping[str, Any]) -> None:
        self._then.tell(config, row)


class AtMost:
    """So many trials of a source, and no more."""

    def __init__(self, source: Any, n: int) -> None:
        self._source, self._left = source, n

    @property
    def is_over(self) -> bool:
        return self._left <= 0 or bool(self._source.is_over)

    def ask(self, n: int) -> list[TrialConfig]:
        found = list(self._source.ask(min(n, self._left)))
        self._left -= len(found)
        return found

    def tell(self, config: TrialConfig, row: Mapping[str, Any]) -> None:
        self._source.tell(config, row)

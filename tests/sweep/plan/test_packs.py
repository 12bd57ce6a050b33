"""Packs: every trial once, one shape each, within bounds, the same whatever the order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monosweep.model.config import ConfigError, shape_of
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.plan.packs import (
    LARGEST_PACK,
    LARGEST_SHORT_PACK,
    MEMORY_SHARE,
    MULTIPLY_ADDS_PER_S,
    SHORT_PACK_S,
    Pack,
    make_packs,
    trial_cost,
)

GIGABYTE = 10**9


def footprint(config: TwoLayerConfig) -> tuple[int, int]:
    return 10_000_000, 40_000 * config.n_neurons


def trial(**values: Any) -> TwoLayerConfig:
    small = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "batch_size": 64, "n_steps": 256}
    return TwoLayerConfig(**(small | values))


configs = st.builds(
    trial,
    n_neurons=st.sampled_from([16, 32, 64]),
    n_steps=st.sampled_from([16, 256]),
    lr=st.sampled_from([0.001, 0.003, 0.01]),
    seed=st.integers(0, 30),
    feature_prob=st.sampled_from([0.1, 0.2]),
    optimizer=st.sampled_from(["Lamb", "Lamb", "RAdam"]),
)
sweeps = st.lists(configs, max_size=150)


def auto(trials: list[TwoLayerConfig], n_workers: int, memory_bytes: int = 8 * GIGABYTE) -> list[Pack]:
    return make_packs(trials, pack_size="auto", n_workers=n_workers, memory_bytes=memory_bytes, footprint=footprint)


def check_each_once_in_one_shape(trials: list[TwoLayerConfig], packs: list[Pack]) -> None:
    members = Counter(config.trial_id for pack in packs for config in pack.configs)
    assert members == Counter({config.trial_id for config in trials})
    for pack in packs:
        assert len({shape_of(c) for c in pack.configs}) == 1
        assert pack.configs[0].optimizer == "Lamb" or len(pack.configs) == 1


@given(sweeps, st.integers(1, 9), st.integers(100_000_000, 2 * GIGABYTE))
@settings(deadline=None)
def test_auto_keeps_every_rule(trials: list[TwoLayerConfig], n_workers: int, memory_each: int) -> None:
    packs = auto(trials, n_workers, memory_each * n_workers)
    check_each_once_in_one_shape(trials, packs)
    for pack in packs:
        per_pack, per_member = footprint(pack.configs[0])
        seconds = sum(map(trial_cost, pack.configs)) / MULTIPLY_ADDS_PER_S
        assert len(pack.configs) <= (LARGEST_SHORT_PACK if seconds <= SHORT_PACK_S else LARGEST_PACK)
        assert per_pack + len(pack.configs) * per_member <= MEMORY_SHARE * memory_each
    assert len(packs) >= min(n_workers, len({c.trial_id for c in trials}))


@given(sweeps, st.integers(1, 20))
@settings(deadline=None)
def test_a_given_size_is_kept(trials: list[TwoLayerConfig], size: int) -> None:
    packs = make_packs(trials, pack_size=size, n_workers=3, memory_bytes=1, footprint=footprint)
    check_each_once_in_one_shape(trials, packs)
    assert max((len(pack.configs) for pack in packs), default=0) <= size


@given(sweeps, st.integers(0, 10**6))
@settings(deadline=None)
def test_order_and_repetition_of_trials_change_nothing(trials: list[TwoLayerConfig], shuffle_seed: int) -> None:
    shuffled = trials + trials[:5]
    random.Random(shuffle_seed).shuffle(shuffled)
    assert auto(shuffled, 3) == auto(trials, 3)


def test_a_pack_is_named_by_its_members_in_any_order() -> None:
    a, b, c = trial(lr=0.1), trial(lr=0.2), trial(lr=0.3)
    assert Pack((a, b)).pack_id == Pack((b, a)).pack_id
    assert len({Pack(members).pack_id for members in [(a,), (b,), (a, b), (a, c), (a, b, c)]}) == 5


def test_equal_trials_make_equal_rounds() -> None:
    """Nine packs on eight workers would take as long as sixteen."""
    packs = auto([trial(seed=seed) for seed in range(100)], n_workers=8)
    assert len(packs) % 8 == 0
    sizes = [len(pack.configs) for pack in packs]
    assert max(sizes) - min(sizes) <= 1


def test_few_trials_are_spread_over_all_workers() -> None:
    assert [len(pack.configs) for pack in auto([trial(seed=s) for s in range(16)], n_workers=2)] == [8, 8]
    assert [len(pack.configs) for pack in auto([trial(seed=s) for s in range(3)], n_workers=8)] == [1, 1, 1]


def test_many_trials_leave_several_packs_per_worker() -> None:
    packs = auto([trial(seed=seed) for seed in range(64)], n_workers=2)
    assert len(packs) == 8


@pytest.mark.parametrize(("n_steps", "at_least", "at_most"), [(16, 500, 800), (256, 30, 64), (2**15, 30, 64)])
def test_packs_of_short_trials_are_large_enough_to_be_worth_scheduling(
    n_steps: int, at_least: int, at_most: int
) -> None:
    shape = {"n_features": 32, "d_embed": 8, "n_neurons": 64, "batch_size": 128, "n_steps": n_steps}
    packs = auto([trial(**shape, seed=seed) for seed in range(6000)], n_workers=2)
    assert all(at_least <= len(pack.configs) <= at_most for pack in packs)


@pytest.mark.parametrize(
    ("n_trials", "n_workers", "sizes"), [(100, 1, [25] * 4), (30, 1, [30]), (60, 1, [30, 30]), (30, 3, [10] * 3)]
)
def test_where_it_is_known_what_is_useful_packs_are_no_smaller_than_workers_ask_for(
    n_trials: int, n_workers: int, sizes: list[int]
) -> None:
    trials = [trial(seed=seed) for seed in range(n_trials)]
    asked = []

    def useful(group: Sequence[TwoLayerConfig], fits: int) -> int:
        asked.append((len(group), fits))
        return 32

    packs = make_packs(
        trials, pack_size="auto", n_workers=n_workers, memory_bytes=n_workers * 2 * 10**8, footprint=footprint,
        useful=useful,
    )  # fmt: skip
    assert [len(pack.configs) for pack in packs] == sizes
    assert asked == [(n_trials, int((0.6 * 2e8 - 1e7) // (40_000 * 32)))]


def test_the_costliest_pack_comes_first() -> None:
    trials = [trial(n_neurons=k, seed=s) for k in (16, 32, 64) for s in range(20)]
    costs = [sum(map(trial_cost, pack.configs)) for pack in auto(trials, n_workers=2)]
    assert costs == sorted(costs, reverse=True)


def test_members_that_share_a_data_stream_stand_side_by_side() -> None:
    trials = [trial(seed=s, lr=lr, feature_prob=p) for lr in (0.1, 0.2) for s in (0, 1) for p in (0.1, 0.2)]
    (pack,) = make_packs(trials, pack_size=8, n_workers=1, memory_bytes=1, footprint=footprint)
    streams = [(c.seed, c.feature_prob) for c in pack.configs]
    assert streams == [s for s in dict.fromkeys(streams) for _ in range(2)]


def test_a_trial_larger_than_a_workers_memory_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"n_neurons 64 .* needs 0\.013 GB, more than each of 4 .* fewer"):
        auto([trial(n_neurons=64)], n_workers=4, memory_bytes=50_000_000)


def test_nothing_to_train_makes_no_packs() -> None:
    assert auto([], n_workers=2) == []


def test_memory_bounds_a_pack() -> None:
    """One worker, 100 MB free: 60 MB less 10 MB for the pack holds 39 members of 1.28 MB."""
    packs = auto([trial(seed=seed) for seed in range(300)], n_workers=1, memory_bytes=100_000_000)
    assert max(len(pack.configs) for pack in packs) in (38, 39)

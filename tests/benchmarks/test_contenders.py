"""Every contender of the benchmark trains the same thing; short, and nothing about time is asserted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from checks import ENGINES_TOLERANCE, agreements, engines_differ_by
from contenders import ours, plain_tune
from contenders.jax_peer import JaxPeer
from contenders.sample import CASES, Case, Sample, Turn, windowed
from monosweep.model.bench.shapes import SHAPES, Shape
from monosweep.sweep.executors.connect import Cluster, connected

TINY = replace(CASES[0], n_steps=64, n_packed=16, n_plain=4, n_jax=32, jax_steps=32)
SMALL = replace(CASES[1], n_steps=32, n_packed=8, n_plain=2, n_jax=16, jax_steps=32)
SLACK = 0.1
"""Relative difference of mean losses: a few trials' seeds are about 5 % apart at these steps."""


def mean_losses(turn: Turn, case: Case) -> dict[tuple[float, int], float]:
    (sample,) = [s for s in turn.samples if s.shape == case.shape.name]
    assert sample.step_ms > 0
    return {key: float(np.mean(values)) for key, values in sample.losses.items() if key[1] == case.n_steps}


@pytest.fixture(scope="module")
def inline() -> Turn:
    return ours.turn("inline", [TINY, SMALL], n_workers=2, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("case", [TINY, SMALL], ids=["tiny", "small"])
def test_plain_trains_what_ours_trains(inline: Turn, case: Case, plain: Turn) -> None:
    theirs, reference = mean_losses(plain, case), mean_losses(inline, case)
    assert len(reference) == 2
    assert theirs == pytest.approx(reference, rel=SLACK)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with connected(None, 2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def plain(cluster: Cluster) -> Turn:
    turn = plain_tune.turn([TINY, SMALL], n_workers=2, seed=0, cluster=cluster)
    assert turn.startup_s > 0
    return turn


@pytest.fixture(scope="module")
def jax() -> Iterator[Turn]:
    if find_spec("jax") is None:
        pytest.skip("JAX is a peer of the full benchmark only; the extra `bench` installs it")
    with closing(JaxPeer([TINY, SMALL])) as peer:
        yield peer.turn(seed=0)


@pytest.mark.parametrize("case", [TINY, SMALL], ids=["tiny", "small"])
def test_jax_trains_what_ours_trains(inline: Turn, case: Case, jax: Turn) -> None:
    assert mean_losses(jax, case) == pytest.approx(mean_losses(inline, case), rel=SLACK)


@pytest.mark.long
def test_ours_has_one_answer(inline: Turn, cluster: Cluster) -> None:
    """Bit for bit the same losses from either executor."""
    through_ray = ours.turn("ray", [TINY], n_workers=2, seed=0, cluster=cluster)
    (sample,) = through_ray.samples
    expected = inline.samples[0].losses
    assert {k: sorted(v) for k, v in sample.losses.items()} == {k: sorted(v) for k, v in expected.items()}


@pytest.mark.parametrize("shape", SHAPES[:3], ids=[shape.name for shape in SHAPES[:3]])
def test_engines_agree(shape: Shape) -> None:
    assert engines_differ_by(shape, 20) <= ENGINES_TOLERANCE


def sample(contender: str, losses: list[float]) -> Sample:
    return Sample(contender=contender, shape="tiny", step_ms=1.0, losses={(0.003, 64): losses})


def test_another_loss_is_noticed() -> None:
    draw = np.random.default_rng(0).normal(1, 0.05, (3, 20))
    samples = [sample("ours, inline", [*draw[0]]), sample("jax", [*draw[1]]), sample("plain", [*(draw[2] * 1.1)])]
    verdicts = {a.contender: a.holds for a in agreements([TINY], samples, "ours, inline")}
    assert verdicts == {"jax": True, "plain": False}


def test_windows_are_those_of_the_rows() -> None:
    """Step 64 is recorded as the mean of the last eight steps."""
    trial = TINY.shape.trials(1, 64)[0]
    assert windowed(trial, np.arange(64.0), 64) == np.arange(56.0, 64.0).mean()


def test_overhead_of_short_trials() -> None:
    """A small version of `make bench-overhead`: nothing is lost, nothing is trained twice."""
    from overhead import marginal, measure, orders, report, share_without_start, short_trials

    found = [measure(short_trials(n), "inline", 1) for n in (64, 320)]
    assert [o.n_trials for o in found] == [64, 320]
    assert all(o.wall_time_s > o.training_s for o in found)
    assert "320" in report(found)
    assert marginal(found) < 1000
    searched = measure(orders(6), "inline", 1)
    assert searched.n_trials == 6 and 0 < searched.share < 1 and f"{searched.share:.1%}" in report([searched])
    few = replace(searched, n_trials=2, n_workers=2, wall_time_s=7.0, training_s=1.0)
    assert share_without_start(few, replace(few, n_trials=1000, wall_time_s=57.0, training_s=91.0)) == 0.9

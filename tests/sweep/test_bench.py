"""`monosweep bench`: what it counts, and what it prints; no test depends on how fast the machine is."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from monosweep.model.bench.loads import Load
from monosweep.model.bench.shapes import RATES, SHAPES, Shape
from monosweep.model.engines.cpu import gemm
from monosweep.model.families.two_layer.layout import Layout
from monosweep.sweep.__main__ import main
from monosweep.sweep.bench.crew import Crew
from monosweep.sweep.bench.measure import PRODUCTS, SECONDS, ShapeRates, limit_of, machine, measure
from monosweep.sweep.bench.report import report

TINY = SHAPES[0]
MOMENT = dict.fromkeys(SECONDS, 0.02)


@pytest.fixture(scope="module")
def rates() -> ShapeRates:
    (found,) = measure([TINY], 1, turns=2, seconds=MOMENT)
    return found


def test_every_load_is_measured_at_every_turn(rates: ShapeRates) -> None:
    assert {kind: len(samples) for kind, samples in rates.samples.items()} == dict.fromkeys(SECONDS, 2)
    assert all(rate > 0 for samples in rates.samples.values() for rate in samples)


def test_hours_follow_from_the_rates(rates: ShapeRates) -> None:
    per_second = np.median(rates.samples["packed"])
    assert rates.trials_per_hour == pytest.approx(3600 * per_second / TINY.n_steps)
    assert rates.share_of_limit == pytest.approx(rates.limit.products_ms / rates.packed_ms)


def test_the_limit_is_the_faster_library() -> None:
    limit = limit_of(TINY, {"gemm": [100.0, 300.0, 200.0], "numpy": [60.0], "torch": [50.0], "memory": [1e9]})
    assert (limit.library, limit.products_ms) == ("gemm", 5.0)
    assert limit.gigaflops["torch"] == pytest.approx(50 * TINY.operations / 1e9)
    assert limit.traffic_ms == pytest.approx(TINY.traffic / 1e6)


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_operations_are_those_of_five_products(shape: Shape) -> None:
    layout = Layout.of(shape.trials(1)[0])
    b, d, k, n = shape.batch_size, layout.d_embed + 1, layout.n_neurons, layout.n_out
    products = [(b, d, k), (b, k, n), (n, b, k), (b, n, k), (d, b, k)]
    assert shape.operations == sum(2 * math.prod(sizes) for sizes in products)


def test_trials_share_the_data_of_their_seed() -> None:
    trials = TINY.trials(12, n_steps=5, seed=3)
    assert [(t.seed, t.lr) for t in trials] == [(3, lr) for lr in RATES] + [(4, lr) for lr in RATES[:4]]
    assert {t.n_steps for t in trials} == {5}


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew(1) as one:
        yield one


def test_bare_products_count_steps_and_memory_counts_bytes(crew: Crew) -> None:
    trials = TINY.trials(1)
    for kind in PRODUCTS:
        assert 1e9 < crew.rate(Load(kind, trials), 0.02) * TINY.operations < 1e14
    assert 1e8 < crew.rate(Load("memory", trials), 0.02) < 1e13


def test_a_failing_process_is_an_error() -> None:
    huge = replace(TINY, n_neurons=2**30).trials(1)
    with pytest.raises(RuntimeError, match="a benchmark process failed"), Crew(1) as one:
        one.rate(Load("packed", huge), 0.02)


def test_a_dead_process_is_an_error() -> None:
    with Crew(1) as one:
        one._members[0].process.kill()
        with pytest.raises(RuntimeError, match=r"a benchmark process died \(exit code -9\)"):
            one.rate(Load("memory", TINY.trials(1)), 0.02)


def test_the_report_names_machine_shape_and_rates(rates: ShapeRates) -> None:
    text = report(machine(2), [rates])
    assert "2 cores" in text
    assert gemm.kernels() in text
    row = next(line for line in text.splitlines() if line.startswith("tiny"))
    assert "32 / 8 / 64 / 128" in row
    assert f"{rates.share_of_limit:.0%}" in row


def test_the_verb_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "tiny", "--workers", "1", "--turns", "1", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["n_cores"] == 1
    (tiny,) = found["shapes"]
    assert tiny["trials_per_hour"] > 0
    assert tiny["shape"]["n_steps"] == TINY.n_steps


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["medium"], "unknown shape 'medium'; known: tiny, small"),
        (["tiny", "--workers", "0"], "--workers must be auto or a whole number above 0; got '0'"),
        (["--turns", "0"], "--turns must be a whole number above 0; got 0"),
        (["--fast"], "--fast"),
    ],
)
def test_mistakes_are_one_line(argv: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *argv]) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert error.count("\n") == 1

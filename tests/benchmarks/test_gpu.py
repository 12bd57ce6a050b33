"""The GPU's check and benchmark, their parts driven on a CPU; nothing about time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from numpy import ndarray

import gpu
from monosweep.model.bench import gpu_checks, gpu_rates
from monosweep.model.bench.gpu_checks import Check
from monosweep.model.bench.shapes import SHAPES, shape_named
from monosweep.model.engines.gpu import products
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.sweep.__main__ import main
from monosweep.sweep.bench import gpu as bench
from monosweep.sweep.bench.gpu import GpuReport
from monosweep.sweep.spec.sweep_spec import expand, load_spec
from plain_loop import PlainTrial

torch.set_num_threads(1)
TINY = replace(shape_named("tiny"), n_steps=24)


@pytest.fixture(autouse=True)
def _groups_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are nobody's cost time."""
    monkeypatch.setattr(products, "MOST", 1)


def test_the_lr3_trials_are_the_presets() -> None:
    ours = {config.trial_id for config in bench.lr3("fp32", shape_named("paper"))}
    assert ours == {config.trial_id for config in expand(load_spec("paper/LR3"))}


def test_many_are_ten_thousand_in_packs_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "useful_pack_size", lambda configs, fits, device: min(512, fits))
    configs = bench.many("bf16", bench.MANY, 10_000)
    packs = bench.packs_of(configs, 80 * 10**9, "cpu")
    assert sorted(c.trial_id for pack in packs for c in pack) == sorted(c.trial_id for c in configs)
    assert len(set(configs)) == 10_000
    assert max(map(len, packs)) <= 512


def test_a_case_is_measured_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "useful_pack_size", lambda configs, fits, device: 12)
    rates = gpu_rates.device_rates("cpu", size=64, seconds=0.01)
    assert set(rates.flops) == {"fp32", "tf32", "bf16"} and min(rates.flops.values()) > 0 and rates.bytes_per_s > 0
    packs = bench.packs_of(bench.many("fp32", TINY, 12), 10**11, "cpu")
    found = gpu_rates.measure("tiny", TINY, packs, rates, device="cpu", stretch=8, whole=True, others={"plain": 100.0})
    assert found.n_trials == 12 and found.how == "packed" and found.seconds > 0
    assert found.step_ms > 0
    assert found.others_s == {"plain": pytest.approx(12 * 24 / 100)}
    assert found.trials_per_hour == pytest.approx(12 * 3600 / found.seconds)
    assert found.operations_s == pytest.approx(12 * 24 * TINY.operations / rates.flops["fp32"])
    checks = [Check("one", True, "1"), Check("two", False, "3")]
    report = GpuReport(device="a processor", versions="some", checks=checks, rates=rates, found=[found])
    gpu.write(report, tmp_path)
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["found"][0]["n_trials"] == 12 and written["commit"] and written["date"]
    assert f"| tiny | fp32 | 12 | {found.pack_size} |" in (tmp_path / "gpu.md").read_text()
    assert written["checks"][1] == {"name": "two", "holds": False, "found": "3"}
    assert "- DOES NOT HOLD: two (3)" in (tmp_path / "gpu.md").read_text()
    assert f"| packed | {found.step_ms:.3f} |" in (tmp_path / "gpu.md").read_text()
    assert bench.report_table([found]).splitlines()[1].split()[:2] == ["tiny", "fp32"] and not report.holds


def test_plain_learns_what_ours_learns() -> None:
    """Other random numbers, the same distribution: means over seeds a few per cent apart."""
    (trial,) = TINY.trials(1, n_steps=48)
    pack = tuple(replace(trial, seed=seed, lr=0.01) for seed in range(6))
    plain = [PlainTrial(TINY, "cpu", lr=0.01, seed=seed) for seed in range(6)]
    traces = torch.stack([torch.stack([model.step() for _ in range(48)]) for model in plain])
    expected = StackedEngine(pack, "cpu").advance(48)[-8:].mean()
    assert float(traces[:, -8:].mean()) == pytest.approx(expected, rel=0.1)


def test_others_train_the_same_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    for jax in (None, 5.0):
        monkeypatch.setattr(gpu, "jax_rate", lambda shape, device, jax=jax: jax)
        rates = gpu.other_rates(TINY, "cpu", 0.01)
        assert set(rates) == {"plain"} | ({"jax"} if jax else set()) and min(rates.values()) > 0


@pytest.mark.long
def test_jax_is_a_process_of_its_own() -> None:
    """Which may fail: it is nobody else's failure."""
    assert gpu.jax_rate(TINY, "no such device") is None
    pytest.importorskip("jax")
    assert (gpu.jax_rate(TINY, "cpu") or 0) > 0


@pytest.mark.parametrize(
    ("checks", "n"),
    [
        (lambda: gpu_checks.engines("cpu", n_steps=3), 8), (lambda: gpu_checks.checkpoints("cpu"), 2),
        (lambda: gpu_checks.slots_change_hands("cpu"), 2),
        (lambda: [gpu_checks.same_in_any_pack(TINY, "fp32", 5, "cpu", n_steps=3)], 1),
    ],
    ids=["engines", "checkpoints", "slots", "packs"],
)  # fmt: skip
def test_what_is_checked_holds_on_a_cpu(checks: Callable[[], Iterable[Check]], n: int) -> None:
    found = list(checks())
    assert len(found) == n and [check for check in found if not check.holds] == []


def test_an_engine_that_trains_something_else_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """By every check that holds losses against others."""
    advance, engines = StackedEngine.advance, list[StackedEngine]()

    def other(self: StackedEngine, n_steps: int) -> ndarray:
        engines.append(self)
        return advance(self, n_steps) * (1 + len(set(map(id, engines))))

    monkeypatch.setattr(StackedEngine, "advance", other)
    assert not any(c.holds for c in gpu_checks.engines("cpu", n_steps=2) if c.name.startswith("packed"))
    assert not gpu_checks.same_in_any_pack(TINY, "fp32", 5, "cpu", n_steps=2).holds
    assert not next(gpu_checks.slots_change_hands("cpu")).holds


def test_too_many_launches_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_checks, "CHUNK_STEPS", 4)
    launched, memory = gpu_checks.budgets(TINY, 2, "cpu")
    assert not launched.holds and "of 44 planned" in launched.found  # a CPU's operations are many more
    assert memory.holds


def test_every_shape_and_precision_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    for name in ("engines", "checkpoints", "slots_change_hands"):
        monkeypatch.setattr(gpu_checks, name, lambda device: ())
    monkeypatch.setattr(gpu_checks, "budgets", lambda shape, most, device: asked.append((shape.name, most)) or ())
    monkeypatch.setattr(gpu_checks, "same_in_any_pack", lambda shape, precision, most, device: asked.append(precision))
    assert len(list(gpu_checks.all_checks("cuda"))) == 16
    assert asked[::5] == [("tiny", 512), ("small", 512), ("quick", 512), ("paper", 9)]
    assert asked[1:5] == ["fp64", "fp32", "tf32", "bf16"]
    assert [name for name, *_ in bench.cases((), 3)] == ["tiny", "small", "quick", "paper", "lr3", "many"]
    assert [name for name, *_ in bench.cases(SHAPES[:1], 3)] == ["tiny"]


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole check on a CPU, with little of each."""
    check_gpu, all_checks, rates = bench.check_gpu, gpu_checks.all_checks, gpu_rates.device_rates
    for name in ("engines", "checkpoints", "slots_change_hands", "budgets"):
        monkeypatch.setattr(gpu_checks, name, lambda *_: ())  # tried above
    monkeypatch.setattr(gpu_checks, "all_checks", partial(all_checks, large=2))
    monkeypatch.setattr(gpu_checks, "same_in_any_pack", partial(gpu_checks.same_in_any_pack, n_steps=2))
    monkeypatch.setattr(gpu_checks, "starts", lambda device: {"cold": 1.0})
    monkeypatch.setattr(bench, "shape_named", lambda name: TINY)
    monkeypatch.setattr(bench, "useful_pack_size", lambda configs, fits, device: min(2, len(configs)))
    monkeypatch.setattr(bench, "device_rates", lambda device: rates(device, size=64, seconds=0.01))
    monkeypatch.setattr(bench, "SHAPES", [TINY])
    monkeypatch.setattr(bench, "MANY", replace(TINY, name="many"))
    monkeypatch.setattr(bench, "_SOLO_S", 0.01)
    monkeypatch.setattr(bench, "_STRETCHES", (4, 1, 4, 1))
    monkeypatch.setattr(bench, "check_gpu", partial(check_gpu, device="cpu", memory_bytes=10**10))


@pytest.mark.usefixtures("brief")
def test_the_whole_check_on_a_cpu(tmp_path: Path) -> None:
    told, kept = [], []
    report = bench.check_gpu(
        n_many=3, others=lambda shape: {"plain": 7.0}, tell=told.append,
        keep=lambda report: kept.append(len(report.found)),
    )  # fmt: skip
    assert told[:4] == [f"ok  tiny, {name}: small packs as one of 2: equal bits" for name in gpu_checks.APART]
    assert told[4:] == [f"{case}, {name}" for case in ("tiny", "lr3", "many") for name in gpu_rates.PRECISIONS]
    assert report.holds and kept == [0] * 4 + list(range(1, 10))
    assert {"tiny, fp64: small packs as one of 2", "many, bf16"} < set(report.took_s)
    assert [(f.case, f.precision, f.n_trials) for f in report.found[5:7]] == [("lr3", "bf16", 6), ("many", "fp32", 3)]
    assert set(report.found[0].others_s) == {"solo", "plain"}
    assert bench.report_table(report.found).splitlines()[0].endswith("of copy rate  ÷ solo  ÷ plain")
    gpu.write(report, tmp_path)
    assert len(json.loads((tmp_path / "gpu.json").read_text())["found"]) == 9


@pytest.mark.usefixtures("brief")
def test_the_command_is_the_same_check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its status says whether all holds."""
    assert main(["bench", "--device", "cuda", "tiny"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[0] == "ok  tiny, fp64: small packs as one of 2: equal bits" and "÷ solo" in told
    assert "lr3" not in told
    monkeypatch.setattr(gpu_checks, "all_checks", lambda *_: [Check("it", False, "so")])
    assert main(["bench", "--device", "cuda", "tiny", "--format", "json"]) == 1
    written = json.loads(capsys.readouterr().out)
    assert written["checks"] == [{"name": "it", "holds": False, "found": "so"}] and len(written["found"]) == 3
    monkeypatch.setattr(gpu, "check_gpu", bench.check_gpu)
    monkeypatch.setattr(gpu, "write", lambda report: None)
    monkeypatch.setattr(gpu, "other_rates", lambda shape: {})
    assert gpu.main(["--precision", "fp32", "--trials", "1"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "BAD it: so"


@pytest.mark.long
def test_starts_are_timed_in_processes_of_their_own() -> None:
    found = gpu_checks.starts("cpu")
    assert set(found) == {"cold", "warm"} and min(found.values()) > 0


@pytest.mark.parametrize("call", [lambda: gpu.main([]), lambda: main(["bench", "--device", "cuda"])])
def test_without_a_gpu_one_line_says_so(call: Callable[[], int], capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("here is one")
    assert call() > 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.removeprefix("monosweep: ") == (
        "--device cuda needs an NVIDIA GPU, and torch finds none; --device cpu measures the processor"
    )


def test_a_cpu_s_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--device", "cuda", "--turns", "3"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "monosweep: --workers and --turns are for a CPU; leave them out with --device cuda"
    ]


def test_it_needs_no_ray() -> None:
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r}); import gpu; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

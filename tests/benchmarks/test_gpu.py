"""The GPU's check and benchmark, their parts driven on a CPU; nothing about time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from numpy import ndarray

import gpu
import gpu_checks
from gpu_checks import Check
from monosweep.model.bench.shapes import shape_named
from monosweep.model.engines.gpu import products
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.sweep.spec.sweep_spec import expand, load_spec
from plain_loop import PlainTrial

torch.set_num_threads(1)
TINY = replace(shape_named("tiny"), n_steps=24)


@pytest.fixture(autouse=True)
def _groups_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are nobody's cost time."""
    monkeypatch.setattr(products, "MOST", 1)


def test_the_lr3_trials_are_the_presets() -> None:
    ours = {config.trial_id for config in gpu.lr3("fp32", shape_named("paper"))}
    assert ours == {config.trial_id for config in expand(load_spec("paper/LR3"))}


def test_many_are_ten_thousand_in_packs_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "useful_pack_size", lambda configs, fits, device: min(512, fits))
    configs = gpu.many("bf16", gpu.MANY, 10_000)
    packs = gpu.packs_of(configs, 80 * 10**9, "cpu")
    assert sorted(c.trial_id for p in packs for c in p.configs) == sorted(c.trial_id for c in configs)
    assert len(set(configs)) == 10_000
    assert max(len(pack.configs) for pack in packs) <= 512


def test_a_case_is_measured_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "useful_pack_size", lambda configs, fits, device: 12)
    rates = gpu.device_rates("cpu", size=64, seconds=0.01)
    assert set(rates.flops) == {"fp32", "tf32", "bf16"} and min(rates.flops.values()) > 0 and rates.bytes_per_s > 0
    packs = gpu.packs_of(gpu.many("fp32", TINY, 12), 10**11, "cpu")
    found = gpu.measure("tiny", TINY, packs, rates, device="cpu", stretch=8, whole=True, others={"plain": 100.0})
    assert found.n_trials == 12 and found.how == "packed" and found.seconds > 0
    assert found.step_ms > 0
    assert found.others_s == {"plain": pytest.approx(12 * 24 / 100)}
    assert found.trials_per_hour == pytest.approx(12 * 3600 / found.seconds)
    assert found.operations_s == pytest.approx(12 * 24 * TINY.operations / rates.flops["fp32"])
    checks = [Check("one", True, "1"), Check("two", False, "3")]
    gpu.write(checks, [found], rates, "a processor", {"cold": 2.0}, tmp_path)
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["found"][0]["n_trials"] == 12 and written["commit"] and written["date"]
    assert f"| tiny | fp32 | 12 | {found.pack_size} |" in (tmp_path / "gpu.md").read_text()
    assert written["checks"][1] == {"name": "two", "holds": False, "found": "3"}
    assert "- DOES NOT HOLD: two (3)" in (tmp_path / "gpu.md").read_text()
    assert f"| packed | {found.step_ms:.3f} |" in (tmp_path / "gpu.md").read_text()
    assert gpu.rows([found])[0][0] == "tiny"


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
        assert set(rates) == {"plain", "solo"} | ({"jax"} if jax else set()) and min(rates.values()) > 0


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
    assert len(list(gpu.all_checks("cuda"))) == 16
    assert asked[::5] == [("tiny", 512), ("small", 512), ("quick", 512), ("paper", 9)]
    assert asked[1:5] == ["fp64", "fp32", "tf32", "bf16"]
    assert [name for name, *_ in gpu.cases(3)] == ["tiny", "small", "quick", "paper", "lr3", "many"]


def test_the_status_says_whether_all_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10**10, 10**10))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(gpu, "device_rates", lambda device: gpu.Device(flops={}, bytes_per_s=1.0))
    monkeypatch.setattr(gpu, "cases", lambda n: ())
    monkeypatch.setattr(gpu_checks, "starts", lambda device: {})
    monkeypatch.setattr(gpu, "write", lambda *_: None)
    for holds in (True, False):
        monkeypatch.setattr(gpu, "all_checks", lambda device, holds=holds: [Check("it", holds, "so")])
        assert gpu.main([]) == 1 - holds


@pytest.mark.long
def test_starts_are_timed_in_processes_of_their_own() -> None:
    found = gpu_checks.starts("cpu")
    assert set(found) == {"cold", "warm"} and min(found.values()) > 0


def test_without_a_gpu_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("here is one")
    assert gpu.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "make gpu-check needs an NVIDIA GPU, and torch finds none; make bench measures the CPU"
    ]


def test_it_needs_no_ray() -> None:
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r}); import gpu; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

"""The GPU's benchmark, its parts driven on a CPU; nothing about time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gpu
from monosweep.model.bench.shapes import shape_named
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.sweep.spec.sweep_spec import expand, load_spec
from plain_loop import PlainTrial

torch.set_num_threads(1)
TINY = replace(shape_named("tiny"), n_steps=24)


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


def test_a_case_is_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = gpu.device_rates("cpu", size=64, seconds=0.01)
    assert set(rates.flops) == {"fp32", "tf32", "bf16"} and min(rates.flops.values()) > 0 and rates.bytes_per_s > 0
    packs = gpu.packs_of(gpu.many("fp32", TINY, 12), 10**11, "cpu")
    found = gpu.measure("tiny", TINY, packs, rates, device="cpu", stretch=8, whole=True, plain_steps_per_s=100.0)
    assert found.n_trials == 12 and found.how == "packed" and found.seconds > 0
    assert found.step_ms > 0
    assert found.plain_s == pytest.approx(12 * 24 / 100)
    assert found.operations_s == pytest.approx(12 * 24 * TINY.operations / rates.flops["fp32"])
    gpu.write([found], rates, "a processor", 1, tmp_path)
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert written["found"][0]["n_trials"] == 12 and written["commit"] and written["date"]
    assert f"| tiny | fp32 | 12 | {found.pack_size} |" in (tmp_path / "gpu.md").read_text()
    assert f"| packed | {found.step_ms:.3f} |" in (tmp_path / "gpu.md").read_text()
    assert "tiny" in capsys.readouterr().out


def test_plain_learns_what_ours_learns() -> None:
    """Other random numbers, the same distribution: means over seeds a few per cent apart."""
    (trial,) = TINY.trials(1, n_steps=48)
    pack = tuple(replace(trial, seed=seed, lr=0.01) for seed in range(6))
    plain = [PlainTrial(TINY, "cpu", lr=0.01, seed=seed) for seed in range(6)]
    traces = torch.stack([torch.stack([model.step() for _ in range(48)]) for model in plain])
    expected = StackedEngine(pack, "cpu").advance(48)[-8:].mean()
    assert float(traces[:, -8:].mean()) == pytest.approx(expected, rel=0.1)


def test_plain_processes_share_the_device() -> None:
    assert gpu.plain_rate(TINY, "cpu", 1, 0.01) > 0


def test_without_a_gpu_one_line_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("here is one")
    assert gpu.main([]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "make bench-gpu needs an NVIDIA GPU, and torch finds none; make bench measures the CPU"
    ]


def test_it_needs_no_ray() -> None:
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {folder!r}); import gpu; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

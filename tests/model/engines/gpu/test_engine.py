"""The GPU's engine on CPU tensors: many data streams in one pack, precisions, checkpoints, memory."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from monosweep.model.data import stream
from monosweep.model.engines.gpu import engine as stacked
from monosweep.model.engines.gpu import sampling
from monosweep.model.engines.gpu.engine import CHUNK_STEPS, StackedEngine
from monosweep.model.engines.gpu.graph import same_bits
from monosweep.model.engines.gpu.memory import gpu_bytes
from monosweep.model.engines.gpu.products import DeviceProducts, matmul_settings
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.memory import bytes_of_pack
from monosweep.model.train import PackTrainer

from .test_graph import stores

SHAPE = {"n_features": 24, "d_embed": 8, "n_neurons": 36, "batch_size": 40, "n_steps": 300, "lr_period": 60}


def mixed_pack(**knobs):
    """Trials that differ in every knob that members may differ in; some share a data stream, most do not."""
    return tuple(
        TwoLayerConfig(
            **{
                **SHAPE,
                "feature_prob": (0.1, 0.3)[i % 2],
                "feature_dist": ("uniform", "power_law")[i // 2 % 2],
                "lr": 0.002 * (1 + i / 8),
                "lr_schedule": ("cosine", "constant", "cosine_to_zero")[i % 3],
                "bias_offset": (0, -0.5, 0.25)[i % 3],
                "bias_decay": (0, 3.0)[i % 2],
                "l1": (0, 0.001)[i // 3 % 2],
                "seed": i // 5,
                **knobs,
            }
        )
        for i in range(9)
    )


@pytest.mark.parametrize(
    ("task", "precision"), [("decoder", "fp32"), ("decoder", "fp64"), ("reprojector", "fp64"), ("abs", "fp64")]
)
def test_members_of_a_mixed_pack_equal_solo(task, precision):
    configs, tolerance = mixed_pack(task=task, precision=precision), {"fp32": 1e-4, "fp64": 1e-9}[precision]
    pack = StackedEngine(configs, "cpu")
    losses = pack.advance(CHUNK_STEPS + 6)
    for member, config in list(enumerate(configs))[::2]:
        solo = SoloEngine((config,), "cpu")
        np.testing.assert_allclose(losses[:, member], solo.advance(CHUNK_STEPS + 6)[:, 0], rtol=tolerance)
        for name, theirs in solo.params(0).items():
            ours = pack.params(member)[name]
            assert torch.linalg.vector_norm(ours - theirs) <= tolerance * torch.linalg.vector_norm(theirs)
        assert pack.fixed(member).keys() == solo.fixed(0).keys()
        assert all(torch.equal(pack.fixed(member)[name], tensor) for name, tensor in solo.fixed(0).items())


@pytest.mark.parametrize("others", [slice(0, 1), slice(2, 7), slice(None, None, -1)])
def test_a_trial_is_the_same_in_any_pack(others):
    configs = mixed_pack(precision="fp64")
    whole, part = StackedEngine(configs, "cpu").advance(60), StackedEngine(configs[others], "cpu").advance(60)
    np.testing.assert_allclose(part, whole[:, others], rtol=1e-11)


def test_a_diverging_member_leaves_its_neighbours_alone():
    configs = mixed_pack()
    bad = TwoLayerConfig(**{**configs[0].to_dict(), "lr": 1e30})
    undisturbed = StackedEngine(configs, "cpu").advance(40)
    engine = StackedEngine((*configs[:4], bad, *configs[4:]), "cpu")
    losses = engine.advance(20)
    assert not np.isfinite(losses[-1, 4])
    assert engine.overflowed() == [place == 4 for place in range(10)]
    engine.put(4, None)
    assert engine.steps == [20 * (place != 4) for place in range(10)] and not any(engine.overflowed())
    rest = engine.advance(20)
    assert np.isnan(rest[:, 4]).all()
    ours = np.delete(np.concatenate([losses, rest]), 4, axis=1)
    np.testing.assert_array_equal(ours, undisturbed)


def test_where_an_engine_is_interrupted_does_not_change_a_bit():
    through, stops = StackedEngine(mixed_pack(), "cpu"), StackedEngine(mixed_pack(), "cpu")
    expected = through.advance(130)
    found = [stops.advance(n) for n in (1, 1, 62, 3)]
    continued = StackedEngine(mixed_pack(), "cpu")
    for slot in range(9):
        continued.put(slot, stops.take(slot))
    found.append(continued.advance(63))
    np.testing.assert_array_equal(np.concatenate(found), expected)
    assert same_bits(stores(through), stores(continued))


@pytest.mark.parametrize("ahead", [12, 256])
def test_steps_of_one_recording_have_the_bits_of_single_steps(ahead, monkeypatch):
    """Wherever recordings begin, and wherever samples have to be drawn again; 12 steps are drawn ahead, or all."""
    monkeypatch.setattr(stream, "ARRIVALS_PER_BLOCK", 2000 if ahead == 12 else 10**9)
    monkeypatch.setattr(sampling, "MAX_STEPS_AHEAD", ahead)
    some, single = StackedEngine(mixed_pack(), "cpu"), StackedEngine(mixed_pack(), "cpu")
    assert min(stream.steps_ahead for stream in some._samples.streams) == ahead
    taken, take = [], some._train_steps
    monkeypatch.setattr(some, "_train_steps", lambda: (taken.append(some.step), take()))
    ours = np.concatenate([some.advance(n) for n in (3, 1, 40, 8, 7)])
    monkeypatch.setattr(stacked, "STEPS_AT_ONCE", 10**9)
    np.testing.assert_array_equal(ours, single.advance(59))
    assert same_bits(stores(some), stores(single))
    assert len(taken) == (6 if ahead == 256 else 4)


def test_an_engine_ahead_is_as_it_was_until_it_is_asked_for_more():
    ahead, plain = StackedEngine(mixed_pack(), "cpu"), StackedEngine(mixed_pack(), "cpu")
    ahead.advance(6), plain.advance(6)
    ahead.run_ahead(CHUNK_STEPS + 20)
    assert ahead.step == 6 and ahead.overflowed() == plain.overflowed()
    assert same_bits(stores(ahead), stores(plain))
    assert torch.equal(ahead.params(3)["w_in"], plain.params(3)["w_in"])
    for n in (CHUNK_STEPS, 20):
        assert ahead.ahead
        np.testing.assert_array_equal(ahead.advance(n), plain.advance(n))
    assert not ahead.ahead
    assert same_bits(stores(ahead), stores(plain))
    ahead.run_ahead(3)
    ahead.put(2, ahead.take(2))  # who joins, joins those who are at the step, not ahead of it
    assert not ahead.ahead or ahead.steps == plain.steps
    np.testing.assert_array_equal(ahead.advance(5), plain.advance(5))


def test_losses_and_states_are_the_callers():
    """No later step writes into what an earlier one gave."""
    engine = StackedEngine(mixed_pack(precision="fp64"), "cpu")
    losses, state, weights = engine.advance(5), engine.take(0).tensors["exp_avg.w_in"], engine.params(0)["w_in"]
    kept = losses.copy(), state.clone(), weights.clone()
    engine.advance(5)
    assert (losses == kept[0]).all() and torch.equal(state, kept[1]) and torch.equal(weights, kept[2])


@pytest.mark.parametrize("task", ["decoder", "abs"])
@pytest.mark.parametrize(("precision", "close", "apart"), [("bf16", 0.01, 0.03), ("tf32", 1e-3, 5e-3)])
def test_rounded_products_as_in_the_solo_engine(precision, close, apart, task):
    config = TwoLayerConfig(**SHAPE, feature_prob=0.125, task=task, precision=precision, l1=0.001)
    exact = TwoLayerConfig(**{**config.to_dict(), "precision": "fp32"})
    ours, theirs = StackedEngine((config,), "cpu").advance(80), SoloEngine((config,), "cpu").advance(80)
    assert np.abs(ours / theirs - 1).mean() < close
    assert 0 < np.abs(ours / SoloEngine((exact,), "cpu").advance(80) - 1).mean() < apart


@pytest.mark.parametrize(("precision", "bits"), [("fp32", 24), ("tf32", 11), ("bf16", 8)])
def test_operands_keep_as_many_bits_as_their_precision_says(precision, bits):
    just_kept, lost = 1 + 2.0 ** (1 - bits), 1 + 2.0 ** (-bits - 1)
    values = torch.tensor([[[just_kept, lost]]])
    operand = DeviceProducts(precision, "cpu").operand("x", values).double()
    assert operand[0, 0, 0] == just_kept
    assert operand[0, 0, 1] == 1


@pytest.mark.parametrize("before", ["ieee", "tf32"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp64"])
def test_only_tf32_trials_multiply_in_tf32_and_settings_are_put_back(precision, before):
    matmul = torch.backends.cuda.matmul
    found = matmul.fp32_precision
    try:
        matmul.fp32_precision = before
        with matmul_settings(precision):
            assert matmul.fp32_precision == ("tf32" if precision == "tf32" else "ieee")
            assert not matmul.allow_bf16_reduced_precision_reduction
        assert matmul.fp32_precision == before
        assert matmul.allow_bf16_reduced_precision_reduction
    finally:
        matmul.fp32_precision = found


SCRIPT = r"""
import json, re, sys
from pathlib import Path
import torch
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.engines.gpu.engine import StackedEngine
torch.set_num_threads(1)
for n in (32, 48):  # so many streams that no draw is shared out over fewer
    engine = StackedEngine(tuple(TwoLayerConfig(**json.loads(sys.argv[1]), seed=i) for i in range(n)), "cpu")
    engine.advance(2)
    [engine.take(slot) for slot in range(n)]
    print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
    del engine
"""


def test_a_member_adds_no_more_than_documented():
    knobs = {"activation": "gelu", "task": "abs", "precision": "bf16"}
    shape = {"n_features": 128, "d_embed": 32, "n_neurons": 256, "batch_size": 256, "n_steps": 2, **knobs}
    command = [sys.executable, "-c", SCRIPT, json.dumps(shape)]
    # Else glibc keeps what is freed by a rule that learns, and the peak varies by a third.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    fewer, more = map(int, done.stdout.split())
    per_pack, per_member = gpu_bytes(TwoLayerConfig(**shape))
    documented = 16 * per_member
    assert 0.2 * documented < more - fewer <= documented
    assert more <= per_pack + 3 * documented


def test_a_gpus_pack_is_bounded_by_what_it_takes_there():
    config = TwoLayerConfig(**SHAPE, feature_prob=0.125)
    assert bytes_of_pack(config, "cuda") == gpu_bytes(config)
    for knobs in ({"batch_size": 4000}, {"n_neurons": 360}, {"connectivity": 0.5}, {"precision": "bf16"}):
        larger = TwoLayerConfig(**{**config.to_dict(), **knobs})
        assert bytes_of_pack(larger, "cuda")[1] > bytes_of_pack(config, "cuda")[1]


def rows(trainer):
    """Every member's metrics and curve at the end of its training."""
    for _ in trainer:
        pass
    return [(r.status, r.metrics, r.curve["loss"], r.tables["neurons"]["r"]) for r in trainer.results()]


def test_a_trainer_makes_the_same_rows_of_either_engine():
    configs = list(mixed_pack(n_steps=70, precision="fp64"))
    stacked, packed = PackTrainer(configs, "cpu"), PackTrainer(configs, "cpu")
    stacked.seats.engine = StackedEngine(tuple(configs), "cpu")
    for ours, theirs in zip(rows(stacked), rows(packed), strict=True):
        assert ours[0] == theirs[0]
        assert ours[1]["features_by_n_mono"] == theirs[1]["features_by_n_mono"]
        assert ours[1]["capacity_sum"] == pytest.approx(theirs[1]["capacity_sum"])
        np.testing.assert_allclose(ours[2], theirs[2], rtol=1e-9)
        np.testing.assert_allclose(ours[3], theirs[3], rtol=1e-6)


@pytest.mark.parametrize("max_seconds", [1e9, 0.0])
def test_training_ahead_changes_no_bit_of_rows_or_checkpoints(max_seconds, monkeypatch):
    """Wherever training is paused, what is saved is what was trained until then."""
    configs = list(mixed_pack(n_steps=300, batch_size=8))
    ahead, plain = PackTrainer(configs, "cpu"), PackTrainer(configs, "cpu")
    ahead.seats.engine, plain.seats.engine = StackedEngine(tuple(configs), "cpu"), StackedEngine(tuple(configs), "cpu")
    monkeypatch.setattr(plain, "_run_ahead", lambda due: None)
    seen = []
    while not ahead.done:
        ahead.advance(max_seconds)
        seen.append(len(ahead.seats.engine._ahead))
        while plain.step < ahead.step:
            plain.advance(0.0)
        assert plain.step == ahead.step
        ours, theirs = (safetensors.torch.load(trainer.to_bytes()) for trainer in (ahead, plain))
        assert same_bits([ours[name] for name in theirs], list(theirs.values()))
    assert {1, 2} <= set(seen) and seen[-1] == 0
    for ours, theirs in zip(rows(ahead), rows(plain), strict=True):
        assert ours[:2] == theirs[:2]
        np.testing.assert_array_equal(ours[2], theirs[2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_trains_saves_and_continues_what_a_cpu_trains():
    configs = list(mixed_pack(n_steps=200, precision="fp64"))
    through, stopped = PackTrainer(configs, "cuda"), PackTrainer(configs, "cuda")
    for _ in range(5):
        stopped.advance()
    continued = rows(PackTrainer.from_bytes(stopped.to_bytes(), "cuda"))
    for ours, again, cpus in zip(rows(through), continued, rows(PackTrainer(configs, "cpu")), strict=True):
        np.testing.assert_array_equal(ours[2], again[2])
        np.testing.assert_allclose(ours[2], cpus[2], rtol=1e-6)

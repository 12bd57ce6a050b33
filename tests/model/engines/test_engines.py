"""The oracle: the packed engine, with gradients by hand, against autograd and torch_optimizer.Lamb."""

import dataclasses

import numpy as np
import pytest
import torch
import torch_optimizer

from monosweep.model import precision as precisions
from monosweep.model.engines.cpu import elementwise, gemm
from monosweep.model.engines.cpu.compiled_step import is_gram
from monosweep.model.engines.cpu.engine import PackedEngine
from monosweep.model.engines.cpu.products import BFloat16, Rounded, products
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.optimizers import lamb_step
from monosweep.model.precision import product, round_to_bf16, round_to_tf32

TASKS = ("decoder", "reprojector", "abs")
ACTIVATIONS = ("relu", "gelu", "solu")
SCHEDULES = ("cosine", "constant", "cosine_to_zero")
COMBINATIONS = [(TASKS[i], ACTIVATIONS[j], SCHEDULES[(i + j) % 3]) for i in range(3) for j in range(3)]
"""A Latin square: each value with each value of the others."""
TOLERANCE = {"fp32": 1e-4, "fp64": 1e-9}


def trial(**knobs):
    shape = {"n_features": 24, "d_embed": 8, "n_neurons": 36, "batch_size": 40, "feature_prob": 0.125}
    return TwoLayerConfig(**{**shape, "n_steps": 300, "lr_period": 60, "lr": 0.003, **knobs})


def compare(config, n_steps=200):
    solo = SoloEngine((config,), "cpu")
    expected = solo.advance(n_steps)
    for packed in (PackedEngine((config,)), StackedEngine((config,), "cpu")):
        agree(packed, solo, packed.advance(n_steps), expected)


def agree(packed, solo, losses, expected):
    tolerance = TOLERANCE[solo.config.precision]
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    for name in ("w_in", "bias", "w_out"):
        ours, theirs = packed.params(0)[name], solo.params(0)[name]
        assert torch.linalg.vector_norm(ours - theirs) <= tolerance * torch.linalg.vector_norm(theirs)


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize(("task", "activation", "schedule"), COMBINATIONS)
def test_packed_equals_solo(task, activation, schedule, precision):
    compare(trial(task=task, activation=activation, lr_schedule=schedule, precision=precision))


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize(
    "knobs",
    [
        {"bias_offset": -1, "bias_decay": 3.0},
        {"bias_offset": 0.5, "bias_decay": 0.1, "l1": 0.01},
        {"l1": 0.01, "activation": "gelu"},
        {"feature_dist": "power_law", "feature_prob": 0.3},
        {"connectivity": 0.3, "bias_offset": -0.1},
        {"bias_reg": 0.02, "bias_reg_target": -0.4},
        {"bias_decay_mode": "per_neuron", "bias_offset": -1, "bias_decay": 3.0},
        {"bias_decay_mode": "per_neuron", "bias_offset": -1, "bias_decay": 3.0, "activation": "gelu"},
        {"bias_decay_mode": "tied_to_update", "bias_offset": -0.5, "bias_decay": 3.0},
        {"bias_decay_mode": "tied_to_update", "bias_decay": 3.0, "connectivity": 0.5, "lr_period": 7},
        {"feature_prob": 1.0, "batch_size": 3},
        {"n_features": 60, "n_neurons": 20, "l1": 0.01, "bias_offset": -0.2, "bias_decay": 1.0},
        {"n_features": 60, "n_neurons": 20, "batch_size": 100, "task": "abs", "connectivity": 0.5},
        {"n_features": 1, "d_embed": 1, "n_neurons": 1, "batch_size": 1, "feature_prob": 0.5},
    ],
)
def test_packed_equals_solo_with_other_knobs(knobs, precision):
    compare(trial(precision=precision, **knobs))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    ("precision", "engines_differ", "rounding_matters"), [("bf16", 5e-4, 2e-3), ("tf32", 3e-5, 2e-4)]
)
def test_rounded_packed_equals_rounded_solo(task, activation, precision, engines_differ, rounding_matters):
    """Both round the same operands; what remains is the order of sums, seen through a rounding."""
    config = trial(task=task, activation=activation, precision=precision, l1=0.001)
    ours, theirs = PackedEngine((config,)).advance(100), SoloEngine((config,), "cpu").advance(100)
    exact = SoloEngine((dataclasses.replace(config, precision="fp32"),), "cpu").advance(100)
    assert np.abs(ours / theirs - 1).mean() < engines_differ
    assert 0 < np.abs(ours / exact - 1).mean() < rounding_matters


def test_tf32_has_eleven_significant_bits():
    values = np.float32([1 + 2**-11, 1 + 3 * 2**-11, -0.0, np.inf, -np.inf, np.nan, 1 + 2**-10, 1 + 2**-11 + 2**-20])
    expected = np.float32([1, 1 + 2**-9, -0.0, np.inf, -np.inf, np.nan, 1 + 2**-10, 1 + 2**-10])
    np.testing.assert_array_equal(round_to_tf32(torch.from_numpy(values)).numpy(), expected)
    rounded = products("tf32")
    for n in (len(values), 3):  # the second time in a part of the first one's buffer
        np.testing.assert_array_equal(rounded.operand("x", values[:n, None]), expected[:n, None])


def test_bf16_is_rounded_as_torch_rounds():
    odd = np.float32([1 + 2**-8, 1 + 3 * 2**-8, -0.0, np.inf, -np.inf, np.nan, -np.nan, 3.4e38, -1e-30, 0.1])
    halves = np.empty(odd.shape, np.uint16)
    elementwise.to_bf16(odd, halves)
    expected = torch.from_numpy(odd).bfloat16()
    np.testing.assert_array_equal(as_floats(halves), expected.float().numpy())
    for bias in (0.0, 0.3):
        biases, once = np.full(odd.size, bias, np.float32), odd[None].copy()
        elementwise.relu_bf16(once, biases, halves[None])
        answers = torch.relu(expected.float() + torch.from_numpy(biases)).bfloat16()
        np.testing.assert_array_equal(as_floats(halves), answers.float().numpy())


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(("trans_a", "trans_b"), [(False, False), (True, False), (False, True)])
def test_bf16_without_instructions_for_it_is_bf16_with(trans_a, trans_b, add):
    """Up to the order of sums, which seldom shows through the rounding of a product."""
    draw = np.random.default_rng(0)
    a, b = (draw.standard_normal((40, 40), np.float32) for _ in range(2))
    found = []
    for multiply in (BFloat16(), Rounded(round_to_bf16, twice=True)):
        for n in (40, 30):  # the second time in a part of the first one's buffers
            out = np.full((n, n), 0.5, np.float32)
            operands = [multiply.operand(name, values[:n, :n].copy()) for name, values in (("a", a), ("b", b))]
            multiply.product(*operands, out, trans_a=trans_a, trans_b=trans_b, add=add)
        found.append(out)
        assert multiply.operand("a", a) is not None and np.isfinite(out).all()
    exact = (a[:30, :30].T if trans_a else a[:30, :30]) @ (b[:30, :30].T if trans_b else b[:30, :30]) + 0.5 * add
    assert (found[0] == found[1]).mean() > 0.98
    np.testing.assert_allclose(found[0], found[1], rtol=2**-7, atol=1e-6)
    assert 0.001 < np.abs(found[1] - exact).mean() < 0.03


def test_gradients_of_bf16_without_instructions_for_it_are_those_with(monkeypatch):
    torch.manual_seed(0)
    a, b, back = torch.randn(30, 20), torch.randn(20, 40), torch.randn(30, 40)
    found = []
    for has in (True, False):
        monkeypatch.setattr(precisions, "has_bf16", lambda has=has: has)
        operands = [values.clone().requires_grad_() for values in (a, b)]
        y = product("bf16", *operands)
        y.backward(back)
        found.append([y.detach(), *(operand.grad for operand in operands)])
    for with_, without in zip(*found, strict=True):
        assert float((with_ == without).float().mean()) > 0.98
        torch.testing.assert_close(with_, without, rtol=2**-7, atol=1e-5)
        assert torch.equal(without, round_to_bf16(without))


def as_floats(halves):
    return torch.from_numpy(halves.view(np.int16)).view(torch.bfloat16).float().numpy()


@pytest.mark.skipif(not gemm.has_amx(), reason="needs a processor with AMX")
@pytest.mark.parametrize(
    "knobs",
    [
        {"l1": 0.01, "bias_offset": -0.5, "bias_decay": 3.0},
        {"task": "abs", "feature_dist": "power_law", "feature_prob": 0.3},
        {"task": "reprojector", "bias_decay": 0.1, "connectivity": 0.4},
        {"batch_size": 1000, "n_neurons": 900, "bias_reg": 0.02, "bias_reg_target": -0.4},
    ],
)
def test_compiled_bf16_chunks_are_the_steps_in_python(knobs):
    """In the first steps to the order of sums; later a sum that falls to the other side of a rounding shows."""
    config = trial(precision="bf16", **knobs)
    compiled, stepwise = (PackedEngine((config,)) for _ in range(2))
    assert compiled._step.halves is not None
    exact = PackedEngine((dataclasses.replace(config, precision="fp32"),))
    stepwise._step.fused, stepwise._step.halves = False, None
    ours, theirs, unrounded = (engine.advance(10) for engine in (compiled, stepwise, exact))
    assert np.abs(ours[:2] / theirs[:2] - 1).max() < 2e-5
    assert np.abs(ours / theirs - 1).mean() < np.abs(unrounded / theirs - 1).mean() / 4


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize(
    "knobs",
    [
        {"l1": 0.01, "bias_offset": -0.5, "bias_decay": 3.0},
        {"task": "abs", "feature_dist": "power_law", "feature_prob": 0.3},
        {"task": "reprojector", "bias_decay": 0.1, "connectivity": 0.4},
        {"batch_size": 1000, "n_neurons": 900, "n_steps": 8, "bias_reg": 0.02, "bias_reg_target": -0.4},
        {"batch_size": 1000, "n_features": 900, "n_neurons": 400, "n_steps": 8},
    ],
)
def test_compiled_chunks_are_the_steps_in_python(knobs, precision):
    """To the bit, for the compiler orders no sum; the form without the error is another sum."""
    config = trial(precision=precision, **knobs)
    compiled, stepwise = (PackedEngine((config,)) for _ in range(2))
    assert compiled._step.fused
    stepwise._step.fused = False
    n_steps, tolerance = min(40, config.n_steps), {"fp32": 2e-6, "fp64": 1e-14}[precision] * is_gram(config)
    np.testing.assert_allclose(compiled.advance(n_steps), stepwise.advance(n_steps), rtol=tolerance)
    for ours, theirs in zip(compiled.take(0).tensors.values(), stepwise.take(0).tensors.values(), strict=True):
        assert torch.linalg.vector_norm(ours - theirs) <= 10 * tolerance * torch.linalg.vector_norm(theirs)


@pytest.mark.parametrize(("knobs", "gram"), [({}, False), ({"n_neurons": 16}, True), ({"n_neurons": 24}, False)])
def test_narrow_layers_take_the_form_without_the_error(knobs, gram):
    config = trial(**knobs)
    assert is_gram(config) == gram == bool(PackedEngine((config,))._step.gram[0].size)
    assert not is_gram(dataclasses.replace(config, task="reprojector"))


def test_silent_network_waits_for_its_bias_to_decay():
    """With every neuron silent no gradient moves anything; only the decay brings them back."""
    engine = PackedEngine((trial(bias_offset=-3, bias_decay=10.0, n_steps=400, lr=0.01),))
    before = engine.params(0)["w_in"].clone()
    first = engine.advance(1)
    assert torch.equal(engine.params(0)["w_in"], before)
    assert first[0, 0] == pytest.approx(24 * 0.125 / 3, rel=0.5)
    engine.advance(199)
    assert not torch.equal(engine.params(0)["w_in"], before)


def test_no_decay_after_the_first_half():
    config = trial(bias_offset=-3, bias_decay=0.1, n_steps=20)
    engine = PackedEngine((config,))
    engine.advance(10)
    half = engine.params(0)["bias"].clone()
    engine.advance(10)
    assert torch.equal(engine.params(0)["bias"], half)
    start = PackedEngine((config,)).params(0)["bias"]
    torch.testing.assert_close(half, start * (1 - 0.1 * config.lr) ** 10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lamb_is_torch_optimizers(dtype):
    """Random gradients of very different sizes, a zero tensor, a zero gradient, and norms above the cap."""
    torch.manual_seed(0)
    shapes = [(6, 5), (6,), (4, 6)]
    segments, total = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        segments.append(slice(total, total + size))
        total += 16 * -(-size // 16)
    rows = torch.zeros(3, 4, total, dtype=dtype)
    params, exp_avg, exp_avg_sq = rows
    scales = (0.0, 1.0, 30.0, 1.0)
    oracles = []
    for trial_index, scale in enumerate(scales):
        tensors = [torch.nn.Parameter(scale * torch.randn(shape, dtype=dtype)) for shape in shapes]
        for segment, tensor in zip(segments, tensors, strict=True):
            params[trial_index, segment] = tensor.detach().ravel()
        oracles.append((tensors, torch_optimizer.Lamb(tensors, lr=0.01)))
    for step in range(20):
        grads = torch.zeros_like(params)
        for trial_index, (tensors, optimizer) in enumerate(oracles):
            for segment, tensor in zip(segments, tensors, strict=True):
                size = 10.0 ** (trial_index * 2 - 4) * (0 if trial_index == 3 and step < 5 else 1)
                tensor.grad = size * torch.randn_like(tensor)
                grads[trial_index, segment] = tensor.grad.ravel()
            optimizer.param_groups[0]["lr"] = 0.01 * (step % 3)
            optimizer.step()
        lr = torch.full((4,), 0.01 * (step % 3), dtype=dtype)
        lamb_step(params, grads, exp_avg, exp_avg_sq, torch.zeros_like(params), tuple(segments), lr)
    for trial_index, (tensors, _) in enumerate(oracles):
        for segment, tensor in zip(segments, tensors, strict=True):
            ours, theirs = params[trial_index, segment], tensor.detach().ravel()
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)

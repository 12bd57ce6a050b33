"""The fused kernels against torch, on a CPU; `test_kernels.py` runs this file in Triton's interpreter.

The interpreter rounds to bf16 toward zero, where a GPU rounds to the nearest.
"""

import pytest
import torch

from monosweep.model.config import ConfigError
from monosweep.model.engines.gpu import kernels
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.gpu.graph import same_bits
from monosweep.model.engines.gpu.sampling import DeviceStreams
from monosweep.model.families.two_layer.layout import ALIGN
from monosweep.model.families.two_layer.samples import stream_key
from monosweep.model.families.two_layer.weights import activate, activation_slope
from monosweep.model.optimizers import lamb_step

from .test_graph import KNOBS, pack, stores

pytestmark = [
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]
ACTIVATIONS = ["relu", "gelu", "solu"]
SIZES = [(1, 1), (7, 3), (32, 32), (3, 1000)]
LAYOUTS = [(12, 3, 20), (16, 16, 32), (1, 1, 1), (1000, 25, 2000), (40_000, 100, 95_000)]
"""Sizes of w_in, bias and w_out: odd ones, powers of two, more than a tile, large tiles."""
ROUNDED = {torch.float32: 1e-6, torch.bfloat16: 2**-7}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_as_torch_computes_them(name, size, dtype):
    e, bias = torch.randn(2, *size).mul_(3).to(dtype), torch.randn(2, size[1] + 5)[:, : size[1]]
    found, expected = torch.empty_like(e), activate(name, e.float() + bias[:, None])
    kernels.activate(name, e, bias, found)
    torch.testing.assert_close(found.float(), expected, rtol=ROUNDED[dtype], atol=1e-6)


def test_an_activation_without_a_kernel_is_not_taken_for_another():
    e, bias = torch.zeros(1, 2, 3), torch.zeros(1, 3)
    for call in (lambda: kernels.activate("tanh", e, bias, e), lambda: kernels.times_slope("tanh", e, e, bias, None)):
        with pytest.raises(ConfigError, match="unknown activation 'tanh'"):
            call()


def test_relu_works_in_place_and_keeps_nan():
    e = torch.tensor([[[-1.0, 2.0, float("nan"), float("-inf")]]])
    kernels.activate("relu", e, torch.zeros(1, 4), e)
    assert same_bits([e], [torch.tensor([[[0.0, 2.0, float("nan"), 0.0]]])])


@pytest.mark.parametrize("l1", [None, torch.tensor([0.0, 0.5, -2.0])])
@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_go_through_the_activation(name, dtype, l1):
    e, dh = (torch.randn(3, 40, 31).to(dtype) for _ in range(2))
    bias = torch.randn(3, 31)
    whole = e.float() + (0 if name == "relu" else bias[:, None])  # for relu, what is kept is what came out
    summed = dh.float() if l1 is None else dh.float() + l1[:, None, None] * activate(name, whole).sign()
    expected = summed * activation_slope(name, whole)
    kernels.times_slope(name, dh, e, bias, None if l1 is None else l1.view(3, 1, 1))
    torch.testing.assert_close(dh.float(), expected, rtol=ROUNDED[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 32), (410, 333)])
def test_errors_and_losses(shape, dtype):
    y, padded = torch.randn(4, *shape).to(dtype), torch.randn(3, shape[0] * shape[1] + 9)
    target, stream_of = padded[:, : shape[0] * shape[1]].view(3, *shape), torch.tensor([2, 0, 0, 1])
    exact = y.float() - target[stream_of]
    loss = kernels.subtract_target(y, target, stream_of, 0.25)
    torch.testing.assert_close(y.float(), exact, rtol=ROUNDED[dtype], atol=0)
    torch.testing.assert_close(loss.double(), exact.double().square().sum(dim=(1, 2)) / 4, rtol=1e-6, atol=0)


@pytest.mark.parametrize("n_tiles", [1, 1024, 2500])
def test_partial_sums_of_any_number_of_tiles(n_tiles):
    sums, out = torch.rand(3, n_tiles), torch.empty(3)
    kernels._total[(3,)](sums, out, 0.5, N=n_tiles, TILE=1024)
    torch.testing.assert_close(out.double(), sums.double().sum(dim=1) / 2, rtol=1e-6, atol=0)


def rows(sizes, n=4):
    """Parameters, gradients, both moments and a mask of some trials, with zeros between the tensors and at the end."""
    start = -(-(sizes[0] + sizes[1]) // ALIGN) * ALIGN
    edges = (0, sizes[0], sizes[0] + sizes[1], start, start + sizes[2])
    segments = tuple(slice(edges[a], edges[a + 1]) for a in (0, 1, 3))
    found = [torch.zeros(n, -(-edges[-1] // ALIGN) * ALIGN) for _ in range(5)]
    for row in found:
        for segment in segments:
            row[:, segment] = torch.randn_like(row[:, segment]) * 0.2
    params, grads, exp_avg, exp_avg_sq, mask = found
    return (params, exp_avg, exp_avg_sq.square_()), grads, (mask > 0).float(), segments


LR, REG, PULL = torch.tensor([0.01, 0.0, 0.3, 1e30]), torch.tensor([0.0, 0.5, 0.5, 0.0]), torch.tensor([0, 1.0, -1, 0])


def apart(grads, segments):
    """Gradients without those of the biases, and those."""
    given, biases = grads.clone(), grads[:, segments[1]].float().clone()
    given[:, segments[1]] = float("nan")
    return given, biases


def fused_lamb(stores, grads, mask, segments, part=slice(None)):
    """New parameters and moments of some of the trials."""
    taken = tuple(store[part].clone() for store in stores)
    chosen = None if mask is None else mask[part].clone()
    given, biases = apart(grads[part], segments)
    kernels.lamb(
        taken, given, biases, chosen, REG[part].clone(), PULL[part].clone(), 0.125, segments, LR[part].clone()
    )
    return taken


@pytest.mark.parametrize(("dtype", "masked"), [(torch.float32, True), (torch.bfloat16, False)])
@pytest.mark.parametrize("sizes", LAYOUTS)
def test_lamb_as_torch_computes_it(sizes, dtype, masked):
    stores, grads, mask, segments = rows(sizes)
    grads = grads.to(dtype)
    found = fused_lamb(stores, grads, mask if masked else None, segments)
    exact, finished = [store.double() for store in stores], grads.double()
    finished[:, segments[1]] += (REG[:, None] * (stores[0][:, segments[1]] - PULL[:, None])).double()
    finished *= (mask if masked else 1) * 0.125
    lamb_step(exact[0], finished, *exact[1:], torch.empty_like(finished), segments, LR.double())
    for ours, theirs in zip(found, exact, strict=True):
        away, size = (torch.linalg.vector_norm(t, dim=1) for t in (ours - theirs, theirs))
        assert (away <= 1e-6 * size).all()


@pytest.mark.parametrize("zeros", ["params", "grads", "both"])
def test_a_tensor_without_a_norm_steps_by_the_rate(zeros):
    (params, exp_avg, exp_avg_sq), grads, _, segments = rows((12, 3, 20))
    if zeros != "grads":
        params[:, segments[1]] = 0
    for row in (grads, exp_avg, exp_avg_sq) if zeros != "params" else ():
        row[:, segments[1]] = 0
    stores = (params, exp_avg, exp_avg_sq)
    no_pull = torch.zeros(4)
    found = tuple(store.clone() for store in stores)
    kernels.lamb(found, *apart(grads, segments), None, no_pull, no_pull, 1.0, segments, LR)
    lamb_step(stores[0], grads, *stores[1:], torch.empty_like(grads), segments, LR)
    for ours, theirs in zip(found, stores, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("sizes", LAYOUTS)
def test_neither_padding_nor_other_trials_matter_to_a_bit(sizes):
    """Not even a neighbour that has diverged."""
    stores, grads, mask, segments = rows(sizes)
    stores[0][1], grads[1] = float("nan"), float("inf")
    whole = fused_lamb(stores, grads, mask, segments)
    for part in (slice(0, 1), slice(2, 4), slice(0, None, 2)):
        assert same_bits([store[part] for store in whole], fused_lamb(stores, grads, mask, segments, part))
    gaps = torch.ones(whole[0].shape[1], dtype=torch.bool)
    for segment in segments:
        gaps[segment] = False
    assert all(not store[[0, 2]][:, gaps].any() for store in whole)


def test_a_loss_is_the_same_in_any_pack():
    y, target = torch.randn(5, 70, 33), torch.randn(2, 70, 33)
    stream_of = torch.tensor([0, 1, 1, 0, 1])
    whole = kernels.subtract_target(y.clone(), target, stream_of, 1.0)
    part = kernels.subtract_target(y[1:3].clone(), target[1:], torch.tensor([0, 0]), 1.0)
    assert same_bits([whole[1:3].clone()], [part])


@pytest.mark.parametrize("task", ["decoder", "abs"])
@pytest.mark.parametrize("knobs", [{"feature_prob": 0.3}, {"feature_prob": 0.4, "feature_dist": "power_law"}])
def test_samples_are_the_same_to_a_bit(knobs, task):
    keys = [stream_key(c) for c in pack(task=task, batch_size=90, **knobs)[:2]]
    ours, theirs = (DeviceStreams(keys, torch.float32, "cpu") for _ in range(2))
    ours.scatter = kernels.scatter
    for step in (1, 2, 3, ours.steps_ahead, ours.steps_ahead + 1):
        found = []
        for streams in (ours, theirs):
            streams.seek(step)
            found.append(torch.zeros(2, 90 * 12 + 5))
            streams.fill(found[-1])
        assert same_bits(found[:1], found[1:]) and found[0].any()


@pytest.mark.parametrize("knobs", [k for k in KNOBS if k.get("precision") != "fp64"])
def test_the_fused_step_is_the_step(knobs):
    plain, fused = StackedEngine(pack(**knobs), "cpu"), StackedEngine(pack(**knobs), "cpu")
    assert fused.fuse() and fused.fused
    tolerance = {"bf16": 0.02, "tf32": 1e-3}.get(knobs.get("precision"), 1e-5)
    torch.testing.assert_close(
        torch.from_numpy(fused.advance(4)), torch.from_numpy(plain.advance(4)), rtol=tolerance, atol=0
    )
    for ours, theirs in zip(stores(fused), stores(plain), strict=True):
        assert torch.linalg.vector_norm(ours - theirs) <= tolerance * torch.linalg.vector_norm(theirs)


def test_a_diverged_trial_does_not_keep_its_pack_from_fusing():
    engine = StackedEngine(pack(), "cpu")
    engine._stores[0][2, 3] = float("nan")
    assert engine.fuse()


def test_kernels_that_compute_something_else_are_dropped(monkeypatch):
    plain, asked = StackedEngine(pack(), "cpu"), StackedEngine(pack(), "cpu")
    wrong = kernels.times_slope
    monkeypatch.setattr(kernels, "times_slope", lambda name, *rest: wrong("solu", *rest))
    with pytest.warns(RuntimeWarning, match="without fused kernels, which is slower: they do not compute what torch"):
        assert not asked.fuse()
    assert (plain.advance(2) == asked.advance(2)).all()

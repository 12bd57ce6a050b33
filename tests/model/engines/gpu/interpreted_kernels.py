"""The kernels against torch and numpy, on a CPU; `test_kernels.py` runs this file in Triton's interpreter.

The interpreter rounds to bf16 toward zero, where a GPU rounds to the nearest.
"""

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from monosweep.model.config import ConfigError
from monosweep.model.data import stream
from monosweep.model.data.stream import FeatureStream
from monosweep.model.engines.gpu import drawing, elementwise, kernels, sampling
from monosweep.model.engines.gpu import engine as gpu
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.gpu.layout import PaddedLayout
from monosweep.model.engines.gpu.sampling import DeviceStreams
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.families.two_layer.samples import stream_key

from .packs import fake_graphs, groups_of, on_tape, pack, same_bits, stores, watched_kernels

pytestmark = [
    pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero) encountered:RuntimeWarning"),
]
ACTIVATIONS = ["relu", "gelu", "solu"]
SIZES = {torch.bfloat16: (32, 32), torch.float32: (3, 1000), torch.float64: (7, 3)}
ROUNDED = {torch.float32: 3e-6, torch.bfloat16: 2**-7, torch.float64: 1e-13}
ALIVE = torch.tensor([1, 0, 1, 1], dtype=torch.int32)


@pytest.fixture(autouse=True)
def _seed(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(kernels, "_LARGE", 2**11)
    monkeypatch.setattr(kernels, "_STRIP", 16)
    groups_of(2, monkeypatch)


def precise(dtype):
    """What parameters are kept in beside products in this type."""
    return torch.float32 if dtype == torch.bfloat16 else dtype


def agree(ours, theirs, start, dtype):
    """Those who are there are as torch computes them; who is not is as he was."""
    there = ALIVE == 1
    found, expected = ours[there].double(), theirs[there].double()
    largest = max(1.0, float(start.abs().max()))  # factors near zero are differences of numbers around one
    torch.testing.assert_close(found, expected, rtol=ROUNDED[dtype], atol=largest * ROUNDED[dtype])
    assert same_bits([ours[~there]], [start[~there]])


@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_slopes_as_torch_computes_them(name, dtype):
    size = SIZES[dtype]
    e, dh = (torch.randn(4, *size).mul_(2).to(dtype) for _ in range(2))
    bias, l1 = torch.randn(4, size[1] + 5, dtype=precise(dtype))[:, : size[1]], torch.tensor([0.0, 1, 0.5, -2])
    found, expected = torch.zeros_like(e), torch.zeros_like(e)
    for module, out in ((kernels, found), (elementwise, expected)):
        module.activate(name, e, bias, ALIVE, out)
    agree(found, expected, torch.zeros_like(e), dtype)
    kept, ours, theirs = expected if name == "relu" else e, dh.clone(), dh.clone()
    sums = torch.zeros(2, 4, size[1], dtype=bias.dtype)
    for module, out, summed in ((kernels, ours, sums[0]), (elementwise, theirs, sums[1])):
        module.times_slope(name, out, kept, bias, l1.to(bias.dtype), ALIVE, summed)
    agree(ours, theirs, dh, dtype)
    off, terms = (sums[0] - sums[1]).abs(), theirs.to(bias.dtype).abs().sum(dim=1)
    assert (off <= ROUNDED[bias.dtype] * (terms + size[0]))[ALIVE == 1].all() and sums[1].any()


def test_an_activation_without_a_kernel_is_not_taken_for_another():
    e, one = torch.zeros(1, 2, 3), torch.ones(1, dtype=torch.int32)
    for call in (
        lambda: kernels.activate("tanh", e, e[0], one, e),
        lambda: kernels.times_slope("tanh", e, e, e[0], one, one, e[0]),
    ):
        with pytest.raises(ConfigError, match="unknown activation 'tanh'"):
            call()


def test_relu_works_in_place_and_keeps_nan():
    e = torch.tensor([[[-1.0, 2.0, float("nan"), float("-inf")]]])
    kernels.activate("relu", e, torch.zeros(1, 4), torch.ones(1, dtype=torch.int32), e)
    assert same_bits([e], [torch.tensor([[[0.0, 2.0, float("nan"), 0.0]]])])


@pytest.mark.parametrize(
    ("dtype", "shape"), [(torch.float32, (1, 1)), (torch.bfloat16, (64, 32)), (torch.float64, (110, 333))]
)
def test_errors_and_losses(shape, dtype):
    y, target, stream_of = torch.randn(4, *shape).to(dtype), torch.randn(3, *shape), torch.tensor([2, 0, 0, 1])
    ours, theirs, target = y.clone(), y.clone(), target.to(precise(dtype))
    losses = [module.subtract_target(out, target, stream_of, ALIVE, 0.25)
              for module, out in ((kernels, ours), (elementwise, theirs))]  # fmt: skip
    agree(ours, theirs, y, dtype)
    torch.testing.assert_close(*(loss[ALIVE == 1] for loss in losses), rtol=1e-6, atol=0)


@pytest.mark.parametrize("n_parts", [1, 64, 2500])
@pytest.mark.parametrize("width", [1, 24, 200])
def test_sums_of_any_number_of_parts(n_parts, width):
    parts, out = torch.rand(3, n_parts, width), torch.empty(3, width)
    kernels._sum_parts(parts, 0.5, out)
    torch.testing.assert_close(out.double(), parts.double().sum(dim=1) / 2, rtol=1e-6, atol=0)


LAYOUTS = [(3, 5, 7), (1, 1, 1), (12, 60, 50)]
"""Odd sizes, the least, and more than a large tile, if those begin at 2^11 elements."""
LR, REG = torch.tensor([0.01, 0.3, 0.0, 1e30]), torch.tensor([0.0, 0.5, 0.5, 0.0])
PULL = torch.tensor([0, 1.0, -1, 0])


def rows(sizes, dtype=torch.float32):
    """Parameters with both moments, gradients, those of the biases and a mask of some trials, zeros where none lie."""
    whole = Layout.of_sizes(*(-(-n // 8) * 8 for n in sizes))
    layout = PaddedLayout(whole.d_embed, whole.n_neurons, whole.n_out, whole.segments, whole.row, sizes)
    found = torch.zeros(5, 4, layout.row, dtype=dtype)
    for row in found.flatten(0, 1):
        for tensor in layout.named(row).values():
            tensor.copy_(torch.randn(tensor.shape) * 0.2)
    params, grads, exp_avg, exp_avg_sq, mask = found
    biases = layout.bias(grads).clone()
    return (params, exp_avg, exp_avg_sq.square_()), grads, biases, (mask > 0).to(dtype), layout


def lamb(module, stores, grads, biases, mask, layout, part=slice(None), alive=ALIVE, dtype=None):
    """New parameters and moments of some of the trials."""
    taken = tuple(store[part].to(dtype or store.dtype, copy=True) for store in stores)
    numbers = [values[part].to(taken[0].dtype, copy=True) for values in (REG, PULL)]
    module.lamb(
        taken, grads[part].clone(), biases[part].to(taken[0].dtype, copy=True),
        None if mask is None else mask[part].to(taken[0].dtype, copy=True), *numbers, alive[part].clone(),
        LR[part].to(taken[0].dtype, copy=True), layout, 0.125,
    )  # fmt: skip
    return taken


@pytest.mark.parametrize(("dtype", "masked"), [(torch.float32, True), (torch.bfloat16, False), (torch.float64, True)])
@pytest.mark.parametrize("sizes", LAYOUTS)
def test_lamb_as_torch_computes_it(sizes, dtype, masked):
    stores, grads, biases, mask, layout = rows(sizes, precise(dtype))
    stores[0][2], stores[1][3], stores[2][3], grads[3], biases[3] = 0, 0, 0, 0, 0  # no norm, no direction
    grads, mask = grads.to(dtype), mask if masked else None
    found = lamb(kernels, stores, grads, biases, mask, layout)
    exact = lamb(elementwise, stores, grads.double(), biases, mask, layout, dtype=torch.float64)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    for ours, theirs, start in zip(found, exact, stores, strict=True):
        away, size = (torch.linalg.vector_norm(t, dim=1) for t in (ours - theirs, theirs))
        assert (away <= tolerance * size)[ALIVE == 1].all()
        assert same_bits([ours[1]], [start[1]])


@pytest.mark.parametrize("sizes", LAYOUTS)
def test_neither_padding_nor_other_trials_matter_to_a_bit(sizes):
    """Not even a neighbour that has diverged."""
    stores, grads, biases, mask, layout = rows(sizes)
    stores[0][1], grads[1] = float("nan"), float("inf")
    everyone = torch.ones_like(ALIVE)
    whole = lamb(kernels, stores, grads, biases, mask, layout, alive=everyone)
    for part in (slice(0, 1), slice(2, 4), slice(0, None, 2)):
        some = lamb(kernels, stores, grads, biases, mask, layout, part, everyone)
        assert same_bits([store[part] for store in whole], some)
    gaps = torch.ones(layout.row)
    for tensor in layout.named(gaps).values():
        tensor.zero_()
    assert all(not store[[0, 2]][:, gaps == 1].any() for store in whole)


def test_sums_are_the_same_in_any_pack():
    y, target, alive = torch.randn(5, 70, 33), torch.randn(2, 70, 33), torch.ones(5, dtype=torch.int32)
    stream_of = torch.tensor([0, 1, 1, 0, 1])
    whole = kernels.subtract_target(y.clone(), target, stream_of, alive, 1.0)
    part = kernels.subtract_target(y[1:3].clone(), target[1:], torch.tensor([0, 0]), alive, 1.0)
    assert same_bits([whole[1:3].clone()], [part])
    found = []
    for some in (slice(None), slice(1, 3)):
        dh, sums, bias = (torch.zeros(5, 33)[some] for _ in range(3))
        kernels.times_slope("relu", y[some].clone(), target[[0, 1, 1, 0, 1]][some], bias, dh[:, 0], alive[some], sums)
        found.append(sums)
    assert same_bits([found[0][1:3]], [found[1]]) and found[1].any()


STREAMS = [
    (0.1, "uniform", 0), (1 / 64, "uniform", 2**62 + 5), (0.4, "power_law", 3), (1.0, "uniform", 1),
    (1.0, "power_law", 2), (0.995, "uniform", 9),
]  # fmt: skip


@triton.jit
def _write_words(seed_ptr, out_ptr, block, part, TILE: tl.constexpr):
    words = drawing._tile_words(tl.load(seed_ptr), tl.load(block), tl.load(part), tl.program_id(0), 4, TILE)
    tl.store(out_ptr + tl.program_id(0) * TILE + tl.arange(0, TILE), words.to(tl.int64, bitcast=True))


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1])
def test_words_are_numpys(seed):
    for block, part in ((0, 0), (3, 1), (2**32, 2), (2**63 - 1, 3)):
        given, out = [torch.tensor([n]) for n in (seed, block, part)], torch.zeros(32, dtype=torch.int64)
        _write_words[(2,)](given[0], out, *given[1:], TILE=16)
        key, counter = np.array([seed, 4], np.uint64), np.array([0, 0, block, part], np.uint64)
        theirs = np.random.Philox(key=key, counter=counter).random_raw(32)
        np.testing.assert_array_equal(out.numpy().view(np.uint64), theirs)


@pytest.fixture
def _short_blocks(monkeypatch):
    """Blocks of a few steps, and tiles that are less than a block."""
    for module in (stream, sampling):
        monkeypatch.setattr(module, "ARRIVALS_PER_BLOCK", 2000)
    monkeypatch.setattr(drawing, "TILE", 1024)


@pytest.mark.usefixtures("_short_blocks")
@pytest.mark.parametrize(("task", "dtype"), [("decoder", torch.float32), ("abs", torch.float64)])
def test_streams_of_all_kinds_are_drawn_together_and_are_numpys(task, dtype):
    """Whatever their probabilities, each at a step of its own; a place that changes hands; one that is nobody's."""
    shape = {"n_features": 20, "d_embed": 5, "n_neurons": 8, "batch_size": 16, "task": task}
    keys = [
        stream_key(TwoLayerConfig(**shape, feature_prob=prob, feature_dist=dist, seed=seed))
        for prob, dist, seed in STREAMS
    ]
    ours, hosts = DeviceStreams(keys, dtype, "cpu"), [FeatureStream(key) for key in keys]
    done = [0, 5, 255, 3, 31, 7]
    for place, key in enumerate(keys):
        ours.put(place, key, done[place])
    for step in range(3):
        if step == 1:  # the first stream goes, the second is read by one who is further in it, others go back
            ours.put(0, None, 0)
            ours.put(1, keys[1], 77)
            done = [0, 76, *(n - 2 for n in done[2:])]
            ours.seek([n + step for n in done])
        ours.draw()
        dense = torch.zeros(len(keys), 16, 24, dtype=dtype)
        ours.fill(dense)
        for place, host in enumerate(hosts):
            there = step < 1 or place > 0
            expected = host.batch(done[place] + step + 1).dense() * there
            np.testing.assert_array_equal(dense[place, :, :20].float().numpy(), expected)
        assert not dense[:, :, 20:].any()


def test_a_whole_block_has_the_hosts_cells(monkeypatch):
    """20,000 arrivals: none lies so near the edge of a cell that the order of the sum matters."""
    key = stream_key(TwoLayerConfig(n_features=64, d_embed=4, n_neurons=4, batch_size=32, feature_prob=0.3))
    ours, host = DeviceStreams([key], torch.float32, "cpu"), FeatureStream(key)
    ours.put(0, key, 0)
    ours.draw()
    for step in range(1, 33):
        dense = torch.zeros(1, 32, 64)
        ours.fill(dense)
        np.testing.assert_array_equal(dense[0].numpy(), host.batch(step).dense())


@pytest.mark.parametrize(
    "knobs",
    [
        {"task": "abs", "precision": "bf16", "activation": "gelu", "l1": 0.001},
        {"precision": "fp64", "task": "reprojector"},
        {"precision": "tf32", "bias_decay": 1.0, "bias_decay_mode": "per_neuron"}, {"activation": "solu"},
        {"connectivity": 0.5, "bias_reg": 0.1, "bias_decay": 1.0, "bias_decay_mode": "tied_to_update"},
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_short_blocks")
def test_a_step_with_kernels_is_the_step(knobs):
    plain, fused = StackedEngine(pack(**knobs), "cpu"), StackedEngine(pack(**knobs), "cpu", kernels=True)
    for engine in (plain, fused):
        engine._go_on = lambda: None
    tolerance = {"bf16": 0.02, "tf32": 1e-3, "fp64": 1e-11}.get(knobs.get("precision"), 1e-5)
    np.testing.assert_allclose(fused.advance(3), plain.advance(3), rtol=tolerance)
    for ours, theirs in zip(stores(fused), stores(plain), strict=True):
        assert torch.linalg.vector_norm(ours - theirs) <= tolerance * torch.linalg.vector_norm(theirs)


def replayed_as_they_are(monkeypatch, record):
    """Steps and draws of an engine that replays recordings have the bits of those of one that does not, as slots change
    hands and as streams come to new blocks."""
    monkeypatch.setattr(gpu, "STEPS_AT_ONCE", 2)
    monkeypatch.setattr(gpu, "WORTH_CAPTURING", 1)
    watched_kernels(monkeypatch, [])
    found = []
    for captures in (True, False):
        with fake_graphs(monkeypatch, record) as recorded:
            engine = StackedEngine(pack()[:3], "cpu", kernels=True)
            engine._captures, engine._go_on = captures, lambda: None
            losses = [engine.advance(3)]
            taken = engine.take(1)
            engine.put(1, None)
            losses.append(engine.advance(2))
            engine.put(0, taken)
            losses.append(engine.advance(3))
            assert len(recorded) == 3 * captures
        found.append([torch.from_numpy(np.concatenate(losses)), *stores(engine)])
    assert same_bits(*found)


@pytest.fixture
def _blocks_of_four_steps(monkeypatch):
    for module in (stream, sampling):
        monkeypatch.setattr(module, "ARRIVALS_PER_BLOCK", 120)


@pytest.mark.usefixtures("_blocks_of_four_steps")
def test_what_is_recorded_repeats_what_was_done(monkeypatch):
    replayed_as_they_are(monkeypatch, on_tape)


@pytest.mark.usefixtures("_blocks_of_four_steps")
def test_a_recording_that_draws_something_else_is_seen(monkeypatch):
    def corrupt(function):
        replay = on_tape(function)
        if function.__name__ != "draw":
            return replay
        return lambda: (replay(), function.__self__._values.mul_(0.5))

    with pytest.raises(AssertionError, match="same_bits"):
        replayed_as_they_are(monkeypatch, corrupt)

"""The GPU's engine on CPU tensors: many data streams in one pack, precisions, checkpoints, memory."""

from unittest.mock import Mock

import numpy as np
import pytest
import safetensors.torch
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monosweep.model.bench.shapes import SHAPES
from monosweep.model.config import DeviceError
from monosweep.model.engines.gpu import copies
from monosweep.model.engines.gpu import engine as stacked
from monosweep.model.engines.gpu.engine import CHUNK_STEPS, StackedEngine
from monosweep.model.engines.gpu.memory import gpu_bytes
from monosweep.model.engines.gpu.products import DeviceProducts, group_size, matmul_settings, multiply
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.member import MemberState
from monosweep.model.memory import bytes_of_pack
from monosweep.model.trainer import PackTrainer

from .packs import GROUP, groups_of, same_bits, stores, watched_kernels

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


def test_steps_of_one_recording_have_the_bits_of_single_steps(monkeypatch):
    """Wherever recordings begin, and wherever samples have to be drawn again: each stream where its own blocks end."""
    configs = mixed_pack(batch_size=400, n_features=64)
    some, single = StackedEngine(configs, "cpu"), StackedEngine(configs, "cpu")
    assert {4, 8} <= set(some._samples._steps)
    taken, take, drawn, draw = [], some._train_steps, [], some._draw
    monkeypatch.setattr(some, "_train_steps", lambda: (taken.append(0), take()))
    monkeypatch.setattr(some, "_draw", lambda: (drawn.append(0), draw()))
    ours = np.concatenate([some.advance(n) for n in (3, 1, 40, 8, 7)])
    monkeypatch.setattr(stacked, "STEPS_AT_ONCE", 10**9)
    np.testing.assert_array_equal(ours, single.advance(59))
    assert same_bits(stores(some), stores(single))
    assert not taken and len(drawn) > 59 / 4


def test_an_engine_that_goes_on_is_as_it_was_until_it_is_asked_for_more():
    ahead, plain = StackedEngine(mixed_pack(), "cpu"), StackedEngine(mixed_pack(), "cpu")
    plain._go_on = lambda: None
    for n, on in ((1, 1), (1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 128)):
        np.testing.assert_array_equal(ahead.advance(n), plain.advance(n))
        assert ahead._next and not plain._next and ahead.chunk == on
        assert ahead.steps == plain.steps and ahead.overflowed() == plain.overflowed()
        assert same_bits(stores(ahead), stores(plain))
        assert torch.equal(ahead.params(3)["w_in"], plain.params(3)["w_in"])
    np.testing.assert_array_equal(ahead.advance(5), plain.advance(5))  # not what it had thought of
    ahead.advance(1), plain.advance(1)
    ahead.put(2, ahead.take(2))  # who joins, joins those who are at the step, not ahead of it
    assert not ahead._next and ahead.steps == plain.steps
    np.testing.assert_array_equal(ahead.advance(5), plain.advance(5))


def test_losses_leave_while_the_next_steps_are_under_way(monkeypatch):
    """They are waited for only when the device has been asked to go on."""
    seen, run, numpy = [], StackedEngine._run, copies.Arriving.numpy
    monkeypatch.setattr(StackedEngine, "_run", lambda self, n: (seen.append(n), run(self, n))[1])
    monkeypatch.setattr(copies.Arriving, "numpy", lambda self: (seen.append("wait"), numpy(self))[1])
    engine = StackedEngine(mixed_pack(), "cpu")
    for _ in range(4):
        engine.advance(engine.chunk)
    assert seen == [64, 64, "wait", 128, "wait", 44, "wait", "wait"]


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
    operand = DeviceProducts(precision, "cpu").operand(values).double()
    assert operand[0, 0, 0] == just_kept
    assert operand[0, 0, 1] == 1


def test_groups_multiply_what_one_product_does():
    a, b, out = torch.randn(12, 3, 5), torch.randn(12, 5, 2), torch.empty(12, 3, 2)
    multiply(a, b, out, 4)
    torch.testing.assert_close(out, a @ b)


def test_a_group_follows_from_the_shape_alone(monkeypatch):
    """One trial of the paper fills a GPU; of small ones, as many as one alone can pay for."""
    groups_of(GROUP, monkeypatch)
    sizes = [group_size(shape.trials(1, precision="bf16")[0]) for shape in SHAPES]
    assert sizes == [group_size(shape.trials(1)[0]) for shape in SHAPES] == [64, 64, 64, 1]
    assert group_size(TwoLayerConfig(n_neurons=700, batch_size=1000)) == 4


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


class Live(TorchDispatchMode):
    """The most bytes that tensors have held at once."""

    def __init__(self):
        super().__init__()
        self.held, self.most = {}, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                self.held[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.held = {key: pair for key, pair in self.held.items() if not pair[0].expired()}
        self.most = max(self.most, self.bytes)
        return out

    @property
    def bytes(self):
        return sum(n for reference, n in self.held.values() if not reference.expired())


def gpu_memory(n, shape):
    """Bytes of a pack's buffers that stay, and of what a step takes besides."""
    with Live() as live:
        engine = StackedEngine(tuple(TwoLayerConfig(**shape, seed=i) for i in range(n)), "meta")
        kept = live.bytes
        live.most = 0
        engine._draw(), engine._one_step(), engine._hold()
    return kept, live.most - kept


@pytest.mark.parametrize(
    "knobs",
    [
        {}, {"activation": "gelu", "task": "abs", "precision": "bf16"}, {"task": "reprojector", "precision": "tf32"},
        {"connectivity": 0.5, "bias_decay_mode": "per_neuron"}, {"bias_decay_mode": "tied_to_update"},
        {"precision": "fp64", "feature_prob": 0.9}, {"n_features": 512, "batch_size": 8192, "feature_prob": 0.5},
    ],
)  # fmt: skip
def test_a_member_adds_no_more_than_documented(knobs, monkeypatch):
    """Counted on the meta device, where the engine makes all that it makes on a GPU; and not much less."""
    pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
    watched_kernels(monkeypatch, [])
    groups_of(1, monkeypatch)
    shape = {"n_features": 128, "d_embed": 32, "n_neurons": 250, "batch_size": 256, "n_steps": 2, **knobs}
    (kept, passing), (more_kept, more_passing) = gpu_memory(4, shape), gpu_memory(12, shape)
    added, (_, documented) = more_kept - kept + 2 * (more_passing - passing), gpu_bytes(TwoLayerConfig(**shape))
    assert 0.6 * 8 * documented < added <= 8 * documented


def test_rows_that_are_nobodys_take_no_more_than_documented(monkeypatch):
    """Of a group of 16, one trial alone: its own rows, and fifteen more that the fixed part counts."""
    pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
    watched_kernels(monkeypatch, [])
    shape = {"n_features": 128, "d_embed": 32, "n_neurons": 250, "batch_size": 256, "n_steps": 2}
    groups_of(1, monkeypatch)
    fixed, _ = gpu_bytes(TwoLayerConfig(**shape))
    groups_of(16, monkeypatch)
    rows, member = gpu_bytes(TwoLayerConfig(**shape))
    kept, passing = gpu_memory(1, shape)
    assert 0.6 * 16 * member < kept + 2 * passing <= rows - fixed + member


def test_a_checkpoint_leaves_the_device_member_by_member(monkeypatch):
    """The host never holds a pack's state beside what it was asked for, nor do looks at weights."""
    engine, sizes = StackedEngine(mixed_pack(), "cpu"), []
    real = stacked.to_host
    monkeypatch.setattr(stacked, "to_host", lambda values: (sizes.append(values.numel()), real(values))[1])
    engine.advance(1)
    for slot in range(9):
        engine.take(slot), engine.params(slot)
    assert sizes == [3 * engine.layout.row, engine.layout.row] * 9


def test_a_gpus_pack_is_bounded_by_what_it_takes_there():
    config = TwoLayerConfig(**SHAPE, feature_prob=0.125)
    assert bytes_of_pack(config, "cuda") == gpu_bytes(config)
    for knobs in ({"batch_size": 4000}, {"n_neurons": 360}, {"connectivity": 0.5}, {"precision": "fp64"}):
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
def test_going_on_changes_no_bit_of_rows_or_checkpoints(max_seconds, monkeypatch):
    """Wherever training is paused, what is saved is what was trained until then."""
    configs = list(mixed_pack(n_steps=300, batch_size=8))
    ahead, plain = PackTrainer(configs, "cpu"), PackTrainer(configs, "cpu")
    ahead.seats.engine, plain.seats.engine = StackedEngine(tuple(configs), "cpu"), StackedEngine(tuple(configs), "cpu")
    monkeypatch.setattr(plain.seats.engine, "_go_on", lambda: None)
    seen = set()
    while not ahead.done:
        ahead.advance(max_seconds)
        seen.add(ahead.seats.engine._next and ahead.seats.engine.chunk)
        while plain.step < ahead.step:
            plain.advance(0.0)
        assert plain.step == ahead.step
        ours, theirs = (safetensors.torch.load(trainer.to_bytes()) for trainer in (ahead, plain))
        assert same_bits([ours[name] for name in theirs], list(theirs.values()))
    assert {None, 1, 64} <= seen
    for ours, theirs in zip(rows(ahead), rows(plain), strict=True):
        assert ours[:2] == theirs[:2]
        np.testing.assert_array_equal(ours[2], theirs[2])


@pytest.mark.parametrize("act", ["advance", "take", "put", "overflowed"])
def test_what_fails_on_a_gpu_is_the_devices_failure(act, monkeypatch):
    """And nobody's fault; but for memory, which a smaller pack needs less of."""
    configs = mixed_pack()[:2]
    acts = {
        "advance": lambda e: e.advance(2), "take": lambda e: e.take(0), "overflowed": lambda e: e.overflowed(),
        "put": lambda e: (e.put(0, None), e.put(0, MemberState(config=configs[0]))),
    }  # fmt: skip
    for raised, expected, said in (
        (RuntimeError("CUDA error: illegal\nmore"), DeviceError, r"RuntimeError: CUDA error: illegal\)"),
        (AttributeError("no kernel"), DeviceError, "the GPU or its software failed .AttributeError: no kernel"),
        (torch.OutOfMemoryError("CUDA out of memory"), torch.OutOfMemoryError, "out of memory"),
    ):
        engine = StackedEngine(configs, "cpu")
        engine._device = "cuda"
        for owner, name in ((engine, "_run"), (engine, "_write"), (stacked, "to_host"), (stacked, "non_finite")):
            monkeypatch.setattr(owner, name, Mock(side_effect=raised))
        with pytest.raises(expected, match=said):
            acts[act](engine)


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

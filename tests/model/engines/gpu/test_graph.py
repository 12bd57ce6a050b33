"""What a CUDA graph asks of the step and the draw, watched operator by operator; what slots ask of it when they change
hands.

Torch's meta device stands for a GPU here: its tensors have no data, so an operation that wants to read some fails.
"""

import contextlib
import dataclasses
import gc
import weakref
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monosweep.model.bench.shapes import SHAPES
from monosweep.model.engines.gpu import copies, graph
from monosweep.model.engines.gpu import engine as gpu
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.member import MemberState

from .packs import GROUP, KNOBS, all_buffers, fake_graphs, groups_of, pack, same_bits, stores, watched_kernels

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
READS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)


class Watch(TorchDispatchMode):
    """Notes operations that read data on the host, size themselves by data, or mix devices; and products whose operands
    are not aligned."""

    def __init__(self, device):
        super().__init__()
        self.device, self.seen, self.bad, self.products = torch.device(device), [], [], 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves([args, kwargs, out]) if isinstance(t, torch.Tensor)]
        self.seen.append(str(func))
        if set(READS) & set(func.tags) or any(t.device != self.device for t in tensors):
            self.bad.append(str(func))
        if "bmm" in str(func):
            self.products += 1
            self.bad += [f"{t.shape} by {t.stride()} from {t.storage_offset()}" for t in tensors if not aligned(t)]
        return out


def aligned(tensor):
    """Whether a stack of matrices, and every row or column of each, begins at a multiple of 16 bytes."""
    within, strides = sorted(tensor.stride()[1:]), (tensor.stride(0), max(tensor.stride()[1:]), tensor.storage_offset())
    return within[0] == 1 and all(stride * tensor.itemsize % 16 == 0 for stride in strides)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("knobs", KNOBS)
def test_a_step_and_a_draw_never_wait_for_the_device(knobs, device, monkeypatch):
    if device == "meta":
        pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
        watched_kernels(monkeypatch, [])
    engine = StackedEngine(pack(**knobs), device)
    with Watch(device) as watch:
        if device == "meta":  # numpy draws for CPU tensors
            engine._samples.streams.draw()
            engine._samples.fill()
        engine._math(engine._stores.unbind(0), engine._samples, *engine._rates[0])
    assert len(watch.seen) > 25
    assert watch.bad == []


@pytest.mark.parametrize("sizes", [(12, 4, 10), (512, 64, 1024), (65, 33, 129), (1, 1, 1)])
@pytest.mark.parametrize("task", ["decoder", "abs", "reprojector"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp64"])
def test_every_operand_of_every_product_is_aligned(precision, task, sizes, monkeypatch):
    pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
    watched_kernels(monkeypatch, [])
    groups_of(GROUP, monkeypatch)
    shape = dict(zip(("n_features", "d_embed", "n_neurons"), sizes, strict=True))
    engine = StackedEngine(pack(**shape, task=task, precision=precision, batch_size=7), "meta")
    with Watch("meta") as watch:
        engine._one_step()
    assert watch.bad == []
    assert watch.products == 6 + (task == "reprojector")


def test_the_watch_sees_operands_that_are_not_aligned():
    with Watch("meta") as watch:
        wide = torch.zeros(2, 8, 65, device="meta", dtype=torch.bfloat16)
        torch.bmm(wide[..., :64], wide[..., :64].mT)
    assert len(watch.bad) == 2 and "65" in watch.bad[0]


@pytest.mark.parametrize(
    ("function", "caught"),
    [
        (lambda t: t.sum().item(), "_local_scalar_dense"),
        (lambda t: t.nonzero(), "nonzero"),
        (lambda t: t[t > 0], "index.Tensor"),
        (lambda t: t.masked_select(t > 0), "masked_select"),
    ],
)
def test_the_watch_sees_what_waits(function, caught):
    with Watch("cpu") as watch:
        function(torch.arange(3.0))
    assert any(caught in name for name in watch.bad)


def test_the_watch_sees_a_copy_between_devices():
    with Watch("meta") as watch:
        torch.zeros(3).to("meta")
    assert any("_to_copy" in name for name in watch.bad)


def test_bits_are_compared_not_numbers():
    nan, zero = torch.tensor([float("nan"), 1.0]), torch.zeros(2)
    assert same_bits([nan, zero], [nan.clone(), zero.clone()])
    assert not same_bits([zero], [-zero])
    assert not same_bits([zero], [torch.tensor([0.0, 1e-45])])


def recording(configs):
    """An engine of CPU tensors that records its steps."""
    engine = StackedEngine(configs, "cpu")
    engine._captures = True
    return engine


@pytest.mark.parametrize(
    "knobs", [{}, {"task": "abs", "activation": "gelu"}, {"task": "reprojector", "connectivity": 0.5}]
)
def test_slots_change_hands_without_a_new_recording(knobs, monkeypatch):
    """Nor does a buffer move, nor a bit of anybody's change, whoever sits beside him."""
    configs = pack(**knobs, n_steps=300)
    late = [dataclasses.replace(c, seed=7 + i, lr=0.02, l1=0.01, bias_reg=0.1) for i, c in enumerate(configs[:3])]
    with fake_graphs(monkeypatch) as recorded:
        engine, alone = recording(configs), recording(configs)
        losses = [engine.advance(70)]
        assert engine.captured and "captured" in engine.how and len(recorded) == 3
        where, taken = all_buffers(engine), engine.take(3)
        for slot in (1, 3):
            engine.put(slot, None)
        losses.append(engine.advance(30))
        assert np.isnan(losses[1][:, [1, 3]]).all() and engine.steps == [100, 0, 100, 0, 100]
        engine.put(1, MemberState(config=late[0]))
        engine.put(3, taken)
        losses.append(engine.advance(50))
        engine.put(0, MemberState(config=late[1]))  # in the place of another
        losses.append(engine.advance(13))
        assert engine.steps == [13, 63, 163, 133, 163]
        assert all_buffers(engine) == where and len(recorded) == 3
        expected = alone.advance(163)
    for slot in (2, 4):
        np.testing.assert_array_equal(np.concatenate(losses)[:, slot], expected[:, slot])
    np.testing.assert_array_equal(np.concatenate([losses[0], *losses[2:]])[:, 3], expected[:133, 3])
    for slot, config, found in ((1, late[0], losses[2:]), (0, late[1], losses[3:])):
        fresh = StackedEngine(configs, "cpu")
        for other in range(5):
            fresh.put(other, MemberState(config=config) if other == slot else None)
        monkeypatch.setattr(fresh, "_seat", lambda **_: None)  # all by himself among five rows
        n_steps = sum(map(len, found))
        np.testing.assert_array_equal(np.concatenate(found)[:, slot], fresh.advance(n_steps)[:, slot])
        ours, theirs = (e.take(slot).tensors.values() for e in (engine, fresh))
        assert same_bits(list(ours), list(theirs))


def test_only_a_choice_records_anew(monkeypatch):
    """Where more than half of the rows are nobody's, or somebody comes for whom there is no row."""
    groups_of(1, monkeypatch)
    configs = pack(n_steps=300)
    with fake_graphs(monkeypatch) as recorded:
        engine = recording(configs)
        engine.advance(3)
        for slot in (0, 1):
            engine.put(slot, None)
            engine.advance(3)
        assert len(recorded) == 3 and len(engine._members) == 5
        engine.put(4, None)
        engine.advance(3)
        assert len(recorded) == 6 and len(engine._members) == 2
        engine.put(0, MemberState(config=configs[0]))
        engine.put(1, MemberState(config=configs[1]))
        engine.advance(3)
        assert len(recorded) == 9 and len(engine._members) == 4
        assert engine.steps == [3, 3, 15, 15, 0]


def test_rows_come_in_whole_groups(monkeypatch):
    """Who comes finds room in his group; fewer rows are made only where groups are left out."""
    groups_of(4, monkeypatch)
    configs = pack(n_steps=300)
    with fake_graphs(monkeypatch) as recorded:
        engine = recording(configs)
        engine.advance(3)
        for slot in range(5, 8):
            engine.put(slot, MemberState(config=configs[0]))
        engine.advance(3)
        assert len(engine._members) == 8 and len(recorded) == 3
        for slot, rows in ((7, 8), (6, 8), (5, 8), (4, 8), (3, 4), (2, 4), (1, 4)):
            engine.put(slot, None)
            engine.advance(3)
            assert len(engine._members) == rows
        assert len(recorded) == 6 and engine.steps == [27, *[0] * 7]


class Products(TorchDispatchMode):
    """How everything lies that is multiplied."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "mm" in str(func):
            given = tree_leaves([args, kwargs])
            self.seen.append(tuple((t.shape, t.stride()[len(t) == 1 :]) for t in given))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("task", ["decoder", "reprojector"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_what_is_multiplied_at_once_follows_from_the_shape_alone(shape, task, monkeypatch):
    pytest.importorskip("triton", reason="torch's builds for CPUs come without Triton")
    watched_kernels(monkeypatch, [])
    groups_of(GROUP, monkeypatch)
    found = set()
    for n in (1, 3, 9, 70):
        engine = StackedEngine([dataclasses.replace(c, task=task) for c in shape.trials(n)], "meta")
        with Products() as watch:
            engine._one_step()
        found.add(frozenset(watch.seen))
    assert len(found) == 1


def test_who_is_done_with_an_engine_is_done_with_its_recordings(monkeypatch):
    """At once, not when garbage is collected."""
    with fake_graphs(monkeypatch, lambda function: lambda: None) as recorded:
        engine = recording(pack())
        engine.advance(1)
        assert engine.captured
        recorded.clear()
        gone = weakref.ref(engine)
        gc.disable()
        try:
            del engine
            assert gone() is None
        finally:
            gc.enable()


def test_no_recording_is_destroyed_while_another_is_made(monkeypatch):
    """An engine that nobody holds is collected before, and nothing while recordings are made."""
    ended = []

    class Garbage:
        def __init__(self):
            self.itself = self

        def __del__(self):
            ended.append(True)

    def record(function):
        Garbage()
        if gc.isenabled():  # as it could at any allocation
            gc.collect()
        assert ended == [True]
        return function

    with fake_graphs(monkeypatch, record):
        engine, often = StackedEngine(pack(), "cpu"), gc.get_threshold()
        gc.set_threshold(10**6)
        try:
            Garbage()
            gpu.graph.capture([engine._draw, engine._train_step])
        finally:
            gc.set_threshold(*often)
    assert gc.isenabled() and engine.captured


def test_short_trials_are_not_worth_a_recording(monkeypatch):
    with fake_graphs(monkeypatch) as recorded:
        engine = recording(pack(n_steps=gpu.WORTH_CAPTURING - 1))
        engine.advance(20)
    assert recorded == [] and engine.how == "packed"


def test_recording_changes_no_bit(monkeypatch):
    with fake_graphs(monkeypatch):
        plain, recorded = StackedEngine(pack(), "cpu"), recording(pack())
        np.testing.assert_array_equal(recorded.advance(90), plain.advance(90))
    assert recorded.captured and not plain.captured
    assert same_bits(stores(plain), stores(recorded))


@NEEDS_GPU
@pytest.mark.parametrize("knobs", KNOBS)
def test_recorded_steps_have_the_bits_of_the_steps_as_they_are(knobs):
    plain, recorded = StackedEngine(pack(**knobs), "cuda"), StackedEngine(pack(**knobs), "cuda")
    plain._captures = False
    assert (plain.advance(150) == recorded.advance(150)).all()
    assert recorded.captured and not plain.captured
    assert same_bits(stores(plain), stores(recorded))


@NEEDS_GPU
def test_an_engine_after_another_is_recorded_too():
    """Whatever is left of the first is garbage, which is collected whenever something is allocated."""
    before = gc.get_threshold()
    engines = [StackedEngine(pack(), "cuda")]
    engines[0].advance(1)
    cycle = [engines.pop()]
    cycle.append(cycle)
    gc.set_threshold(1)
    try:
        second = StackedEngine(pack(), "cuda")
        del cycle
        second.advance(1)
    finally:
        gc.set_threshold(*before)
    assert second.captured


@NEEDS_GPU
@pytest.mark.parametrize("knobs", KNOBS)
def test_a_trial_has_the_same_bits_in_any_pack_on_a_gpu(knobs):
    whole = StackedEngine(pack(**knobs), "cuda").advance(70)
    for some in (slice(3, 4), slice(1, 4), slice(None, None, -1)):
        np.testing.assert_array_equal(StackedEngine(pack(**knobs)[some], "cuda").advance(70), whole[:, some])


@NEEDS_GPU
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning")
def test_no_step_waits_for_the_gpu():
    engine = StackedEngine(pack(), "cuda")
    engine.advance(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine._run(64)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_all_engines_warm_up_on_one_stream(monkeypatch):
    """The matrix library keeps a workspace for every stream that it has seen: on an H100 a GB, pack by pack."""
    made, kind = [], torch.cuda.Stream
    monkeypatch.setattr(torch.cuda, "Stream", lambda: made.append(Mock(spec=kind)) or made[-1])
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", Mock())
    copies.side_stream.cache_clear()
    try:
        for _ in range(3):
            graph.warm_up([])
            with copies.aside(Mock(spec=torch.cuda.Event)):
                pass
    finally:
        copies.side_stream.cache_clear()
    assert len(made) == 1 and made[0].synchronize.call_count == 3

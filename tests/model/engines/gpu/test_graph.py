"""What a CUDA graph asks of the step and the draw, watched operator by operator; and training where none can be had.

Torch's meta device stands for a GPU here: its tensors have no data, so an operation that wants to read some fails.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.gpu.graph import Captured, capture_checked, same_bits
from monosweep.model.families.two_layer.config import TwoLayerConfig

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
READS = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape)
KNOBS = [
    {}, {"task": "abs"}, {"task": "reprojector"}, {"precision": "bf16"}, {"precision": "tf32"}, {"precision": "fp64"},
    {"activation": "gelu", "l1": 0.001}, {"activation": "solu"}, {"connectivity": 0.5, "bias_reg": 0.1},
    {"bias_decay": 1.0, "bias_decay_mode": "per_neuron"}, {"bias_decay": 1.0, "bias_decay_mode": "tied_to_update"},
    {"feature_prob": 1.0}, {"feature_dist": "power_law", "feature_prob": 0.4},
]  # fmt: skip


class Watch(TorchDispatchMode):
    """Notes operations that read data on the host, size themselves by data, or mix devices."""

    def __init__(self, device):
        super().__init__()
        self.device, self.seen, self.bad = torch.device(device), 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves([args, kwargs, out]) if isinstance(t, torch.Tensor)]
        self.seen += 1
        if set(READS) & set(func.tags) or any(t.device != self.device for t in tensors):
            self.bad.append(str(func))
        return out


def pack(**knobs):
    """Trials with two data streams of one kind and one of another."""
    shape = {"n_features": 12, "d_embed": 4, "n_neurons": 10, "batch_size": 6, "n_steps": 200}
    streams = [{"feature_prob": 0.3, "seed": 0}, {"feature_prob": 0.3, "seed": 1}] * 2 + [{"feature_prob": 0.5}]
    return tuple(TwoLayerConfig(**{**shape, **s, **knobs}, lr=0.01 * (i + 1)) for i, s in enumerate(streams))


def stores(engine):
    """All that an engine trains, member by member."""
    members = [engine.take(slot) for slot, step in enumerate(engine.steps) if step]
    return [tensor for member in members for tensor in member.tensors.values()]


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("knobs", KNOBS)
def test_a_step_and_a_draw_never_wait_for_the_device(knobs, device):
    engine = StackedEngine(pack(**knobs), device)
    engine._rewind()
    with Watch(device) as watch:
        for stream in engine._samples.streams:
            stream.draw()
        engine._one_step()
    assert watch.seen > 300
    assert watch.bad == []


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


def test_where_nothing_can_be_recorded_training_goes_on_as_it_is():
    if torch.cuda.is_available():
        pytest.skip("here it can")
    plain, asked = StackedEngine(pack(), "cpu"), StackedEngine(pack(), "cpu")
    expected, first = plain.advance(90), asked.advance(9)
    with pytest.warns(RuntimeWarning, match="training without CUDA graphs, which is slower: .") as warned:
        assert not asked.capture()
    assert len(warned) == 1
    rest = asked.advance(81)
    assert (expected == torch.cat([torch.from_numpy(first), torch.from_numpy(rest)]).numpy()).all()
    assert same_bits(stores(plain), stores(asked))


def test_bits_are_compared_not_numbers():
    nan, zero = torch.tensor([float("nan"), 1.0]), torch.zeros(2)
    assert same_bits([nan, zero], [nan.clone(), zero.clone()])
    assert not same_bits([zero], [-zero])
    assert not same_bits([zero], [torch.tensor([0.0, 1e-45])])


@NEEDS_GPU
@pytest.mark.parametrize("knobs", KNOBS)
def test_recorded_steps_have_the_bits_of_the_steps_as_they_are(knobs):
    plain, recorded = StackedEngine(pack(**knobs), "cuda"), StackedEngine(pack(**knobs), "cuda")
    plain.due = recorded.due = set()
    assert recorded.capture()
    assert (plain.advance(150) == recorded.advance(150)).all()
    assert same_bits(stores(plain), stores(recorded))


@NEEDS_GPU
def test_no_step_waits_for_the_gpu():
    engine = StackedEngine(pack(), "cuda")
    engine.advance(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine._run(64)
        engine.run_ahead(128)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@NEEDS_GPU
def test_a_recording_that_does_something_else_is_dropped():
    """The host's counter is not in the graph, so a replay repeats what it was when the graph was recorded."""
    total, calls = torch.zeros(1, device="cuda"), []
    call = Captured(lambda: (calls.append(0), total.add_(len(calls)))[0])

    def rehearse():
        total.zero_()
        call()
        return [total.clone()]

    with pytest.warns(RuntimeWarning, match="do not give the bits"):
        assert not capture_checked([call], lambda: None, rehearse)
    assert call._graph is None

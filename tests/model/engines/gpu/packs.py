"""Packs for the GPU's engine, and what stands for a GPU where there is none."""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from monosweep.model.engines.gpu import graph, products
from monosweep.model.families.two_layer.config import TwoLayerConfig

torch.set_num_threads(1)  # small tensors, and cores that others use too
KNOBS = [
    {}, {"task": "abs"}, {"task": "reprojector"}, {"precision": "bf16"}, {"precision": "tf32"}, {"precision": "fp64"},
    {"activation": "gelu", "l1": 0.001}, {"activation": "solu"}, {"connectivity": 0.5, "bias_reg": 0.1},
    {"bias_decay": 1.0, "bias_decay_mode": "per_neuron"}, {"bias_decay": 1.0, "bias_decay_mode": "tied_to_update"},
    {"feature_prob": 1.0}, {"feature_dist": "power_law", "feature_prob": 0.4},
]  # fmt: skip


def pack(**knobs):
    """Trials with two data streams of one kind and one of another."""
    shape = {"n_features": 12, "d_embed": 4, "n_neurons": 10, "batch_size": 6, "n_steps": 200}
    streams = [{"feature_prob": 0.3, "seed": 0}, {"feature_prob": 0.3, "seed": 1}] * 2 + [{"feature_prob": 0.5}]
    return tuple(TwoLayerConfig(**{**shape, **s, **knobs}, lr=0.01 * (i + 1)) for i, s in enumerate(streams))


GROUP = products.MOST


def groups_of(most, monkeypatch):
    """As many trials are multiplied at once, at most; on a GPU GROUP are."""
    monkeypatch.setattr(products, "MOST", most)


def stores(engine):
    """All that an engine trains, member by member."""
    members = [engine.take(slot) for slot, step in enumerate(engine.steps) if step]
    return [tensor for member in members for tensor in member.tensors.values()]


def same_bits(ours, theirs):
    """Whether all tensors are equal bit for bit, NaN included."""
    pairs = zip(ours, theirs, strict=True)
    return all(torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)) for a, b in pairs)


def buffers(*owners):
    """The address of every tensor that an engine or a part of it holds."""
    found = {}
    for owner in owners:
        for name, value in vars(owner).items():
            for place, tensor in enumerate(tree_leaves(value)):
                if isinstance(tensor, torch.Tensor) and name != "_maps":
                    found[type(owner).__name__, name, place] = tensor.data_ptr()
    return found


def all_buffers(engine):
    """Of an engine and of all that it works with."""
    return buffers(engine, engine._math, engine._samples, engine._samples.streams)


class Tape(TorchDispatchMode):
    """Records what is asked of torch, and of kernels by `Launches`; `replay` asks it again of the same tensors, as a
    CUDA graph does: what Python did meanwhile is not repeated, and new tensors lie where they first lay."""

    now = None

    def __init__(self):
        super().__init__()
        self.calls = []

    def __enter__(self):
        Tape.now = self
        return super().__enter__()

    def __exit__(self, *error):
        Tape.now = None
        return super().__exit__(*error)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, out))
        return out

    def replay(self):
        for func, args, kwargs, out in self.calls:
            for old, new in zip(tree_leaves(out), tree_leaves(func(*args, **kwargs)), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Operations(TorchDispatchMode):
    """How many kernels of torch's are launched: operations that make or change numbers."""

    launches = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        new = "empty" not in str(func)
        self.launches += new and not func.is_view and str(func) != "aten._unsafe_view.default"
        return out


class Launches:
    """A kernel that notes its launches: their tensors' bytes, and on a `Tape`; on the meta device it does no more."""

    def __init__(self, kernel, log):
        self.kernel, self.log = kernel, log

    def __getitem__(self, grid):
        def launch(*args, **known):
            tensors = [arg for arg in args if isinstance(arg, torch.Tensor)]
            self.log.append((self.kernel.fn.__name__, grid, sum(t.nbytes for t in tensors)))
            if tensors[0].is_meta:
                return
            with _disable_current_modes():
                self.kernel[grid](*args, **known)
            if Tape.now:
                Tape.now.calls.append((launch, args, known, None))

        return launch


def watched_kernels(monkeypatch, log):
    """Have all of the engine's kernels note their launches."""
    from monosweep.model.engines.gpu import drawing, kernels

    for module, names in ((kernels, STEP_KERNELS), (drawing, DRAWING_KERNELS)):
        for name in names:
            kernel = getattr(module, name)
            monkeypatch.setattr(module, name, Launches(kernel.kernel if isinstance(kernel, Launches) else kernel, log))


STEP_KERNELS = ("_activate", "_times_slope", "_subtract", "_total", "_moments", "_update")
DRAWING_KERNELS = ("_count", "_cells", "_edges", "_fill")


@contextlib.contextmanager
def fake_graphs(monkeypatch, record=None):
    """CPU tensors can be recorded, by `record` or by calling again what was recorded; yields what has been recorded."""
    recorded = []

    def note(function, pool):
        recorded.append(function)
        return record(function) if record else lambda: function()

    with monkeypatch.context() as patch:
        patch.setattr(graph, "record", note)
        patch.setattr(graph, "warm_up", lambda calls: [call.function() for call in calls])
        patch.setattr(graph, "new_pool", lambda: None)
        yield recorded


def on_tape(function):
    """What repeats a function as a CUDA graph does."""
    with Tape() as tape:
        function()
    return tape.replay

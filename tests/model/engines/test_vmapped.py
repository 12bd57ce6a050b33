"""The engine for any family, held to the solo engine by training the first family on it."""

import numpy as np
import pytest
import torch

from monosweep.model.engines import vmapped
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.engines.vmapped import TOLERANCE, VmappedEngine
from monosweep.model.families import config_of
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.network import TwoLayer
from monosweep.model.member import MemberState

TASKS, ACTIVATIONS = ("decoder", "reprojector", "abs"), ("relu", "gelu", "solu")
SCHEDULES = ("cosine", "constant", "cosine_to_zero")
COMBINATIONS = [(TASKS[i], ACTIVATIONS[j], SCHEDULES[(i + j) % 3]) for i in range(3) for j in range(3)]
"""A Latin square: each value with each value of the others."""
KNOBS = [
    {"bias_offset": -1, "bias_decay": 3.0}, {"bias_offset": 0.5, "bias_decay": 0.1, "l1": 0.01},
    {"l1": 0.01, "activation": "gelu"}, {"feature_dist": "power_law", "feature_prob": 0.3},
    {"connectivity": 0.3, "bias_offset": -0.1}, {"connectivity": 0.5, "task": "reprojector"},
    {"bias_reg": 0.02, "bias_reg_target": -0.4},
    {"bias_decay_mode": "per_neuron", "bias_offset": -1, "bias_decay": 3.0},
    {"bias_decay_mode": "per_neuron", "bias_offset": -1, "bias_decay": 3.0, "activation": "gelu"},
    {"bias_decay_mode": "tied_to_update", "bias_offset": -0.5, "bias_decay": 3.0},
    {"bias_decay_mode": "tied_to_update", "bias_decay": 3.0, "connectivity": 0.5, "lr_period": 7},
    {"feature_prob": 1.0, "batch_size": 3}, {"n_features": 1, "d_embed": 1, "n_neurons": 1, "batch_size": 1},
]  # fmt: skip
STEPS, PACK_STEPS = 50, 40


def trial(**knobs):
    shape = {"n_features": 24, "d_embed": 8, "n_neurons": 36, "batch_size": 40, "feature_prob": 0.125}
    return TwoLayerConfig(**{**shape, "n_steps": 150, "lr_period": 30, "lr": 0.003, **knobs})


def close(losses, engine, slot, config, tolerance):
    """Whether a member was trained as the solo engine trains it."""
    solo = SoloEngine([config], "cpu")
    np.testing.assert_allclose(losses, solo.advance(len(losses))[:, 0], rtol=tolerance)
    for name, theirs in solo.params(0).items():
        ours = engine.params(slot)[name]
        assert torch.linalg.vector_norm(ours - theirs) <= tolerance * torch.linalg.vector_norm(theirs)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp64", 1e-10)])
@pytest.mark.parametrize(("task", "activation", "schedule"), COMBINATIONS)
def test_vmapped_equals_solo(task, activation, schedule, precision, tolerance):
    config = trial(task=task, activation=activation, lr_schedule=schedule, precision=precision)
    engine = VmappedEngine([config], "cpu")
    close(engine.advance(STEPS)[:, 0], engine, 0, config, tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("fp64", 1e-10)])
@pytest.mark.parametrize("knobs", KNOBS)
def test_vmapped_equals_solo_with_other_knobs(knobs, precision, tolerance):
    config = trial(precision=precision, **knobs)
    engine = VmappedEngine([config], "cpu")
    close(engine.advance(STEPS)[:, 0], engine, 0, config, tolerance)


@pytest.mark.parametrize("task", ["decoder", "reprojector", "abs"])
@pytest.mark.parametrize("activation", ["relu", "gelu", "solu"])
@pytest.mark.parametrize(("precision", "apart", "rounding"), [("bf16", 5e-4, 2e-3), ("tf32", 3e-5, 2e-4)])
def test_rounded_vmapped_equals_rounded_solo(task, activation, precision, apart, rounding):
    """Both round the same operands; what remains is the order of sums, seen through a rounding."""
    config = trial(task=task, activation=activation, precision=precision, l1=0.001)
    exact = trial(task=task, activation=activation, l1=0.001)
    ours, theirs = VmappedEngine([config], "cpu").advance(STEPS), SoloEngine([config], "cpu").advance(STEPS)
    assert np.abs(ours / theirs - 1).mean() < apart
    assert 0 < np.abs(ours / SoloEngine([exact], "cpu").advance(STEPS) - 1).mean() < rounding


def pack_of_seven(one_stream, **knobs):
    """Trials that differ in every knob that members may differ in; on one data stream, or most on their own."""
    return [
        trial(
            **{
                "feature_prob": 0.125 if one_stream else (0.1, 0.3)[i % 2], "seed": 0 if one_stream else i // 2,
                "feature_dist": "uniform" if one_stream else ("uniform", "power_law")[i // 2 % 2],
                "lr": 0.002 * (1 + i / 8), "lr_schedule": ("cosine", "constant", "cosine_to_zero")[i % 3],
                "bias_offset": (0, -0.5, 0.25)[i % 3], "bias_decay": (0, 3.0)[i % 2], "l1": (0, 0.001)[i // 3 % 2],
                "bias_reg": (0.01, 0)[i % 2], "bias_reg_target": -0.1 * i, "n_steps": 150 + 40 * i, **knobs,
            }
        )
        for i in range(7)
    ]  # fmt: skip


@pytest.mark.parametrize("one_stream", [True, False])
@pytest.mark.parametrize("variant", [
    {}, {"task": "abs", "activation": "gelu"}, {"task": "reprojector", "activation": "solu"},
    {"connectivity": 0.4, "bias_decay_mode": "per_neuron"}, {"bias_decay_mode": "tied_to_update"},
])  # fmt: skip
def test_members_of_a_pack_are_as_if_trained_alone(variant, one_stream):
    """To `TOLERANCE` of those alone in this engine, and as near as those are to the solo engine; in double precision to
    1e-10."""
    for precision, tolerance in (("fp32", TOLERANCE), ("fp64", 1e-10)):
        configs = pack_of_seven(one_stream, precision=precision, **variant)
        together = VmappedEngine(configs, "cpu")
        losses = together.advance(PACK_STEPS)
        for slot, config in enumerate(configs):
            alone = VmappedEngine([config], "cpu")
            np.testing.assert_allclose(losses[:, slot], alone.advance(PACK_STEPS)[:, 0], rtol=tolerance)
            close(losses[:, slot], together, slot, config, tolerance)


def test_bits_do_not_depend_on_where_steps_are_interrupted_nor_on_a_repetition():
    configs = pack_of_seven(False)
    whole = VmappedEngine(configs, "cpu").advance(60)
    np.testing.assert_array_equal(VmappedEngine(configs, "cpu").advance(60), whole)
    engine = VmappedEngine(configs, "cpu")
    np.testing.assert_array_equal(np.concatenate([engine.advance(n) for n in (1, 1, 5, 16, 37)]), whole)


def test_a_diverging_member_leaves_the_bits_of_its_neighbours_alone():
    configs = pack_of_seven(False)
    configs[3] = trial(lr=1e30)
    other = [*configs[:3], trial(lr=0.01), *configs[4:]]
    engine = VmappedEngine(configs, "cpu")
    losses, expected = engine.advance(40), VmappedEngine(other, "cpu").advance(40)
    assert not np.isfinite(losses[-1, 3])
    assert engine.overflowed() == [slot == 3 for slot in range(7)]
    np.testing.assert_array_equal(np.delete(losses, 3, axis=1), np.delete(expected, 3, axis=1))


@pytest.mark.parametrize(("one_stream", "drawn"), [(True, 1), (False, 7)])
def test_members_of_one_stream_share_its_samples(one_stream, drawn, monkeypatch):
    samplers, real = [], TwoLayer.sampler.__func__
    spy = classmethod(lambda cls, config: samplers.append(config) or real(cls, config))
    monkeypatch.setattr(TwoLayer, "sampler", spy)
    configs = pack_of_seven(one_stream)
    VmappedEngine(configs, "cpu").advance(3)
    assert len({c.stream() for c in configs}) == drawn
    assert len(samplers) == 1 + drawn  # the one tells how large a step's samples are


@pytest.mark.parametrize("knobs", [
    {"family": "two_layer", "activation": "gelu", "n_neurons": 32, "optimizer": "AdamW"},
    {"family": "two_layer", "bias_decay_mode": "per_neuron", "bias_offset": -1, "bias_decay": 3.0, "precision": "bf16"},
    {"family": "superposition", "hidden": "trained"}, {"family": "quadratic"}, {"family": "resid_mlp"},
    {"family": "incidental", "n_features": 32},
])  # fmt: skip
def test_a_traced_stack_has_the_bits_of_one_that_is_not(knobs, monkeypatch):
    configs = [config_of({"batch_size": 32, "n_steps": 64, "lr": 0.01, "seed": seed, **knobs}) for seed in range(3)]
    plain = VmappedEngine(configs, "cpu")
    expected = plain.advance(24)
    assert not any(stack._traced for stack in plain._stacked())
    monkeypatch.setattr(vmapped, "WORTHWHILE_S", -1.0)
    faster = VmappedEngine(configs, "cpu")
    assert faster.advance(24).tobytes() == expected.tobytes()
    (stack,) = faster._stacked()
    assert isinstance(stack._gradients, torch.fx.GraphModule)
    for name, tensor in plain.take(1).tensors.items():
        assert torch.equal(tensor, faster.take(1).tensors[name])


def test_what_cannot_be_traced_trains_as_before(monkeypatch):
    def unfit(*_given):
        raise RuntimeError("no trace of this")

    monkeypatch.setattr("torch.fx.experimental.proxy_tensor.make_fx", unfit)
    monkeypatch.setattr(vmapped, "WORTHWHILE_S", -1.0)
    config = trial()
    engine = VmappedEngine([config], "cpu")
    close(engine.advance(STEPS)[:, 0], engine, 0, config, TOLERANCE)


@pytest.mark.parametrize("one_stream", [True, False])
def test_members_in_stacks_that_fit_into_the_cache(one_stream, monkeypatch):
    """Seven in three stacks, of whom one leaves and one joins: each is trained as alone."""
    monkeypatch.setattr(vmapped, "STACK_BYTES", 3 * 40 * 24 * 4)  # of the samples of three
    monkeypatch.setattr(vmapped, "WORTHWHILE_S", -1.0)
    configs = pack_of_seven(one_stream)
    engine = VmappedEngine(configs, "cpu")
    losses = engine.advance(PACK_STEPS)
    assert [stack.slots for stack in engine._stacked()] == [[0, 1, 2], [3, 4], [5, 6]]
    for slot, config in enumerate(configs):
        close(losses[:, slot], engine, slot, config, TOLERANCE)
    engine.put(3, None)
    engine.put(7, MemberState(config=trial(lr=0.02, seed=9)))
    more = engine.advance(5)
    assert engine.steps == [45, 45, 45, 0, 45, 45, 45, 5] and np.isnan(more[:, 3]).all()
    assert [stack.slots for stack in engine._stacked()] == [[0, 1, 2], [4, 5], [6, 7]]
    close(more[:, 7], engine, 7, trial(lr=0.02, seed=9), TOLERANCE)
    close(np.concatenate([losses[:, 4], more[:, 4]]), engine, 4, configs[4], TOLERANCE)


def test_a_stack_on_a_gpu_has_all_members(monkeypatch):
    """Where many are fast."""
    monkeypatch.setattr(vmapped, "STACK_BYTES", 1)
    engine = VmappedEngine(pack_of_seven(False), "cpu")
    assert engine._n_stacks([MemberState(config=trial())] * 7) == 7
    engine._device = "cuda"
    assert engine._n_stacks([MemberState(config=trial())] * 7) == 1

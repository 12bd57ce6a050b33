"""A value that a knob does not have is an error wherever it is met, though configs let none through."""

import copy
from typing import get_args

import numpy as np
import pytest
import torch

from monosweep.model import config as shared_config
from monosweep.model import precision as precisions
from monosweep.model import schedule
from monosweep.model.config import ConfigError
from monosweep.model.data.stream import FeatureStream, probabilities
from monosweep.model.engines.cpu import engine as cpu
from monosweep.model.engines.cpu import memory as cpu_memory
from monosweep.model.engines.cpu import products as cpu_products
from monosweep.model.engines.cpu import samples as cpu_samples
from monosweep.model.engines.cpu import step as cpu_step
from monosweep.model.engines.cpu.compiled_step import is_fused, is_gram
from monosweep.model.engines.gpu import elementwise
from monosweep.model.engines.gpu import memory as gpu_memory
from monosweep.model.engines.gpu import products as gpu_products
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.gpu.layout import PaddedLayout
from monosweep.model.engines.gpu.samples import DeviceSamples
from monosweep.model.engines.gpu.sampling import HostStreams
from monosweep.model.engines.gpu.step import StackedStep
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.engines.vmapped import VmappedEngine
from monosweep.model.families.two_layer import config as two_layer
from monosweep.model.families.two_layer import decay, network, samples, weights
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.layout import Layout
from monosweep.model.memory import bytes_of_pack
from monosweep.model.trainer import PackTrainer

WRONG = {
    "task": "encoder", "activation": "tanh", "precision": "fp8", "bias_decay_mode": "slow", "lr_schedule": "linear",
    "feature_dist": "zipf",
}  # fmt: skip


def trial(**knobs):
    shape = {"n_features": 6, "d_embed": 3, "n_neurons": 4, "batch_size": 5, "n_steps": 8, "bias_decay": 1.0}
    return TwoLayerConfig(**{**shape, **knobs})


def wrong(knob, **knobs):
    """A config with a value that configs do not let through."""
    config = copy.copy(trial(**knobs))
    object.__setattr__(config, knob, WRONG[knob])
    return config


ENGINES = {
    "solo": lambda config: SoloEngine([config], "cpu"),
    "vmapped": lambda config: VmappedEngine([config], "cpu"),
    "cpu": lambda config: cpu.PackedEngine([config]),
    "gpu": lambda config: StackedEngine([config], "cpu"),
}


def unknown(knob):
    return pytest.raises(ConfigError, match=f"unknown {knob} '{WRONG[knob]}'; ")


@pytest.mark.parametrize("knob", WRONG)
def test_no_config_has_it(knob):
    with pytest.raises(ConfigError, match=f"{knob} must be one of .*; got '{WRONG[knob]}'"):
        trial(**{knob: WRONG[knob]})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("knob", WRONG)
def test_no_engine_trains_it(knob, engine):
    with unknown(knob):
        ENGINES[engine](wrong(knob)).advance(2)


@pytest.mark.parametrize("mode", ["rate", "per_neuron", "tied_to_update"])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_engine_trains_it_with_other_knobs(engine, mode):
    for task in ("decoder", "abs", "reprojector"):
        with unknown("activation"):
            ENGINES[engine](wrong("activation", task=task, bias_decay_mode=mode, l1=0.1)).advance(2)


def fill_samples(config):
    made = DeviceSamples([config], [0], 1, "cpu", kernels=False)
    made.put(0, config, 0)
    made.fill()


CALLS = {
    "task": [
        lambda: wrong("task").n_out, lambda: samples.stream_key(wrong("task")), lambda: is_gram(wrong("task")),
        lambda: weights.responses(wrong("task"), weights.initial_weights(trial()), samples.embedding(trial())),
        lambda: network.TwoLayer.fixed(wrong("task")), lambda: network.TwoLayer.sample(wrong("task"), 1),
        lambda: network.TARGETS[WRONG["task"]], lambda: cpu_samples.maps(wrong("task")),
        lambda: fill_samples(wrong("task")),
        lambda: gpu_memory.gpu_bytes(wrong("task")), lambda: cpu_memory.cpu_bytes(wrong("task")),
        lambda: cpu_samples._ANSWERS[WRONG["task"]], lambda: Layout.of(wrong("task")),
    ],
    "activation": [
        lambda: weights.activate("tanh", torch.zeros(2)), lambda: weights.activation_slope("tanh", torch.zeros(2)),
        lambda: gpu_memory.gpu_bytes(wrong("activation")),
        lambda: StackedStep(wrong("activation"), PaddedLayout.of(trial()), 1, "cpu", elementwise),
        lambda: weights.responses(wrong("activation"), weights.initial_weights(trial()), samples.embedding(trial())),
        lambda: step_of("activation")._activate(np.zeros((1, 4), np.float32), np.zeros(4, np.float32)),
        lambda: step_of("activation")._times_slope(*np.zeros((2, 1, 4), np.float32), np.float32(0), True),
    ],
    "precision": [
        lambda: precisions.product("fp8", torch.zeros(1, 1), torch.zeros(1, 1)), lambda: precisions.DTYPES["fp8"],
        lambda: cpu_products.products("fp8"), lambda: cpu_memory.cpu_bytes(wrong("precision")),
        lambda: gpu_memory.gpu_bytes(wrong("precision")), lambda: cpu_samples.maps(wrong("precision")),
        lambda: DeviceSamples([wrong("precision")], [0], 1, "cpu", kernels=False),
        lambda: gpu_products.ROUNDS_TO["fp8"],
    ],
    "bias_decay_mode": [lambda: decay.DECAY_SHARES["slow"], lambda: network.TwoLayer.after(
        wrong("bias_decay_mode"), weights.initial_weights(trial()).named(), {}, {}, {"lr": 1.0, "bias_decay": 1.0})],
    "lr_schedule": [
        lambda: schedule.lr_at(wrong("lr_schedule"), 1), lambda: schedule.lr_table([wrong("lr_schedule")], [0], 3),
    ],
    "feature_dist": [
        lambda: probabilities(4, 0.5, "zipf"),
        lambda: FeatureStream(samples.stream_key(wrong("feature_dist"))),
        lambda: HostStreams([samples.stream_key(trial())]).put(0, samples.stream_key(wrong("feature_dist")), 0),
    ],
}  # fmt: skip


def step_of(knob):
    return cpu_step.Step(wrong(knob), Layout.of(trial()))


@pytest.mark.parametrize(("knob", "place"), [(knob, i) for knob, calls in CALLS.items() for i in range(len(calls))])
def test_no_function_takes_it_for_another(knob, place):
    with unknown(knob):
        CALLS[knob][place]()


def test_a_step_that_is_not_known_is_not_compiled():
    assert is_fused(trial())
    assert not any(is_fused(wrong(knob)) for knob in ("activation", "precision", "bias_decay_mode"))


def test_every_meaning_is_a_knobs_value_and_every_value_has_one():
    tables = [
        (two_layer.SIGNED, two_layer.Task), (two_layer.REPROJECTS, two_layer.Task), (network.TARGETS, two_layer.Task),
        (cpu_samples._ANSWERS, two_layer.Task), (two_layer.TOLD_BY_ANSWER, two_layer.Activation),
        (weights._ACTIVATIONS, two_layer.Activation), (decay.DECAY_SHARES, two_layer.BiasDecayMode),
        (precisions.DTYPES, shared_config.Precision), (precisions._PRODUCTS, shared_config.Precision),
        (cpu_products._PRODUCTS, shared_config.Precision), (gpu_products.ROUNDS_TO, shared_config.Precision),
        (schedule._HALF_WAVES, shared_config.LrSchedule),
    ]  # fmt: skip
    for meanings, values in tables:
        assert set(meanings) == set(get_args(values))


def test_no_other_choice_is_taken_for_another():
    with pytest.raises(ConfigError, match="unknown device 'gpu'; "):
        bytes_of_pack(trial(), "gpu")
    plain = PackTrainer.__init__.__wrapped__ if hasattr(PackTrainer.__init__, "__wrapped__") else PackTrainer.__init__
    for knob, value in (("record", "all"), ("keep_weights", "some")):
        with pytest.raises(ConfigError, match=f"unknown {knob} '{value}'; "):
            plain(object.__new__(PackTrainer), [trial()], "cpu", **{knob: value})

"""Optimizers that train packs, held to torch's own, step by step; their knobs differ within a pack."""

import hashlib
import json

import numpy as np
import pytest
import torch

from monosweep.model.config import OPTIMIZERS, ConfigError
from monosweep.model.engines import engine_name, make_engine
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.engines.vmapped import VmappedEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.optimizers import STATES, update

KNOBS = {
    "Adam": [{}, {"beta1": 0.8, "weight_decay": 0.1}, {"beta1": 0.0, "beta2": 0.9, "eps": 1e-3}],
    "AdamW": [{}, {"beta1": 0.95, "weight_decay": 0.3}, {"weight_decay": 0.0, "eps": 1e-5}],
    "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.5, "weight_decay": 0.1}],
}
OF_TORCH = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}
CASES = [(name, precision) for name in KNOBS for precision in ("fp32", "fp64")]


def trials(name, precision="fp32", **fields):
    shape = {"n_features": 24, "d_embed": 8, "n_neurons": 36, "batch_size": 40, "feature_prob": 0.125, "lr_period": 30}
    return [
        TwoLayerConfig(
            **shape, optimizer=name, precision=precision, lr=0.01 * (1 + i), n_steps=120, seed=i // 2, **knobs, **fields
        )
        for i, knobs in enumerate(KNOBS[name])
    ]  # fmt: skip


def oracle(name, parameter, config):
    """Torch's optimizer as its documentation has it made."""
    if name == "SGD":
        return torch.optim.SGD([parameter], lr=1.0, momentum=config.momentum, weight_decay=config.weight_decay)
    betas = (config.beta1, config.beta2)
    return OF_TORCH[name]([parameter], lr=1.0, betas=betas, eps=config.eps, weight_decay=config.weight_decay)


@pytest.mark.parametrize("name", KNOBS)
def test_updates_are_torchs(name):
    configs, generator = trials(name), torch.Generator().manual_seed(0)
    ours = torch.randn(len(configs), 30, dtype=torch.float64, generator=generator)
    theirs = [torch.nn.Parameter(row.clone()) for row in ours]
    optimizers = [oracle(name, row, config) for row, config in zip(theirs, configs, strict=True)]
    states = {kind: torch.zeros_like(ours) for kind in STATES[name]}
    knobs = {
        knob: torch.tensor([getattr(config, knob) for config in configs], dtype=torch.float64)
        for knob in OPTIMIZERS[name]
    }
    for step in range(1, 41):
        grads = torch.randn(ours.shape, dtype=torch.float64, generator=generator) * 0.1**step
        rates = torch.tensor([0.01 * (step % 3), 0.02, 0.03], dtype=torch.float64)
        update(name, ours, grads.clone(), states, rates, knobs, torch.full((3,), step, dtype=torch.float64))
        for row, optimizer, grad, rate in zip(theirs, optimizers, grads, rates, strict=True):
            row.grad, optimizer.param_groups[0]["lr"] = grad, rate.item()
            optimizer.step()
        torch.testing.assert_close(ours, torch.stack([row.detach() for row in theirs]), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_a_pack_is_trained_as_each_of_it_alone_by_torch(name, precision):
    configs = trials(name, precision)
    assert engine_name(configs[0], "cpu") == "vmapped"
    losses = make_engine(configs, "cpu").advance(80)
    for slot, config in enumerate(configs):
        solo = SoloEngine([config], "cpu")
        assert type(solo.optimizer) is OF_TORCH[name]
        found = solo.advance(80)[:, 0]
        assert found[-10:].mean() < 0.95 * found[:10].mean() or name == "SGD"
        np.testing.assert_allclose(losses[:, slot], found, rtol=1e-4 if precision == "fp32" else 1e-10)


@pytest.mark.parametrize("name", KNOBS)
def test_members_of_different_ages_share_a_pack(name):
    """Moments are corrected by each member's own step."""
    old, young, other = trials(name, "fp64")
    first = VmappedEngine([old], "cpu")
    first.advance(25)
    both = VmappedEngine([other, young], "cpu")
    both.put(0, first.take(0))
    losses = both.advance(40)
    np.testing.assert_allclose(losses[:, 0], SoloEngine([old], "cpu").advance(65)[25:, 0], rtol=1e-10)
    np.testing.assert_allclose(losses[:, 1], SoloEngine([young], "cpu").advance(40)[:, 0], rtol=1e-10)


@pytest.mark.parametrize("name", KNOBS)
def test_engines_hand_members_to_each_other(name):
    config = trials(name, "fp64")[1]
    whole = SoloEngine([config], "cpu").advance(60)[:, 0]
    for first, then in ((SoloEngine, VmappedEngine), (VmappedEngine, SoloEngine)):
        begun, goes_on = first([config], "cpu"), then([config], "cpu")
        begun.advance(20)
        goes_on.put(0, begun.take(0))
        np.testing.assert_allclose(goes_on.advance(40)[:, 0], whole[20:], rtol=1e-10)


def test_what_an_optimizer_starts_with_is_one_trial():
    plain, told = TwoLayerConfig(optimizer="AdamW"), TwoLayerConfig(optimizer="AdamW", beta1=0.9, weight_decay=0.01)
    assert plain == told and plain.trial_id == told.trial_id and plain.eps == 1e-8 and plain.momentum is None
    assert TwoLayerConfig.from_dict(plain.to_dict()) == plain
    told = json.dumps({"batch_size": 8192, "optimizer": "AdamW"}, sort_keys=True)  # a later knob leaves the id as it is
    assert plain.trial_id == hashlib.sha256(told.encode()).hexdigest()[:16]
    others = [TwoLayerConfig(optimizer="Adam"), TwoLayerConfig(optimizer="AdamW", weight_decay=0.0), TwoLayerConfig()]
    assert len({config.trial_id for config in (plain, *others)}) == 4


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"beta1": 0.8}, "beta1 is a knob of Adam, AdamW; got 0.8 with optimizer Lamb; leave it out"),
        ({"optimizer": "Adam", "momentum": 0.9}, "momentum is a knob of SGD; got 0.9 with optimizer Adam"),
        ({"optimizer": "Yogi", "eps": 0.1}, "eps is a knob of Adam, AdamW; got 0.1 with optimizer Yogi"),
        ({"optimizer": "Adam", "beta2": 1.0}, "beta2 must lie in 0 … 1, and below it; got 1.0"),
        ({"optimizer": "SGD", "momentum": -0.1}, "momentum must lie in 0 … 1, and below it; got -0.1"),
        ({"optimizer": "Adam", "eps": -1}, "eps must be 0 or more; got -1"),
        ({"optimizer": "Adam", "eps": float("nan")}, "eps must be finite"),
        ({"optimizer": "Adam", "beta1": "high"}, "beta1 must be a number"),
    ],
)
def test_a_knob_that_means_nothing_is_one_line(knobs, line):
    with pytest.raises(ConfigError, match=line):
        TwoLayerConfig(**knobs)

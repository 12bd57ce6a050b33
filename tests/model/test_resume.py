"""A trainer that was saved, dropped and restored goes on bit for bit as if nothing had happened."""

import numpy as np
import pytest
import torch
import torch_optimizer

from monosweep.model.config import ConfigError
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.train import PackTrainer, part_of_checkpoint

SHAPE = {"n_features": 16, "d_embed": 4, "n_neurons": 24, "batch_size": 32, "feature_prob": 0.2}


def finish(trainer):
    for _ in trainer:
        pass
    return [
        (r.status, r.error, r.metrics, {k: v.tobytes() for k, v in (r.curve | r.neurons).items()})
        for r in trainer.results()
    ]


@pytest.mark.parametrize("record_neurons", ["final", "log2"])
def test_resumed_at_every_pause_equals_uninterrupted(record_neurons):
    """Pauses fall inside windows, between recorded steps, before and after a member diverges."""
    configs = [TwoLayerConfig(**SHAPE, n_steps=700, lr_period=40, lr=lr, seed=1) for lr in (0.003, 1e6, 0.02)]
    whole = finish(PackTrainer(configs, "cpu", record_neurons))
    trainer = PackTrainer(configs, "cpu", record_neurons)
    pauses = 0
    while not trainer.done:
        trainer.advance(max_seconds=0.002)
        trainer = PackTrainer.from_bytes(trainer.to_bytes(), "cpu")
        pauses += 1
    assert pauses > 12
    assert finish(trainer) == whole


@pytest.mark.parametrize("places", [(0,), (1, 2), (3, 1), (0, 1, 2, 3)])
@pytest.mark.parametrize("stop", [4, 300])
def test_a_part_of_a_checkpoint_goes_on_as_if_trained_alone(places, stop):
    """Members differ in how many losses they keep; one has diverged."""
    configs = [
        TwoLayerConfig(**SHAPE, n_steps=700, lr_period=period, lr=lr, seed=seed)
        for period, lr, seed in ((10, 0.003, 1), (40, 1e6, 2), (20, 0.02, 3), (30, 0.01, 1))
    ]
    part = [configs[place] for place in places]
    trainer = PackTrainer(configs, "cpu", "log2")
    while trainer.step < stop:
        trainer.advance(max_seconds=0.002)
    assert finish(PackTrainer.from_bytes(part_of_checkpoint(trainer.to_bytes(), part), "cpu")) == finish(
        PackTrainer(part, "cpu", "log2")
    )


def test_a_part_of_a_checkpoint_needs_members_of_its_pack():
    data = PackTrainer([TwoLayerConfig(**SHAPE, n_steps=20)], "cpu").to_bytes()
    with pytest.raises(ConfigError, match="needs members of its pack; got other trials"):
        part_of_checkpoint(data, [TwoLayerConfig(**SHAPE, n_steps=20, seed=7)])


def all_optimizers():
    return sorted(
        name
        for name, kind in vars(torch_optimizer).items()
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name != "Optimizer"
    )


@pytest.mark.filterwarnings("ignore:This overload of add")
@pytest.mark.filterwarnings("ignore:This overload of addc")
@pytest.mark.parametrize("optimizer", all_optimizers())
def test_any_optimizer_of_torch_optimizer_trains_and_resumes(optimizer):
    config = TwoLayerConfig(**SHAPE, n_steps=24, lr=1e-3, optimizer=optimizer)
    trainer = PackTrainer([config], "cpu", engine="solo")
    whole = finish(trainer)
    again = PackTrainer([config], "cpu", engine="solo")
    while again.step < 16:
        again.advance()
    restored = PackTrainer.from_bytes(again.to_bytes(), "cpu")
    assert restored.engine == "solo" and restored.step == 16
    assert finish(restored) == whole


def test_a_trainer_saved_at_its_end_still_has_its_results():
    trainer = PackTrainer([TwoLayerConfig(**SHAPE, n_steps=20)], "cpu")
    results = finish(trainer)
    assert finish(PackTrainer.from_bytes(trainer.to_bytes(), "cpu")) == results


@pytest.mark.parametrize("spoil", ["truncated", "empty", "noise", "foreign"])
def test_a_spoilt_checkpoint_is_named(spoil):
    data = PackTrainer([TwoLayerConfig(**SHAPE, n_steps=20)], "cpu").to_bytes()
    foreign = PackTrainer([TwoLayerConfig(**SHAPE, n_steps=20)], "cpu").weights_bytes()
    spoilt = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(999),
        "foreign": foreign,
    }[spoil]
    with pytest.raises(ConfigError, match="not a monosweep checkpoint"):
        PackTrainer.from_bytes(spoilt, "cpu")


def test_the_callers_thread_count_is_left_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(PackTrainer([TwoLayerConfig(**SHAPE, n_steps=2)], "cpu"))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

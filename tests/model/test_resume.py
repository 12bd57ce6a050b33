"""A trainer that was saved, dropped and restored goes on bit for bit as if nothing had happened."""

import numpy as np
import pytest
import torch
import torch_optimizer

from monosweep.model.checkpoint import weights_bytes
from monosweep.model.config import ConfigError
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.trainer import PackTrainer

from .rows import bits, finish

SHAPE = {"n_features": 16, "d_embed": 4, "n_neurons": 24, "batch_size": 32, "feature_prob": 0.2}


@pytest.mark.parametrize("record", ["final", "log2"])
def test_resumed_at_every_pause_equals_uninterrupted(record):
    """Pauses fall inside windows, between recorded steps, before and after a member diverges, whose rows are there when
    it leaves: a checkpoint holds those in training."""
    configs = [TwoLayerConfig(**SHAPE, n_steps=700, lr_period=40, lr=lr, seed=1) for lr in (0.003, 1e6, 0.02)]
    whole = finish(PackTrainer(configs, "cpu", record))
    assert {status for _, status, *_ in whole.values()} == {"completed", "diverged"}
    trainer, found, pauses = PackTrainer(configs, "cpu", record), {}, 0
    while not trainer.done:
        snapshot = trainer.advance(max_seconds=0.002)
        found |= {result.config.trial_id: bits(result) for result in (snapshot.left if snapshot else ())}
        assert {config.trial_id for config in trainer.members} == set(whole) - set(found)
        if not trainer.done:
            trainer = PackTrainer.from_bytes(trainer.to_bytes(), "cpu")
        pauses += 1
    assert pauses > 12
    assert found == whole


@pytest.mark.parametrize("places", [(0,), (1, 2), (3, 1), (0, 1, 2, 3)])
@pytest.mark.parametrize("stop", [4, 300])
def test_a_part_of_a_checkpoint_goes_on_as_if_trained_alone(places, stop):
    """Members differ in how many losses they keep; one has diverged."""
    configs = [
        TwoLayerConfig(**SHAPE, n_steps=700, lr_period=period, lr=lr, seed=seed)
        for period, lr, seed in ((10, 0.003, 1), (40, 1e6, 2), (20, 0.02, 3), (30, 0.01, 1))
    ]
    part = [configs[place] for place in places]
    trainer, found = PackTrainer(configs, "cpu", "log2"), {}
    while trainer.step < stop:
        snapshot = trainer.advance(max_seconds=0.002)
        found |= {r.config.trial_id: bits(r) for r in (snapshot.left if snapshot else ()) if r.config in part}
    assert set(found) == ({configs[1].trial_id} if stop == 300 and 1 in places else set())
    continued = PackTrainer.from_bytes(trainer.to_bytes(), "cpu", only=[config.trial_id for config in part])
    assert set(continued.members) == {config for config in part if config.trial_id not in found}
    assert finish(continued) | found == finish(PackTrainer(part, "cpu", "log2"))


def test_a_part_of_a_checkpoint_needs_members_of_its_pack():
    data = PackTrainer([TwoLayerConfig(**SHAPE, n_steps=20)], "cpu").to_bytes()
    other = TwoLayerConfig(**SHAPE, n_steps=20, seed=7)
    with pytest.raises(ConfigError, match="holds no trial that is to go on"):
        PackTrainer.from_bytes(data, "cpu", only=[other.trial_id])


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


def test_a_trainer_saved_at_its_end_holds_nobody():
    trainer = PackTrainer([TwoLayerConfig(**SHAPE, n_steps=20)], "cpu")
    finish(trainer)
    assert trainer.done and trainer.members == ()
    with pytest.raises(ConfigError, match="holds no trial that is to go on"):
        PackTrainer.from_bytes(trainer.to_bytes(), "cpu")


@pytest.mark.parametrize("spoil", ["truncated", "empty", "noise", "foreign"])
def test_a_spoilt_checkpoint_is_named(spoil):
    data = PackTrainer([TwoLayerConfig(**SHAPE, n_steps=20)], "cpu").to_bytes()
    config = TwoLayerConfig(**SHAPE, n_steps=20)
    foreign = weights_bytes(PackTrainer([config], "cpu").weights(config.trial_id), 0)
    spoilt = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "noise": np.random.default_rng(0).bytes(999),
        "foreign": foreign,
    }[spoil]
    with pytest.raises(ConfigError, match="the checkpoint is damaged"):
        PackTrainer.from_bytes(spoilt, "cpu")


def test_the_callers_thread_count_is_left_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(PackTrainer([TwoLayerConfig(**SHAPE, n_steps=2)], "cpu"))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

"""A trial's result cannot depend on its pack: alone, among 7 or 64, reordered, beside a diverging one."""

import dataclasses

import numpy as np
import pytest
import torch

from monosweep.model.config import ConfigError
from monosweep.model.data.stream import FeatureStream
from monosweep.model.engines import make_engine
from monosweep.model.engines.cpu.engine import PackedEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.families.two_layer.samples import stream_key
from monosweep.model.records import TrialStatus
from monosweep.model.trainer import PackTrainer

from .rows import bits

SHAPES = [
    {"n_features": 16, "d_embed": 4, "n_neurons": 24, "batch_size": 32, "n_steps": 90},
    {"n_features": 37, "d_embed": 11, "n_neurons": 53, "batch_size": 29, "n_steps": 40},
    {"n_features": 128, "d_embed": 32, "n_neurons": 256, "batch_size": 256, "n_steps": 9},
]
VARIANTS = [
    {}, {"task": "abs", "activation": "gelu"}, {"task": "reprojector", "activation": "solu"},
    {"precision": "fp64"}, {"connectivity": 0.4, "bias_decay_mode": "per_neuron", "bias_reg": 0.01},
    {"bias_decay_mode": "tied_to_update"}, {"precision": "bf16"},
]  # fmt: skip


def pack_of(n, shape, **knobs):
    """Trials that differ in every knob that members may differ in."""
    return [
        TwoLayerConfig(
            **{
                "feature_prob": (0.1, 0.3)[i % 2],
                "feature_dist": ("uniform", "power_law")[i // 2 % 2],
                "lr": 0.001 * (1 + i / 16),
                "lr_period": (16, 512)[i % 3 == 0],
                "lr_schedule": ("cosine", "constant", "cosine_to_zero")[i % 3],
                "bias_offset": (0, -0.5, 0.25)[i % 3],
                "bias_decay": (0, 5.0)[i % 2],
                "l1": (0, 0.001)[i // 3 % 2],
                "seed": i % 4,
                **shape,
                **knobs,
            }
        )
        for i in range(n)
    ]


def rows(configs):
    """Everything that a trial reports but the time it took, by trial_id."""
    trainer = PackTrainer(configs, "cpu", record="log2", engine="packed")
    snapshots = list(trainer)
    left = [result for snapshot in snapshots for result in snapshot.left]
    assert sorted(map(id, left)) == sorted(map(id, trainer.results()))
    return {result.config.trial_id: bits(result) for result in left}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_bit_identical_in_every_pack(shape, variant):
    configs = pack_of(64, shape, **variant)
    of_64 = rows(configs)
    assert len(of_64) == 64
    assert rows(configs[::-1]) == of_64
    for chosen in (configs[3:10], configs[40:33:-1]):
        assert rows(chosen) == {c.trial_id: of_64[c.trial_id] for c in chosen}
    for config in configs[:64:9]:
        assert rows([config]) == {config.trial_id: of_64[config.trial_id]}


def test_initial_weights_and_data_are_bit_identical_in_every_pack():
    configs = pack_of(64, SHAPES[0])
    together = PackedEngine(tuple(configs))
    for member, config in enumerate(configs):
        for name, tensor in PackedEngine((config,)).params(0).items():
            assert torch.equal(together.params(member)[name], tensor)
    same_seed = [dataclasses.replace(configs[0], lr=0.1), dataclasses.replace(configs[0], bias_offset=-1)]
    streams = [FeatureStream(stream_key(c)).batch(5) for c in (configs[0], *same_seed)]
    assert all(np.array_equal(streams[0].values, s.values) for s in streams)


@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_diverging_member_leaves_its_neighbours_alone(place):
    configs = pack_of(7, SHAPES[0])
    undisturbed = rows(configs)
    bad = dataclasses.replace(configs[0], lr=1e6, seed=configs[0].seed)
    with_bad = rows([*configs[:place], bad, *configs[place:]])
    _, status, error, last_step, metrics, _ = with_bad.pop(bad.trial_id)
    assert with_bad == undisturbed
    assert status == TrialStatus.DIVERGED and metrics is None
    assert "non-finite" in error and last_step < bad.n_steps


@pytest.mark.parametrize("engine", ["packed", "vmapped"])
def test_a_pack_in_which_all_diverge_ends_early(engine):
    configs = [dataclasses.replace(c, lr=1e6) for c in pack_of(3, SHAPES[0])]
    trainer = PackTrainer(configs, "cpu", engine=engine)
    last = list(trainer)[-1]
    assert last.final and last.points == [None, None, None] and last.left
    assert trainer.step < configs[0].n_steps and trainer.members == ()
    assert {r.status for r in trainer.results()} == {TrialStatus.DIVERGED}
    assert trainer.diverged == dict(enumerate(r.error for r in trainer.results()))


@pytest.mark.parametrize(
    ("lr", "activation", "where"),
    [
        (1e6, "relu", "by step 32"),
        (1e15, "gelu", "at step 2"),
        (30.0, "solu", "at step 3"),
        (5.0, "solu", "by step 4"),
    ],
)
def test_all_engines_agree_on_the_step_at_which_a_trial_diverged(lr, activation, where):
    """The loss there, or a parameter before it, is beyond what single precision holds."""
    config, found = TwoLayerConfig(**{**SHAPES[0], "activation": activation}, lr=lr), set()
    for engine in ("solo", "vmapped", "packed"):
        trainer = PackTrainer([config], "cpu", engine=engine)
        assert list(trainer)[-1].final
        (result,) = trainer.results()
        assert result.status == TrialStatus.DIVERGED
        found.add((result.last_step, result.error))
    ((step, error),) = found
    assert error.endswith(where) and where.endswith(f" {step}")


def test_who_diverges_leaves_at_once_and_points_stay_in_the_order_of_configs():
    """The result comes with the snapshot in which the trial left, its rows as far as they were; others go on."""
    configs = pack_of(5, SHAPES[0])
    configs[1] = bad = dataclasses.replace(configs[1], lr=1e6)
    trainer, gone = PackTrainer(configs, "cpu", record="log2"), False
    for snapshot in trainer:
        assert len(snapshot.points) == len(trainer.configs) == 5
        if not gone and snapshot.left:
            (result,), gone = snapshot.left, True
            assert result.config == bad and result.status == TrialStatus.DIVERGED and result.metrics is None
            assert len(trainer.members) == 4 and bad not in trainer.members
            assert list(result.curve["step"]) == [2**i for i in range(10) if 2**i < result.last_step]
            assert set(result.tables["neurons"]["step"]) == set(result.curve["step"])
            assert result.wall_time_s > 0
        assert (snapshot.points[1] is None) == gone
        if gone:
            continue
        assert snapshot.points[1]["lr"] == pytest.approx(1e6)
    assert gone and [r.config for r in trainer.results()] == configs


def test_a_trial_is_a_member_once():
    config = TwoLayerConfig(**SHAPES[0])
    with pytest.raises(ConfigError, match=f"a member of a pack once; got {config.trial_id} twice"):
        PackTrainer([config, dataclasses.replace(config, seed=1), config], "cpu")


def test_an_unknown_engine_is_named():
    with pytest.raises(ConfigError, match="unknown engine 'vmaped'; did you mean 'vmapped'"):
        make_engine([TwoLayerConfig(**SHAPES[0])], "cpu", "vmaped")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_neurons": 25}, r"trials of one pack must agree on n_neurons; got \[24, 25\]"),
        ({"optimizer": "Yogi"}, "must agree on optimizer"),
    ],
)
def test_members_must_agree_on_shape(change, message):
    config = TwoLayerConfig(**SHAPES[0])
    with pytest.raises(ConfigError, match=message):
        PackTrainer([config, dataclasses.replace(config, **change)], "cpu")


def test_a_pack_cannot_be_empty():
    with pytest.raises(ConfigError, match="at least one trial"):
        PackTrainer([], "cpu")


def test_other_optimizers_train_alone():
    yogi = TwoLayerConfig(**SHAPES[0], optimizer="Yogi")
    with pytest.raises(ConfigError, match="one trial at a time; got 2"):
        PackTrainer([yogi, dataclasses.replace(yogi, seed=1)], "cpu")
    with pytest.raises(ConfigError, match="no packed engine trains two_layer with optimizer Yogi"):
        PackTrainer([yogi], "cpu", engine="packed")


def test_unknown_device_and_optimizer():
    with pytest.raises(ConfigError, match="device must be auto, cpu or cuda; got 'tpu'"):
        PackTrainer([TwoLayerConfig(**SHAPES[0])], "tpu")
    with pytest.raises(ConfigError, match="unknown optimizer 'Lam'; did you mean 'Lamb'"):
        PackTrainer([TwoLayerConfig(**SHAPES[0], optimizer="Lam")], "cpu")

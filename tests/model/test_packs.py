"""A trial's result cannot depend on its pack: alone, among 7 or 64, reordered, beside a diverging one."""

import dataclasses

import numpy as np
import pytest
import torch

from monosweep.model.config import ConfigError
from monosweep.model.data.stream import FeatureStream, stream_key
from monosweep.model.engines.cpu.engine import PackedEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.records import TrialStatus
from monosweep.model.train import PackTrainer

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
    trainer = PackTrainer(configs, "cpu", record_neurons="log2", engine="packed")
    for _ in trainer:
        pass
    return {
        r.config.trial_id: (r.status, r.error, r.last_step, r.metrics, columns(r.curve), columns(r.neurons))
        for r in trainer.results()
    }


def columns(table):
    return {name: values.tobytes() for name, values in table.items()}


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
        alone = PackedEngine((config,)).weights(0)
        for name in ("w_in", "bias", "w_out"):
            assert torch.equal(getattr(together.weights(member), name), getattr(alone, name))
    same_seed = [dataclasses.replace(configs[0], lr=0.1), dataclasses.replace(configs[0], bias_offset=-1)]
    streams = [FeatureStream(stream_key(c)).batch(5) for c in (configs[0], *same_seed)]
    assert all(np.array_equal(streams[0].values, s.values) for s in streams)


@pytest.mark.parametrize("place", [0, 3, 7])
def test_a_diverging_member_leaves_its_neighbours_alone(place):
    configs = pack_of(7, SHAPES[0])
    undisturbed = rows(configs)
    bad = dataclasses.replace(configs[0], lr=1e6, seed=configs[0].seed)
    with_bad = rows([*configs[:place], bad, *configs[place:]])
    status, error, last_step, metrics, *_ = with_bad.pop(bad.trial_id)
    assert with_bad == undisturbed
    assert status == TrialStatus.DIVERGED and metrics is None
    assert "non-finite" in error and last_step < bad.n_steps


def test_a_pack_in_which_all_diverge_ends_early():
    trainer = PackTrainer([dataclasses.replace(c, lr=1e6) for c in pack_of(3, SHAPES[0])], "cpu")
    last = list(trainer)[-1]
    assert last.final and last.points == [None, None, None]
    assert trainer.step < trainer.n_steps
    assert {r.status for r in trainer.results()} == {TrialStatus.DIVERGED}


def test_both_engines_call_the_same_trial_diverged():
    config = TwoLayerConfig(**SHAPES[0], lr=1e6)
    for engine in ("solo", "packed"):
        trainer = PackTrainer([config], "cpu", engine=engine)
        assert list(trainer)[-1].final
        assert trainer.results()[0].status == TrialStatus.DIVERGED


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
    with pytest.raises(ConfigError, match="packed engine trains with Lamb only; got Yogi"):
        PackTrainer([yogi], "cpu", engine="packed")


def test_unknown_device_and_optimizer():
    with pytest.raises(ConfigError, match="device must be auto, cpu or cuda; got 'tpu'"):
        PackTrainer([TwoLayerConfig(**SHAPES[0])], "tpu")
    with pytest.raises(ConfigError, match="unknown optimizer 'Lam'; did you mean 'Lamb'"):
        PackTrainer([TwoLayerConfig(**SHAPES[0], optimizer="Lam")], "cpu")

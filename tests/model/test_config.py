"""TwoLayerConfig: defaults of the paper, stable ids, one-line errors."""

import math

import pytest

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families import config_of
from monosweep.model.families.two_layer.config import TwoLayerConfig, paper_batch_size


def test_defaults_are_the_papers():
    config = TwoLayerConfig()
    assert (config.n_features, config.d_embed, config.n_neurons) == (512, 64, 1024)
    assert (config.feature_prob, config.batch_size, config.n_steps) == (1 / 64, 8192, 131072)


@pytest.mark.parametrize("k", [1, 3, 16, 384, 512, 1000, 1024, 1025, 2048])
def test_batch_size_rule_is_two_to_the_23_over_k_rounded_down(k):
    assert paper_batch_size(k) == 2 ** math.floor(math.log2(2**23 / k))
    assert TwoLayerConfig(n_neurons=k).batch_size == paper_batch_size(k)


def test_trial_id_is_stable_across_versions():
    # Tables in the world hold these ids: a change here orphans them.
    ids = {
        "728ed0565efcb00e": {},
        "7c708bdd693d80e4": {"lr": 0.02, "seed": 7},
        "4fe4652c2af075cc": {"task": "reprojector"},
        "54bb925d83eec4fa": {"lr": 0.01, "seed": 3, "task": "abs"},
        "858f85ddbc31b4a2": {"task": "abs", "activation": "gelu", "n_neurons": 64},
        "bf9d4a370ee50385": {
            "precision": "bf16", "batch_size": 100, "optimizer": "Yogi", "lr_period": 64, "bias_decay": 0.1,
        },
    }  # fmt: skip
    for trial_id, knobs in ids.items():
        assert TwoLayerConfig(**knobs).trial_id == trial_id
        assert config_of(knobs).trial_id == config_of({"family": "two_layer", **knobs}).trial_id == trial_id


def test_trial_id_ignores_how_a_value_was_written():
    assert TwoLayerConfig(lr=1).trial_id == TwoLayerConfig(lr=1.0).trial_id
    assert TwoLayerConfig(bias_offset=-0.0).trial_id == TwoLayerConfig().trial_id
    assert TwoLayerConfig(batch_size=8192).trial_id == TwoLayerConfig().trial_id
    assert TwoLayerConfig(n_steps=1e3).n_steps == 1000


ADAMS = ("beta1", "beta2", "eps", "weight_decay")


def test_trial_id_depends_on_every_field():
    others = {
        "task": "abs", "activation": "gelu", "n_features": 511, "d_embed": 63, "n_neurons": 1023,
        "feature_prob": 0.5, "feature_dist": "power_law", "batch_size": 4, "n_steps": 5, "lr": 0.5,
        "lr_schedule": "constant", "lr_period": 7, "bias_offset": 1, "bias_decay": 1, "l1": 1,
        "connectivity": 0.5, "bias_decay_mode": "per_neuron", "bias_reg": 1, "bias_reg_target": -1,
        "mono_threshold": 0.9, "optimizer": "Yogi", "precision": "fp64", "seed": 1,
    }  # fmt: skip
    assert {"family", *others, *ADAMS, "momentum"} == set(TwoLayerConfig().to_dict())
    ids = {TwoLayerConfig(**{name: value}).trial_id for name, value in others.items()}
    adam = [TwoLayerConfig(optimizer="Adam", **knobs).trial_id for knobs in ({}, *({k: 0.5} for k in ADAMS))]
    sgd = TwoLayerConfig(optimizer="SGD", momentum=0.5).trial_id
    assert len(ids | {TwoLayerConfig().trial_id, *adam, sgd}) == len(others) + 1 + len(adam) + 1


def test_a_family_is_named_by_its_configs():
    assert TwoLayerConfig().family == TwoLayerConfig(family="two_layer").family == "two_layer"
    with pytest.raises(ConfigError, match="family must be 'two_layer' for this config; got 'three_layer'"):
        TwoLayerConfig(family="three_layer")
    with pytest.raises(ConfigError, match="unknown family 'two_layers'; did you mean 'two_layer'"):
        config_of({"family": "two_layers"})
    with pytest.raises(ConfigError, match="family must be a word; got 3"):
        config_of({"family": 3})
    with pytest.raises(ConfigError, match="family must be '' for this config"):
        TrialConfig()


def test_from_dict_round_trips():
    config = TwoLayerConfig(lr=0.02, activation="solu")
    assert TwoLayerConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 1}, "unknown field 'learning_rate'"),
        ({"n_feature": 1}, "did you mean 'n_features'"),
        ({"lr": "fast"}, "lr must be a number; got 'fast'"),
        ({"lr": True}, "lr must be a number; got True"),
        ({"lr": [1]}, r"lr must be a number; got \[1\]"),
        ({"n_steps": 1.5}, "n_steps must be a whole number; got 1.5"),
        ({"n_steps": math.nan}, "n_steps must be a whole number"),
        ({"n_neurons": -1}, "n_neurons must lie in 1 … 2.31; got -1"),
        ({"batch_size": 0}, "batch_size must lie in 1"),
        ({"feature_prob": 0}, r"feature_prob must lie in \(0, 1\]; got 0"),
        ({"feature_prob": 1.1}, r"feature_prob must lie in \(0, 1\]; got 1.1"),
        ({"feature_prob": math.nan}, "feature_prob must be finite; got nan"),
        ({"lr": 0}, "lr must be above 0; got 0"),
        ({"lr": math.inf}, "lr must be finite"),
        ({"l1": -1}, "l1 must be 0 or more; got -1"),
        ({"seed": -1}, "seed must be 0 or more"),
        ({"seed": 2**63}, "seed must be below 2.63"),
        ({"task": "encoder"}, "task must be one of decoder, reprojector, abs; got 'encoder'"),
        ({"d_embed": 600}, "d_embed must be at most n_features"),
        ({"connectivity": 0}, r"connectivity must lie in \(0, 1\]; got 0"),
        ({"bias_reg": -1}, "bias_reg must be 0 or more"),
        ({"bias_decay_mode": "slow"}, "bias_decay_mode must be one of rate, per_neuron, tied_to_update"),
        ({"mono_threshold": 1}, "mono_threshold must lie between 0 and 1"),
        ({"optimizer": "no such"}, "optimizer must be Lamb, Adam, AdamW, SGD or a class"),
        ({"optimizer": 3}, "optimizer must be a word; got 3"),
    ],
)
def test_bad_values_get_one_line(values, message):
    with pytest.raises(ConfigError, match=message) as caught:
        TwoLayerConfig.from_dict(values)
    assert "\n" not in str(caught.value)

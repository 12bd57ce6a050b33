"""Families of ours with a user's metrics and activations: trained, held to plain loops, and their mistakes named."""

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from monosweep.model.additions import activation, metric
from monosweep.model.config import ConfigError
from monosweep.model.engines import engine_name, make_engine
from monosweep.model.families import config_of, describe, family_of, load, register
from monosweep.model.families.source import Source
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.trainer import PackTrainer

TEXT = (Path(__file__).parents[2] / "families" / "additions.py").read_text()
NAME, TMS = "additions.py:two_layer", "additions.py:superposition"
SMALL = {"n_features": 8, "d_embed": 3, "n_neurons": 12, "feature_prob": 0.2, "batch_size": 32, "n_steps": 32}


@pytest.fixture(autouse=True)
def _known():
    for family in ("two_layer", "superposition"):
        register(Source("additions.py", family, TEXT))


def trial(**knobs):
    return config_of({"family": NAME, **SMALL, **knobs})


def trained(configs, engine="auto"):
    trainer = PackTrainer(configs, "cpu", engine=engine, keep_weights="final")
    kept = {}
    for snapshot in trainer:
        for weights in snapshot.weights.values():
            kept |= weights
    return trainer.results(), kept, trainer.engine


def test_a_metric_is_reported_and_leaves_training_as_it_is():
    """Bit for bit, and in the engine that is the family's own."""
    configs = [trial(seed=seed, bias_offset=-0.2) for seed in range(3)]
    results, kept, engine = trained(configs)
    plain, _, _ = trained([TwoLayerConfig(**SMALL, seed=seed, bias_offset=-0.2) for seed in range(3)])
    assert engine == "packed"
    for ours, theirs in zip(results, plain, strict=True):
        assert ours.config.trial_id != theirs.config.trial_id
        own = {name: ours.metrics[name] for name in ("largest_weight", "n_silent")}
        assert ours.metrics == {**theirs.metrics, **own}
        assert all(np.array_equal(ours.curve[name], column) for name, column in theirs.curve.items())
        w = {name: tensor.numpy() for name, tensor in kept[ours.config.trial_id].items()}
        assert own["largest_weight"] == max(np.abs(w[name]).max() for name in ("w_in", "bias", "w_out"))
        drive = w["w_in"] @ w["embedding"] + w["bias"][:, None]
        assert own["n_silent"] == sum(all(d <= 0 for d in row) for row in drive) and type(own["n_silent"]) is int
    assert len({result.metrics["n_silent"] for result in results}) > 1


@pytest.mark.parametrize("optimizer", ["Lamb", "Adam"])
def test_an_own_activation_trains_as_the_familys_where_it_is_the_same(optimizer):
    knobs = {"optimizer": optimizer, "precision": "fp64", "lr": 0.01}
    ours, theirs = trial(activation="same_as_relu", **knobs), TwoLayerConfig(**SMALL, **knobs)
    for engine in ("solo", "vmapped"):
        found, expected = (make_engine([config], "cpu", engine).advance(32) for config in (ours, theirs))
        np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_an_own_activation_is_packed_by_vmapped_of_itself_and_others_stay_packed():
    assert [engine_name(trial(activation=name), "cpu") for name in ("relu", "gelu", "leaky")] == [
        "packed", "packed", "vmapped",
    ]  # fmt: skip
    results, _, engine = trained([trial(activation="leaky", seed=seed) for seed in range(3)])
    assert engine == "vmapped"
    for together in results:
        (alone,), _, _ = trained([together.config], "solo")
        np.testing.assert_allclose(together.curve["loss"], alone.curve["loss"], rtol=1e-5)
    with pytest.raises(
        ConfigError, match=r"no packed engine trains .* activation leaky on cpu; use the vmapped engine"
    ):
        make_engine([trial(activation="leaky")], "cpu", "packed")
    with pytest.raises(ConfigError, match="must agree on activation"):
        PackTrainer([trial(activation="leaky"), trial()], "cpu")


def test_an_own_activation_of_superposition_is_trained_as_by_hand():
    config = config_of({"family": TMS, "activation": "leaky", "precision": "fp64", "batch_size": 64, "n_steps": 8})
    engine, family = make_engine([config], "cpu", "solo"), family_of(config)
    w, bias = (tensor.clone().requires_grad_() for tensor in family.start(config).values())
    adam = torch.optim.Adam([w, bias], lr=config.lr)
    for step in range(1, 9):
        x = family.sample(config, step)["x"].double()
        drive = x @ w.T @ w + bias
        loss = ((torch.clamp(drive, min=0) + 0.1 * torch.clamp(drive, max=0) - x) ** 2).sum() / 64
        adam.zero_grad()
        loss.backward()
        adam.step()
        assert engine.advance(1)[0, 0] == pytest.approx(loss.item(), rel=1e-12)
    assert describe(TMS).metrics.__dataclass_fields__.keys() >= {"largest_weight", "n_represented"}
    assert "n_silent" not in describe(TMS).metrics.__dataclass_fields__


def test_configs_know_their_functions_wherever_they_go():
    config = trial(activation="leaky")
    again = pickle.loads(pickle.dumps(config))
    assert again == config and type(again) is type(config) and isinstance(config, TwoLayerConfig)
    assert config.DIGEST and config.trial_id != trial().trial_id
    edited = load(Source("additions.py", "two_layer", TEXT.replace("0.1 * e", "0.2 * e"))).Config
    assert edited(**SMALL, activation="leaky").trial_id != config.trial_id
    with pytest.raises(ConfigError, match="activation must be one of relu, gelu, solu, leaky, same_as_relu; got 'lea'"):
        trial(activation="lea")
    trainer = PackTrainer([config], "cpu")
    trainer.advance()
    assert PackTrainer.from_bytes(trainer.to_bytes(), "cpu").configs == (config,)


MISTAKES = [
    ('@metric("two_layer")\n', '@metric("two_layers")\n', "@metric", "unknown family 'two_layers'; did you mean 'two"),
    ('@metric("two_layer")\n', "@metric\n", "@metric", r"TypeError: @metric must name families, as in @metric\('two"),
    ('    """Neurons that no single feature wakes."""\n', "", "@metric", "n_silent must have a docstring"),
    ("def n_silent", "def n_dead", "@metric", "two_layer has a metric n_dead already; give it another name"),
    (") -> int:", ") -> list:", "@metric", "n_silent must return a float, int, bool or str; says <class 'list'>"),
    (") -> int:", ') -> "Count":', "@metric", "what it returns: NameError: name 'Count' is not defined"),
    ("def same_as_relu", "def gelu", "@activation", "two_layer has an activation gelu already"),
    ("import torch\n", "import torch, nothing\n", "import torch", "ModuleNotFoundError: No module named 'nothing'"),
]


@pytest.mark.parametrize(("old", "new", "at", "message"), MISTAKES)
def test_mistakes_are_named_in_one_line_with_their_place(old, new, at, message):
    assert old in TEXT
    text = TEXT.replace(old, new)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.startswith(at)]
    with pytest.raises(ConfigError, match=message) as caught:
        load(Source("additions.py", "two_layer", text))
    found = re.match(r"family additions\.py:two_layer: additions\.py line (\d+): ", str(caught.value))
    assert found and int(found[1]) == lines[0 if at == "import torch" else -1] and "\n" not in str(caught.value)


def test_a_file_that_adds_nothing_says_so():
    with pytest.raises(ConfigError, match=r"adds nothing to two_layer; decorate a .* with @metric\('two_layer'\)"):
        load(Source("a.py", "two_layer", "x = 1\n"))
    with pytest.raises(ConfigError, match="unknown class 'two_layr'; did you mean 'two_layer'"):
        load(Source("additions.py", "two_layr", TEXT))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (").all(dim=1).sum()", ").all(dim=1)", r"additions\.py: metric n_silent must be of type int; got \["),
        ("return e * (e > 0)", "return e.sum()", r"activation same_as_relu must keep the shape, \(32, 12\); got \(\)"),
        ("return e * (e > 0)", "return 1.0", r"activation same_as_relu must keep the shape, \(32, 12\); got float"),
    ],
)
@pytest.mark.parametrize("engine", ["solo", "vmapped"])
def test_what_a_function_gives_must_be_what_it_is_for(old, new, message, engine):
    assert old in TEXT
    kind = load(Source("additions.py", "two_layer", TEXT.replace(old, new))).Config
    with pytest.raises(ConfigError, match=message):
        list(PackTrainer([kind(**SMALL, activation="same_as_relu")], "cpu", engine=engine))


def test_decorators_leave_functions_as_they_are():
    def half(config, params, fixed):
        return 0.5

    assert metric("two_layer")(half) is half and activation("two_layer")(half)(0, 0, 0) == 0.5

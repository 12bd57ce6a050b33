"""`train` in a notebook: packs and single trials, what comes out as NumPy and torch, and weights for public code."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from monosweep.model import TwoLayerConfig, train
from monosweep.model.config import ConfigError
from monosweep.model.families import config_of
from monosweep.model.records import TrialStatus
from monosweep.model.trained import TrainedPack, TrainedTrial
from monosweep.model.trainer import PackTrainer
from monosweep.model.watch import TrialError

SMALL = {"n_features": 8, "d_embed": 4, "n_neurons": 12, "batch_size": 16, "n_steps": 32, "feature_prob": 0.2}
TMS = {"family": "superposition", "n_features": 6, "d_hidden": 3, "batch_size": 64, "n_steps": 32, "lr": 0.02}
FAMILIES = Path(__file__).parents[1] / "families"


def alone(config, **options):
    return train(config, device="cpu", progress=False, **options)


@pytest.mark.parametrize("values", [SMALL, {**SMALL, "task": "abs", "optimizer": "Adam"}, TMS])
def test_a_trial_is_what_a_packs_member_is(values):
    """Its result is that of the trainer that a worker has; what comes out is the same numbers twice."""
    run = alone(values, record="log2")
    trainer = PackTrainer([config_of(values)], "cpu", record="log2", keep_weights="final")
    *_, last = trainer
    (result,), kept = trainer.results(), last.weights[32]
    assert isinstance(run, TrainedTrial) and run.config == result.config and run.engine == trainer.engine
    assert run.metrics == result.metrics and run.status is TrialStatus.COMPLETED and run.device == "cpu"
    for name, column in result.curve.items():
        np.testing.assert_array_equal(run.curve[name], column)
        np.testing.assert_array_equal(run.torch.curve[name].numpy(), column)
    for table, columns in result.tables.items():
        for name, column in columns.items():
            np.testing.assert_array_equal(run.tables[table][name], column)
            np.testing.assert_array_equal(run.torch.tables[table][name].numpy(), column)
    assert run.weights.keys() == run.torch.weights.keys() == kept[run.trial_id].keys()
    for name, tensor in kept[run.trial_id].items():
        assert torch.equal(run.torch.weights[name], tensor) and np.array_equal(run.weights[name], tensor.numpy())
    np.testing.assert_array_equal(run.responses, run.torch.responses.numpy())


def test_several_configs_are_trained_in_packs_of_a_shape_in_the_order_given(capsys):
    given = [SMALL, TMS, *({**SMALL, **knobs} for knobs in ({"lr": 0.01}, {"n_steps": 16}, {"optimizer": "Lamb"}))]
    given.append({**TMS, "seed": 1})
    runs = train([*given, TwoLayerConfig(**SMALL, optimizer="SWATS")], device="cpu")
    assert isinstance(runs, TrainedPack) and len(runs) == 7 and runs[-1].engine == "solo"
    assert [run.config for run in runs[:6]] == [config_of(values) for values in given]
    assert runs[0].trial_id == runs[4].trial_id
    for run in (runs[0], runs[2], runs[3]):
        assert run.metrics == alone(run.config).metrics and run.result.last_step == run.config.n_steps
    said = capsys.readouterr().err
    total = 5 * 32 + 16
    assert said.startswith("\rstep ") and re.search(rf"\rstep {total} of {total}, 100 %, loss \S+ +\n$", said)
    table = runs.table
    assert table["lr"] == [0.003, 0.02, 0.01, 0.003, 0.003, 0.02, 0.003] and table["n_mono"][1] is None
    assert table["family"][:2] == ["two_layer", "superposition"] and "feature_dist" in table
    assert str(runs).splitlines()[0] == "7 trials" and len(str(runs).splitlines()) == 9
    assert runs._repr_html_().count("<tr>") == 8 and "<th>trial_id</th>" in runs._repr_html_()


def test_responses_are_answers_to_single_features():
    for task, activation in (("decoder", "gelu"), ("abs", "relu")):
        run = alone({**SMALL, "task": task, "activation": activation})
        w, act = run.torch.weights, {"gelu": nn.GELU(), "relu": nn.ReLU()}[activation]
        for j in range(8):
            x = w["embedding"][:, j]
            expected = act(w["w_in"] @ x + w["bias"])
            if task == "abs":
                expected = expected + act(w["bias"] - w["w_in"] @ x)
            np.testing.assert_allclose(run.responses[:, j], expected.numpy(), atol=1e-6)
    run = alone({**TMS, "hidden": "trained"})
    w, x = run.torch.weights, torch.eye(6)
    expected = torch.relu(x @ w["w"].T @ w["hidden"].T @ w["w"] + w["bias"])
    np.testing.assert_allclose(run.responses, expected.T.numpy(), atol=1e-6)
    toy = f"{FAMILIES / 'linear_autoencoder.py'}:LinearAutoencoder"
    with pytest.raises(ConfigError, match="LinearAutoencoder does not say what its models answer"):
        _ = alone({"family": toy, "n_steps": 2, "batch_size": 4}).responses


def test_a_trial_and_its_outcome_can_be_read():
    run = alone({**SMALL, "lr": 0.01})
    assert str(run).splitlines()[0].startswith(f"trial {run.trial_id} of two_layer: completed after 32 steps in ")
    assert "lr 0.01" in str(run) and "monosemantic" in run.outcome
    html = run._repr_html_()
    assert html.count("<tr>") == len(run.outcome.splitlines()) and f"{run.metrics['loss']:.6g}, least" in html


def test_a_trial_that_diverges_has_no_weights():
    run = alone({**SMALL, "lr": 1e30})
    assert run.status is TrialStatus.DIVERGED and run.metrics == {} and run.weights == {}
    assert "diverged" in str(run) and "non-finite" in run._repr_html_()
    for act in (run.state_dict, lambda: run.responses, lambda: run.export("x.safetensors")):
        with pytest.raises(ConfigError, match=r"has no weights: diverged, .*non-finite.*; try a lower lr"):
            act()


def test_a_users_file_is_trained_by_name_and_its_errors_say_where(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (FAMILIES / "additions.py").read_text()
    Path("notebook_adds.py").write_text(text)
    run = alone({**SMALL, "family": "notebook_adds.py:two_layer", "activation": "leaky"})
    assert run.metrics["largest_weight"] == max(np.abs(run.weights[n]).max() for n in ("w_in", "bias", "w_out"))
    assert "largest_weight" in run.outcome and (run.responses < 0).any()
    Path("notebook_adds.py").write_text(text.replace("0.1 * e)", "0.1 * e / 0 // config)"))
    with pytest.raises(TrialError, match=r"trained: notebook_adds\.py line 23: NameError: name 'config' is not d.*d$"):
        alone({**SMALL, "family": "notebook_adds.py:two_layer", "activation": "leaky"})


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ([], "train needs a config; got an empty list"),
        ("quick", "train takes a config or its fields by name; got 'q'"),
        ({"lr": "high"}, "lr must be a number"),
        ({"n_neuron": 3}, "unknown field 'n_neuron'; did you mean 'n_neurons'"),
        ({"family": "gone.py:Toy"}, "must name a Python file and a class in it; 'gone.py': No such file"),
    ],
)
def test_mistakes_are_one_line(config, complaint):
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        alone(config)


def test_weights_of_two_layer_load_into_the_authors_model(tmp_path):
    """`model_builder` of their model_helper.py, and what their setup calls fixed_embedder."""
    run = alone(SMALL)
    weights, setup = run.export(tmp_path / "net.safetensors")
    model = nn.Sequential(nn.Linear(4, 12, bias=True), nn.ReLU(), nn.Linear(12, 8, bias=False))
    model.load_state_dict(load_file(weights))
    embedder = load_file(setup)["fixed_embedder"]
    assert setup.name == "net-setup.safetensors" and embedder.shape == (4, 8)
    answers = model[:2](torch.eye(8) @ embedder.T).T.detach().numpy()
    np.testing.assert_allclose(answers, run.responses, atol=1e-6)
    with safe_open(weights, "pt") as file:
        assert file.metadata()["trial_id"] == run.trial_id and '"n_neurons": 12' in file.metadata()["config"]


class Notebook(nn.Module):
    """As the article's notebook names and shapes its tensors, written from its equations."""

    def __init__(self, n_instances, n_features, n_hidden):
        super().__init__()
        self.W = nn.Parameter(torch.empty(n_instances, n_features, n_hidden))
        self.b_final = nn.Parameter(torch.zeros(n_instances, n_features))

    def forward(self, features):
        hidden = torch.einsum("...if,ifh->...ih", features, self.W)
        return torch.relu(torch.einsum("...ih,ifh->...if", hidden, self.W) + self.b_final)


def test_weights_of_superposition_load_into_the_articles_model(tmp_path):
    run = alone(TMS)
    weights, setup = run.export(tmp_path / "tms.safetensors")
    model = Notebook(1, 6, 3)
    model.load_state_dict(load_file(weights))
    answers = model(torch.eye(6)[:, None]).squeeze(1).T.detach().numpy()
    np.testing.assert_allclose(answers, run.responses, atol=1e-6)
    assert load_file(setup)["importance"].tolist() == [[1.0] * 6]
    layered = alone({**TMS, "hidden": "trained"})
    named = layered.state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in named.items()}
    assert shapes == {"linear1.weight": (1, 6, 3), "hidden_layers.0.weight": (1, 3, 3), "b_final": (1, 6)}
    hidden = torch.eye(6) @ named["linear1.weight"][0] @ named["hidden_layers.0.weight"][0]
    answers = torch.relu(hidden @ named["linear1.weight"][0].T + named["b_final"][0]).T.numpy()
    np.testing.assert_allclose(answers, layered.responses, atol=1e-6)


class ResidualMlp(nn.Module):
    """As `apd` names and shapes its tensors, written from the paper."""

    def __init__(self, n, d, k, n_layers):
        super().__init__()
        self.W_E, self.W_U = nn.Parameter(torch.empty(n, d)), nn.Parameter(torch.empty(d, n))
        layers = [{"mlp_in": nn.Linear(d, k, bias=False), "mlp_out": nn.Linear(k, d, bias=False)}] * n_layers
        self.layers = nn.ModuleList(nn.ModuleDict(copy.deepcopy(layer)) for layer in layers)

    def forward(self, x):
        stream = x @ self.W_E
        for layer in self.layers:
            stream = stream + layer["mlp_out"](torch.relu(layer["mlp_in"](stream)))
        return stream @ self.W_U


@pytest.mark.parametrize("mixing", [1.0, 0.3])
def test_weights_of_resid_mlp_load_into_the_papers_model(tmp_path, mixing):
    sizes = {"n_features": 7, "d_embed": 20, "n_neurons": 6, "n_layers": 2}
    run = alone({"family": "resid_mlp", **sizes, "mixing": mixing, "n_steps": 8, "batch_size": 32})
    weights, setup = (load_file(path) for path in run.export(tmp_path / "mlp.safetensors"))
    model = ResidualMlp(7, 20, 3, 2)
    model.load_state_dict(weights)
    answers = model(torch.eye(7)) + setup.get("unmixed", torch.zeros(7, 7))
    np.testing.assert_allclose(answers.T.detach(), run.responses, atol=1e-5)
    assert setup["label_coeffs"].tolist() == [1.0] * 7 and ("unmixed" in setup) == (mixing < 1)
    own = run.tables["features"]["slope_above"]
    np.testing.assert_allclose(np.diagonal(run.responses), own, atol=1e-5)


def test_weights_of_incidental_load_into_the_authors_model(tmp_path):
    run = alone({"family": "incidental", "n_features": 6, "n_neurons": 9, "n_steps": 8})
    (weights,) = run.export(tmp_path / "tied.safetensors")
    w = load_file(weights)["W"]
    assert w.shape == (1, 6, 9)
    hidden = torch.einsum("...ibf, ifh -> ...ibh", torch.eye(6)[None], w)
    answers = torch.relu(torch.einsum("...ibh, ifh -> ...ibf", hidden, w))[0]
    np.testing.assert_allclose(answers.T, run.responses, atol=1e-6)


def test_quadratic_answers_single_features_and_keeps_its_own_names(tmp_path):
    run = alone({"family": "quadratic", "n_features": 5, "d_hidden": 2, "n_steps": 8})
    weights, setup = (load_file(path) for path in run.export(tmp_path / "q.safetensors"))
    assert weights.keys() == {"w", "bias"} and setup.keys() == {"importance"}
    answers = torch.square(torch.eye(5) @ weights["w"].T).sum(dim=1) + weights["bias"]
    np.testing.assert_allclose(answers, run.responses, atol=1e-6)


def test_another_family_keeps_its_own_names(tmp_path, monkeypatch):
    monkeypatch.chdir(FAMILIES)
    run = alone({"family": "linear_autoencoder.py:LinearAutoencoder", "n_steps": 2, "batch_size": 4})
    weights, setup = run.export(tmp_path / "toy.safetensors")
    assert load_file(weights).keys() == {"encoder", "decoder"} and load_file(setup).keys() == {"scales"}
    for path, complaint in (("toy.pt", "weights are written as .safetensors"), ("no/t.safetensors", "cannot write")):
        with pytest.raises(ConfigError, match=complaint):
            run.export(tmp_path / path)

"""Weights of a root's trials for other code, and trials that a notebook trains beside those of a sweep."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from monosweep.analysis.tables.root import Root, open_root
from monosweep.model import train
from monosweep.model.families import description_of
from monosweep.model.family import names
from monosweep.model.records import Losses
from monosweep.sweep.__main__ import main
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import config_in


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of a sweep that kept weights, and one that did not; a trial of it was stopped."""
    out = tmp_path_factory.mktemp("weights") / "results"
    short = ["--executor", "inline", "--out", str(out), "--set", "n_steps=64"]
    assert main(["launch", "tiny", *short, "record_neurons=log2"]) == 0
    stop = ["stop=step >= 8 and lr > 0.02", "name=bare", "save_weights=none", "bias_offset=-0.1"]
    assert main(["launch", "tiny", *short, *stop]) == 0
    return out


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Root:
    """A copy to work on, with a folder to write into."""
    shutil.copytree(trained, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return open_root("results")


def test_a_notebook_trains_what_a_sweep_trains(root: Root) -> None:
    """Bit for bit: row, curve and tables, alone and in packs."""
    rows = Store.open("results").rows_of("trials", "tiny", root.sql("from trials")["trial_id"].to_pylist())
    runs = train([config_in(row) for row in rows], device="cpu", record="log2", progress=False)
    for row, together in zip(rows, runs, strict=True):
        for run in (together, train(config_in(row), device="cpu", record="log2", progress=False)):
            wanted = (*names(Losses), *names(description_of(run.config).metrics))
            assert {name: row[name] for name in wanted} == run.metrics and str(run.status) == row["status"]
            assert run.engine == row["engine"] and run.trial_id == row["trial_id"]
            for table, columns in {"curves": run.curve, **run.tables}.items():
                there = root.sql(f"from {table} where trial_id = ? order by step", [run.trial_id])
                for name, column in columns.items():
                    np.testing.assert_array_equal(there[name].to_numpy(), column)
            for name, tensor in root.weights(run.trial_id).items():
                np.testing.assert_array_equal(run.weights[name], tensor)
    assert len(rows) == 4


def test_kept_weights_are_written_under_the_names_of_public_code(
    root: Root, capsys: pytest.CaptureFixture[str]
) -> None:
    trial_id = root.sql("from sweep('tiny') order by trial_id")["trial_id"][0].as_py()
    assert main(["weights", "results", trial_id[:8]]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{trial_id}.safetensors", f"{trial_id}-setup.safetensors"]
    ours, theirs = root.weights(trial_id), load_file(f"{trial_id}.safetensors")
    for name, called in (("w_in", "0.weight"), ("bias", "0.bias"), ("w_out", "2.weight")):
        np.testing.assert_array_equal(ours[name], theirs.pop(called))
    setup = load_file(f"{trial_id}-setup.safetensors")
    assert not theirs and np.array_equal(setup["fixed_embedder"], ours["embedding"])


@pytest.mark.parametrize("status", ["completed", "stopped"])
def test_weights_that_were_not_kept_are_trained_again_and_checked(
    status: str, root: Root, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stopped trial's are those of the step at which it was stopped."""
    row = root.sql("from sweep('bare') where status = ? order by trial_id", [status]).to_pylist()[0]
    assert main(["weights", "results", row["trial_id"], "--to", "net.safetensors"]) == 0
    said = capsys.readouterr().out
    assert "bit-equal on this machine\nnet.safetensors\nnet-setup.safetensors\n" in said
    bias = load_file("net.safetensors")["0.bias"]
    sql = "from neurons where trial_id = ? and step = ? order by neuron"
    np.testing.assert_array_equal(root.sql(sql, [row["trial_id"], row["last_step"]])["bias"].to_numpy(), bias)


def test_mistakes_are_one_line(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    trial_id = root.sql("from sweep('tiny')")["trial_id"][0].as_py()
    for argv, complaint in (
        ([trial_id, "--to", "net.pt"], r"weights are written as \.safetensors; got 'net\.pt'"),
        ([trial_id, "--to", "no/net.safetensors"], r"cannot write 'no/net\.safetensors': No such file"),
        (["0123456789"], "no trial '0123456789' in"),
    ):
        assert main(["weights", "results", *argv]) == 2
        error = capsys.readouterr().err
        assert re.search(complaint, error) and error.count("\n") == 1, error

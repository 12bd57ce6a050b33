"""Weights of a root's trials for other code, and trials that a notebook trains beside those of a sweep."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from monosweep.analysis.tables.root import Root, open_root
from monosweep.model import train
from monosweep.model.families import description_of
from monosweep.model.family import names
from monosweep.model.records import Losses
from monosweep.sweep import again
from monosweep.sweep.__main__ import main
from monosweep.sweep.store.root import Store
from monosweep.sweep.store.schema import config_in
from tests.sweep.test_own_family import TEXT


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
    kept = "kept      weights of 1 trial, trained again: bit-equal with the rows of results\n"
    assert capsys.readouterr().out == f"{kept}net.safetensors\nnet-setup.safetensors\n"
    bias = load_file("net.safetensors")["0.bias"]
    np.testing.assert_array_equal(_biases(root, row), bias)
    np.testing.assert_array_equal(root.weights(row["trial_id"])["bias"], bias)


def _biases(root: Root, row: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    sql = "from neurons where trial_id = ? and step = ? order by neuron"
    return root.sql(sql, [row["trial_id"], row["last_step"]])["bias"].to_numpy()


def test_a_sweeps_weights_are_kept_afterwards(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    """Of those that left none, pack by pack; who asks figures or metrics about them finds them."""
    rows = root.sql("from sweep('bare') order by trial_id").to_pylist()
    assert main(["weights", "results", rows[0]["trial_id"]]) == 0
    assert {row["trial_id"] for row in rows if _has_weights(root, row)} == {rows[0]["trial_id"]}, "of one of its pack"
    capsys.readouterr()
    assert main(["weights", "results", "--sweep", "bare"]) == 0
    said = capsys.readouterr()
    assert "weights of 3 trials, trained again: bit-equal" in said.out and "safetensors" not in said.out
    assert "3 of 4 trials have no weights" in said.err
    for row in rows:
        assert _has_weights(root, row)
        np.testing.assert_array_equal(root.weights(row["trial_id"])["bias"], _biases(root, row))
    assert main(["weights", "results", "--sweep", "bare"]) == 0
    assert capsys.readouterr().out == "nothing to train: the weights of 4 trials are in results\n"
    Path("to").mkdir()
    assert main(["weights", "results", "--sweep", "bare", "--to", "to"]) == 0
    assert {f"{row['trial_id']}.safetensors" for row in rows} <= {path.name for path in Path("to").iterdir()}


def _has_weights(root: Root, row: Mapping[str, Any]) -> bool:
    return (row["sweep"], row["pack_id"], row["trial_id"]) in root.with_weights([row["sweep"]])


def test_a_launch_that_asks_for_weights_says_who_left_none(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    again = ["launch", "tiny", "--executor", "inline", "--out", "results", "--set", "n_steps=64", "name=bare"]
    again += ["stop=step >= 8 and lr > 0.02", "bias_offset=-0.1", "save_weights=final"]
    assert main(again) == 0
    told = "weights   4 trials ended without leaving theirs: monosweep weights results --sweep bare\n"
    out = capsys.readouterr().out
    assert out.startswith("nothing to train") and told in out
    assert main(["weights", "results", "--sweep", "bare"]) == 0
    assert main(again) == 0 and "monosweep weights" not in capsys.readouterr().out


def test_weights_of_a_trial_that_is_another_now_are_not_kept(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    """Its row says another loss, in the last bit; its neighbours' are kept."""
    part = next((Path("results") / "trials" / "sweep=bare").iterdir())
    table = pq.read_table(part)
    loss = table["loss"].to_numpy().copy()
    loss[0] = np.nextafter(loss[0], 1)
    changed = table.set_column(table.column_names.index("loss"), "loss", [loss])
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), part)
    trial_id = table["trial_id"][0].as_py()
    assert main(["weights", "results", "--sweep", "bare"]) == 1
    out = capsys.readouterr().out
    assert f"not kept  {trial_id}: differs on the same hardware, code and library versions" in out
    assert "weights of 3 trials, trained again: bit-equal" in out
    rows = open_root("results").sql("from sweep('bare')").to_pylist()
    assert {row["trial_id"] for row in rows if not _has_weights(root, row)} == {trial_id}


@pytest.mark.parametrize("n_named", [1, 3])
def test_trials_that_train_in_the_vmapped_engine_are_trained_with_their_neighbours(
    n_named: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """How a stack is multiplied may depend on its size."""
    monkeypatch.chdir(tmp_path)
    Path("toy.py").write_text(TEXT)
    spec = 'base: {family: "toy.py:LinearAutoencoder", n_steps: 20, batch_size: 16}\nspace: {lr: {grid: [0.1, 0.2]}}\n'
    Path("toy.yaml").write_text(f"{spec}repeats: 3\n")
    assert main(["launch", "toy.yaml", "--out", "results", "--executor", "inline"]) == 0
    ids = open_root("results").sql("from trials order by trial_id")["trial_id"].to_pylist()[:n_named]
    capsys.readouterr()
    packs, watch_pack = list[int](), again.watch_pack

    def seen(configs: Any, *others: Any, **named: Any) -> Any:
        packs.append(len(configs))
        return watch_pack(configs, *others, **named)

    monkeypatch.setattr(again, "watch_pack", seen)
    assert main(["weights", "results", *ids]) == 0
    assert f"trained again: bit-equal with the rows of results\n{ids[0]}.safetensors" in capsys.readouterr().out
    assert packs == [6], "however few are asked for; so small a stack may have the same bits without them"


def test_mistakes_are_one_line(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    trial_id = root.sql("from sweep('tiny')")["trial_id"][0].as_py()
    for argv, complaint in (
        ([trial_id, "--to", "net.pt"], r"weights are written as \.safetensors; got 'net\.pt'"),
        ([trial_id, "--to", "no/net.safetensors"], r"cannot write 'no/net\.safetensors': No such file"),
        (["0123456789"], "no trial '0123456789' in"),
        ([], r"weights takes TRIAL_ID, or --sweep NAME .*; got neither"),
        (["--sweep", "bear"], r"'bear'.*bare"),
        (["--sweep", "bare", "--to", "net"], r"--to must be a folder .*; got 'net'; make it first"),
    ):
        assert main(["weights", "results", *argv]) == 2
        error = capsys.readouterr().err
        assert re.search(complaint, error) and error.count("\n") == 1, error

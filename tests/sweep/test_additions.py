"""Metrics and activations of a user's file, from the command line to rows: on both executors, replayed, and failing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monosweep.analysis.tables.root import open_root
from monosweep.model.config import ConfigError
from monosweep.model.families import source_of
from monosweep.sweep.__main__ import main
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.store.root import Store

TEXT = (Path(__file__).parents[1] / "families" / "additions.py").read_text()
SETS = ["--set", "family=additions.py:two_layer", "activation=[relu,leaky]", "n_steps=16", "repeats=2"]


def monosweep(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "monosweep.sweep", *argv]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A root of a preset with a user's functions, what that said on both streams; the file is gone."""
    folder = tmp_path_factory.mktemp("additions")
    (folder / "additions.py").write_text(TEXT)
    done = monosweep(folder, "launch", "tiny", *SETS, "--out", "results", "--executor", "inline")
    assert done.returncode == 0, done.stderr
    (folder / "additions.py").unlink()
    return folder / "results", done.stdout, done.stderr


def rows_of(root: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_root(str(root)).sql(sql).to_pylist()
    return found


def test_a_preset_takes_them_and_says_which_engine_trains(launched: tuple[Path, str, str]) -> None:
    root, out, err = launched
    assert "completed" in out and "tables trials, curves, neurons" in out
    assert "activation leaky is of additions.py: its trials train in the vmapped engine" in err
    rows = rows_of(root, "select * from trials")
    assert {row["family"] for row in rows} == {"additions.py:two_layer"}
    assert {(row["activation"], row["engine"]) for row in rows} == {("relu", "packed"), ("leaky", "vmapped")}
    assert all(row["largest_weight"] > 0 and isinstance(row["n_silent"], int) for row in rows)
    source = source_of("additions.py:two_layer")
    (digest,) = {row["family_digest"] for row in rows}
    assert len(digest) == 16 and (source is None or source.digest == digest)
    told = json.loads((root / "families" / f"additions.py-two_layer-{digest}.json").read_text())
    (column,) = (column for column in told["columns"]["trials"] if column["name"] == "n_silent")
    assert column["doc"] == "Neurons that no single feature wakes." and column["type"] == "int64"
    assert "ReLU that leaks a tenth." in str(told["columns"]["trials"])


def test_replay_needs_no_file(launched: tuple[Path, str, str], tmp_path: Path) -> None:
    for row in rows_of(launched[0], "select trial_id, activation from trials where seed = 0 and lr < 0.02"):
        done = monosweep(tmp_path, "replay", str(launched[0]), row["trial_id"])
        assert done.returncode == 0, done.stdout + done.stderr
        assert "largest_weight" in done.stdout and (row["activation"] == "leaky" or "\nbit-equal on" in done.stdout)


@pytest.mark.long
def test_ray_trains_the_same(launched: tuple[Path, str, str], tmp_path: Path) -> None:
    (tmp_path / "additions.py").write_text(TEXT)
    done = monosweep(tmp_path, "launch", "tiny", *SETS, "--out", "results", "--workers", "1")
    assert done.returncode == 0, done.stderr
    sql = "select trial_id, loss, largest_weight, n_silent, engine from trials order by all"
    assert rows_of(tmp_path / "results", sql) == rows_of(launched[0], sql)


LARGEST = "return max(p.abs().max() for p in params.values())"
BROKEN = {
    "metric": (LARGEST, 'return params["w_inn"].max()', "KeyError: 'w_inn'"),
    "word": (LARGEST, 'return "large"', "must be of type float; got large"),
    "activation": ("return torch.where(e > 0, e, 0.1 * e)", "return e if e.mean() > 0 else 0 * e", "RuntimeError: "),
    "file": ("return torch.where(e > 0, e, 0.1 * e)", 'return e * float(open("gone").read())', "FileNotFoundError: "),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_errors_are_the_trials_own_and_name_file_and_line(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, message = BROKEN[broken]
    assert old in TEXT
    (tmp_path / "additions.py").write_text(TEXT.replace(old, new))
    monkeypatch.chdir(tmp_path)
    sets = ["--set", "family=additions.py:two_layer", "activation=leaky", "n_steps=4", "repeats=1", "lr=0.01"]
    assert main(["launch", "tiny", *sets, "--out", "results", "--executor", "inline"]) == 1
    capsys.readouterr()
    for row in rows_of(tmp_path / "results", "select status, error from trials"):
        place = "" if broken == "word" else f" line {TEXT.splitlines().index('    ' + old) + 1}"
        assert row["status"] == "failed" and message in row["error"]
        assert row["error"].startswith(f"additions.py{place}: ")


def test_two_versions_stand_side_by_side(
    launched: tuple[Path, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "results"
    shutil.copytree(launched[0], root)
    (tmp_path / "additions.py").write_text(TEXT.replace("0.1 * e", "0.2 * e"))
    monkeypatch.chdir(tmp_path)
    before = Store.open(str(root)).asked("tiny").trial_ids
    assert main(["launch", "tiny", *SETS, "--out", "results", "--executor", "inline"]) == 0
    capsys.readouterr()
    by_digest = rows_of(root, "select family_digest, count(*) as n from trials group by all")
    assert [row["n"] for row in by_digest] == [len(before)] * 2


def test_a_program_names_them_as_a_spec_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "from_python.py").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    base = {"family": "mine/from_python.py:two_layer", "n_steps": 4}
    spec = SweepSpec(name="mine", base=base, space=[{"activation": {"grid": ["relu", "leaky"]}}])
    (tmp_path / "mine" / "from_python.py").unlink()
    assert [config.activation for config in expand(SweepSpec.from_json(spec.to_json()))] == ["relu", "leaky"]
    with pytest.raises(ConfigError, match="in a file that has not been read here; name the file's path"):
        SweepSpec(name="mine", base={"family": "other.py:two_layer"})

"""A family from a user's file, from its spec to its rows: launched by name, queried, replayed, edited, compacted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from monosweep.analysis.tables.root import open_root
from monosweep.model.families import config_of, register, source_of
from monosweep.model.families.source import Source
from monosweep.sweep.__main__ import main
from monosweep.sweep.plan.members import know_families
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.store.compact import _alike
from monosweep.sweep.store.root import Store
from monosweep.sweep.view.replay import Compared, verdict
from monosweep.sweep.work.contract import Settings
from monosweep.sweep.work.pack import train_pack

COMMAND = str(Path(sys.executable).parent / "monosweep")
TEXT = (Path(__file__).parents[1] / "families" / "linear_autoencoder.py").read_text()
NAME = "toy.py:LinearAutoencoder"
SPEC = """
base: {family: "FAMILY", n_steps: 40, batch_size: 32, lr: 0.02}
space:
  falloff: {grid: [0.6, 0.8]}
repeats: 2
"""


def monosweep(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *argv], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def write(folder: Path, text: str = TEXT, family: str = NAME) -> Path:
    """A spec, and the family beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy.py").write_text(text)
    (folder / "toy.yaml").write_text(SPEC.replace("FAMILY", family))
    return folder / "toy.yaml"


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A root with the toy and a sweep of two_layer, launched from elsewhere, and what that said; toy.py is gone."""
    folder = tmp_path_factory.mktemp("own")
    spec, elsewhere = write(folder / "mine"), folder / "elsewhere"
    elsewhere.mkdir()
    said = []
    for argv in ([str(spec)], ["tiny", "--set", "n_steps=16", "repeats=1"]):
        done = monosweep(elsewhere, "launch", *argv, "--out", "../results", "--executor", "inline")
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    (folder / "mine" / "toy.py").unlink()
    return folder / "results", said


@pytest.fixture
def root(launched: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A copy to work on."""
    shutil.copytree(launched[0], tmp_path / "results")
    return tmp_path / "results"


def query(root: Path, sql: str, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main(["query", str(root), sql, "--format", "json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_a_launch_names_the_tables_that_its_families_leave(launched: tuple[Path, list[str]]) -> None:
    toy, tiny = launched[1]
    assert "tables trials, curves, latents; sweep toy" in toy and "4 of 4 completed" in toy
    assert "tables trials, curves, neurons; sweep tiny" in tiny


def test_its_metrics_are_columns_and_its_tables_can_be_queried(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = query(root, "select family, falloff, explained_variance, n_latents, n_neurons, n_mono from trials", capsys)
    toys, others = ([row for row in rows if (row["family"] == NAME) is own] for own in (True, False))
    assert len(toys) == 4 and len(others) == 2
    assert all(row["n_neurons"] is row["n_mono"] is None and row["n_latents"] == 3 for row in toys)
    assert all(row["explained_variance"] is row["n_latents"] is row["falloff"] is None for row in others)
    assert all(-1 < row["explained_variance"] < 1 for row in toys) and {row["falloff"] for row in toys} == {0.6, 0.8}
    latents = "select count(*) as n, min(norm) > 0 as long from latents join sweep('toy') using (trial_id)"
    assert query(root, latents, capsys) == [{"n": 12, "long": True}]
    assert query(root, "select count(*) as n from sweep('toy')", capsys) == [{"n": 4}]
    curves = "select count(explained_variance) as own, count(n_mono) as other from curves"
    assert query(root, curves, capsys) == [{"own": 4 * 7, "other": 2 * 5}]


def test_replay_needs_no_file(root: Path, tmp_path: Path) -> None:
    (trial_id, *_) = Store.open(str(root)).asked("toy").trial_ids
    done = monosweep(tmp_path, "replay", "results", trial_id)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("bit-equal on this machine\n") and "explained_variance" in done.stdout


def test_ray_trains_the_same_and_launching_again_nothing(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, elsewhere = write(tmp_path / "mine"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = monosweep(elsewhere, "launch", str(spec), "--out", "on_ray", "--workers", "1")
    assert done.returncode == 0, done.stderr
    sql = "select trial_id, loss, explained_variance from sweep('toy') order by all"
    assert open_root(str(elsewhere / "on_ray")).sql(sql).to_pylist() == open_root(str(root)).sql(sql).to_pylist()
    for out in (root, elsewhere / "on_ray"):
        assert main(["launch", str(spec), "--out", str(out)]) == 0
        assert capsys.readouterr().out.startswith("nothing to train: all 4 trials")


EDITED = TEXT.replace(".mean()", ".mean() * 2")


def test_an_edited_file_is_another_family(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(str(root))
    before = store.asked("toy").trial_ids
    spec = write(tmp_path / "mine", TEXT.replace("import numpy", "# how to draw\nimport numpy"))
    argv = ["launch", str(spec), "--out", str(root), "--executor", "inline"]
    assert main(argv) == 0 and "nothing to train" in capsys.readouterr().out, "comments are no code"
    write(tmp_path / "mine", EDITED)
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "4 trials trained" in said.out and "sweep toy held another spec" in said.err
    after = store.asked("toy").trial_ids
    assert before < after and len(after) == 8
    assert main([*argv, "--unfinished"]) == 0 and "all 8 trials have" in capsys.readouterr().out
    # Each is replayed as it was trained, by its own version.
    for trial_id in (min(before), min(after - before)):
        assert main(["replay", str(root), trial_id]) == 0
        assert "bit-equal on this machine" in capsys.readouterr().out


def test_what_is_missing_of_an_older_version_is_trained_as_that(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(str(root))
    rows = "select trial_id, loss from sweep('toy') order by all"
    before = open_root(str(root)).sql(rows).to_pylist()
    register(Source("toy.py", "LinearAutoencoder", EDITED))
    for part in (root / "trials" / "sweep=toy").iterdir():
        part.unlink()
    know_families(store, "toy")
    meant = source_of(NAME)
    assert meant is not None and meant.digest == Source("toy.py", "LinearAutoencoder", TEXT).digest
    register(Source("toy.py", "LinearAutoencoder", EDITED))
    argv = ["launch", "tiny", "--set", "n_steps=16", "repeats=1", "name=toy", "--unfinished"]
    assert main([*argv, "--out", str(root), "--executor", "inline"]) == 0
    capsys.readouterr()
    assert [row for row in open_root(str(root)).sql(rows).to_pylist() if row in before] == before


def test_compaction_merges_and_loses_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sweep of two families, and of a third that has other columns in the same tables."""
    store = Store.open(str(root))
    odd = TEXT.replace("LinearAutoencoder", "Odd").replace("norm: ", "length: ").replace("falloff", "fall")
    register(Source("toy.py", "LinearAutoencoder", TEXT))
    odd = odd.replace('"norm"', '"length"').replace("explained_variance", "explained")
    register(Source("odd.py", "Odd", odd))
    for family in (NAME, "odd.py:Odd", "two_layer"):
        store.write_family(family)
        for seed in (10, 11):
            config = config_of({"family": family, "n_steps": 8, "batch_size": 8, "seed": seed, **SMALL.get(family, {})})
            train_pack(store, "mixed", Pack((config,)), Settings())
    before = shown(root)
    assert {len(before["trials"]), len(before["latents"])} == {12, 12 + 12}
    parts = sorted(path.name for path in (root / "trials" / "sweep=mixed").iterdir())
    assert main(["compact", str(root), "--grace-s", "0"]) == 0
    (merged,) = (root / "trials" / "sweep=mixed").iterdir()
    assert len(parts) == 6 and "merged" in merged.name
    assert shown(root) == before
    capsys.readouterr()
    assert main(["compact", str(root), "--grace-s", "0"]) == 0
    assert capsys.readouterr().out == "nothing to merge\n"


def test_parts_that_call_other_things_by_one_name_stay_apart() -> None:
    """As two launches that began at the same time might leave them."""
    made = {"a": {"x": [1]}, "b": {"x": [0.5]}, "c": {"y": [1]}, "d": {"X": [2]}, "e": {"x": [3], "Y": [1]}}
    assert _alike({name: pa.table(columns) for name, columns in made.items()}) == [["a", "c"], ["b"], ["d"], ["e"]]


@pytest.mark.parametrize(
    ("edits", "complaint"),
    [
        ({"explained_variance: float": "n_mono: float", '"explained_variance"': '"n_mono"'},
         r"column n_mono of trials is double in toy\.py:L.*, and n_mono int64 in two_layer, which this root holds too"),
        ({"falloff": "Seed"}, "trials has a column seed already"),
        ({"falloff": "device"}, "trials has a column device already"),
        ({'"latents"': '"weights"'}, "table 'weights' must be a word in small letters"),
    ],
)  # fmt: skip
def test_a_column_means_one_thing_in_a_root(
    edits: dict[str, str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TEXT
    for old, new in edits.items():
        text = text.replace(old, new)
    spec = write(tmp_path, text)
    spec.write_text(spec.read_text().replace("falloff", edits.get("falloff", "falloff")))
    assert main(["launch", str(spec), "--out", str(tmp_path / "out"), "--executor", "inline"]) == 2
    error = capsys.readouterr().err
    assert re.search(complaint, error) and error.count("\n") == 1, error


SMALL = {"two_layer": {"n_features": 8, "d_embed": 2, "n_neurons": 16, "feature_prob": 0.2}}


def shown(root: Path) -> dict[str, list[dict[str, Any]]]:
    views = open_root(str(root), lambda notice: None)
    tables = ("trials", "curves", "neurons", "latents", "asked")
    return {table: views.sql(f"select * from {table} order by all").to_pylist() for table in tables}


def test_its_trials_can_be_watched_but_have_no_neurons_to_draw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = str(write(tmp_path))
    assert main(["trial", spec, "--engine", "vmapped"]) == 0
    assert "explained_variance" in capsys.readouterr().out
    assert main(["trial", spec, "--plot", str(tmp_path / "r.png")]) == 2
    assert "--plot draws the neurons of two_layer networks; the trial is of" in capsys.readouterr().err


def test_status_and_figures_of_a_root_of_two_families(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(root)]) == 0
    assert capsys.readouterr().out == "tiny: 2/2 trials done (done)\ntoy: 4/4 trials done (done)\n"
    assert main(["figures", str(root), "summary", "--to", str(root / "figures")]) == 0
    assert (root / "figures" / "summary.png").exists()
    assert main(["figures", str(root), "--where", f"family = '{NAME}'"]) == 2
    assert "whose figures these are" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("family", "sets", "complaint"),
    [
        ("gone.py:Toy", [], r"family must name a Python file and a class in it; 'gone\.py': No such file"),
        ("toy.py:Toy", [], r"family toy\.py:Toy: toy\.py: unknown class 'Toy'; known: LinearAutoencoder"),
        ("toy.py:normal", [], r"toy\.py: normal must be a subclass of monosweep\.model\.Family"),
        (NAME, ["n_neurons=3"], r"unknown .*'n_neurons'"),
        (NAME, ["falloff=much"], r"falloff must be a number; got 'much'"),
    ],
)
def test_mistakes_are_one_line(
    family: str, sets: Sequence[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = write(tmp_path, family=family)
    option = ["--set", *sets] if sets else []
    assert main(["launch", str(spec), "--out", str(tmp_path / "out"), "--executor", "inline", *option]) == 2
    error = capsys.readouterr().err
    assert re.search(complaint, error) and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()


def test_a_replay_may_differ_in_the_last_bits_of_stacks() -> None:
    """And in nothing else, nor for any other engine."""
    here = {"device_name": "x", "code_version": "0.1.0", "library_versions": "torch 2"}
    row = {"status": "completed", "engine": "vmapped", "loss": 1.0, **here}
    near, far = Compared("loss", 1.0, 1.000001), Compared("loss", 1.0, 1.1)
    assert verdict(row, [near], here).text.startswith("differs in the last bits, as it may: the vmapped engine")
    assert not verdict(row, [far], here).ok and not verdict({**row, "engine": "packed"}, [near], here).ok
    assert not verdict(row, [near, Compared("last_step", 3, 4)], here).ok

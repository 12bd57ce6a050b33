"""Metrics computed afterwards: as training would have, beside rows that stay as they are, and again after an edit."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from monosweep.analysis.tables.root import open_root
from monosweep.model.families import register
from monosweep.model.families.source import Source
from monosweep.sweep.__main__ import main

FAMILIES = Path(__file__).parents[1] / "families"
TEXT = (FAMILIES / "additions.py").read_text()
TOY = (FAMILIES / "linear_autoencoder.py").read_text()
TMS = ["launch", "tms/intro", "--set", "n_steps=16", "repeats=1", "feature_prob=0.2", "save_weights=final"]
TMS += ["--executor", "inline", "--out"]
SHORT = ["--set", "n_steps=16", "bias_offset=-0.3", "--executor", "inline", "--out"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of two sweeps that have kept weights, a third of both families that has them trained with the metrics."""
    root = tmp_path_factory.mktemp("measure") / "results"
    for family in ("two_layer", "superposition"):
        register(Source("additions.py", family, TEXT))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root.parent)
        (root.parent / "additions.py").write_text(TEXT)
        assert main(["launch", "tiny", *SHORT, str(root)]) == 0
        assert main([*TMS, str(root)]) == 0
        in_training = ["name=with", "save_weights=none"]
        assert main(["launch", "tiny", *SHORT, str(root), "--set", "family=additions.py:two_layer", *in_training]) == 0
        tms = ["--set", "family=additions.py:superposition", "name=with2", "save_weights=none"]
        assert main([*TMS, str(root), *tms]) == 0
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work on, from where the file lies as mine.py."""
    shutil.copytree(trained, tmp_path / "results")
    (tmp_path / "mine.py").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def ask(root: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_root(str(root), lambda notice: pytest.fail(notice)).sql(sql).to_pylist()
    return found


def test_it_is_as_training_reports_it_and_rows_stay_as_they_are(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bit for bit, in both families; then compacted, and measured again."""
    before = ask(root, "select * from trials order by all")
    assert main(["measure", "results", "mine.py"]) == 0
    said = capsys.readouterr().out
    assert "5 trials measured: table mine" in said
    assert ask(root, "select * from trials order by all") == before
    shared = "lr, seed, largest_weight, n_silent"
    trained_so = f"select {shared} from trials where family like 'additions.py:%' order by all"
    measured = "select lr, seed, m.* from trials t join mine m using (trial_id)"
    measured = f"select {shared} from ({measured}) order by all"
    expected = ask(root, trained_so)
    assert len(expected) == 5 and ask(root, measured) == expected
    assert len({row["largest_weight"] for row in expected}) == 5
    assert [row["n_silent"] is None for row in expected].count(True) == 1, "superposition has no neurons"
    command = re.search(r'monosweep query results "(.*)"', said)
    assert command and len(ask(root, command[1])) == 5
    assert main(["compact", "results", "--grace-s", "0"]) == 0 and ask(root, measured) == expected
    assert main(["measure", "results", "mine.py"]) == 0 and ask(root, measured) == expected
    assert [len(list(folder.iterdir())) for folder in (root / "mine").iterdir()] == [1, 1]
    assert main(["launch", "tiny", *SHORT, "results"]) == 0 and "nothing to train" in capsys.readouterr().out


def test_an_edited_file_and_more_trials_take_the_place_of_what_was_measured(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["measure", "results", "mine.py", "--sweep", "tiny"]) == 0
    (before,) = ask(root, "select digest, count(*) as n, min(largest_weight) as least from mine group by all")
    (root.parent / "mine.py").write_text(TEXT.replace("max(p.abs()", "2 * max(p.abs()"))
    assert main(["launch", "tiny", *SHORT, "results", "--set", "repeats=3"]) == 0
    assert main(["measure", "results", "mine.py", "--sweep", "tiny"]) == 0
    (after,) = ask(root, "select digest, count(*) as n, min(largest_weight) as least from mine group by all")
    assert len(list((root / "mine" / "sweep=tiny").iterdir())) == 1
    assert after["n"] == before["n"] + 2 and after["digest"] != before["digest"]
    assert after["least"] <= 2 * before["least"] and after["least"] > before["least"]
    (root.parent / "mine.py").write_text(TEXT.replace(") -> int:", ") -> float:"))
    capsys.readouterr()
    assert main(["measure", "results", "mine.py"]) == 2
    assert "mine.py: n_silent was int64 before, and is double; give it another name" in capsys.readouterr().err


def test_a_metric_that_raises_says_where_and_the_others_are_written(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TEXT.replace("return max(p", 'assert config.lr < 0.01, "too fast"\n    return max(p')
    (root.parent / "mine.py").write_text(text)
    line = text.splitlines().index('    assert config.lr < 0.01, "too fast"') + 1
    assert main(["measure", "results", "mine.py", "--sweep", "tiny"]) == 1
    said = f"mine.py line {line}: AssertionError: too fast"
    assert capsys.readouterr().err.count(said) == 2
    rows = ask(root, "select lr, mine.largest_weight, failure from mine join trials using (trial_id)")
    assert {(row["lr"], row["largest_weight"] is None, row["failure"]) for row in rows} == {
        (0.03, True, said), (0.003, False, None),
    }  # fmt: skip


def test_every_step_at_which_weights_were_kept_is_measured_of_a_users_own_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = '\n\n@metric("toy.py:LinearAutoencoder")\ndef again(config, params, fixed):\n    """As in `curves`."""\n'
    metric += "    return LinearAutoencoder.curve(config, params, fixed)['explained_variance']\n"
    monkeypatch.chdir(tmp_path)
    Path("toy.py").write_text(TOY)
    Path("once_more.py").write_text(TOY.replace("TrialConfig, ", "TrialConfig, metric, ") + metric)
    spec = 'base: {family: "toy.py:LinearAutoencoder", n_steps: 20, batch_size: 16}\nsave_weights: log2\n'
    Path("toy.yaml").write_text(spec)
    assert main(["launch", "toy.yaml", "--executor", "inline"]) == 0
    assert main(["measure", "results", "once_more.py"]) == 0
    sql = "select step, again, explained_variance from once_more join curves using (trial_id, step) order by step"
    rows = ask(Path("results"), sql)
    assert [row["step"] for row in rows] == [1, 2, 4, 8, 16, 20]
    assert all(row["again"] == row["explained_variance"] for row in rows)


@pytest.mark.parametrize(
    ("name", "text", "options", "complaint"),
    [
        ("gone.py", None, [], r"FILE must be a Python file with metrics; 'gone\.py': No such file"),
        ("mine.py", "x = 1\n", [], r"mine\.py has no metric; decorate a function"),
        ("mine.py", TEXT, ["--sweep", "with"], "no trials of two_layer, superposition that with has trained have"),
        ("mine.py", TEXT, ["--sweep", "tni"], "no sweep 'tni' in .*; known: tiny"),
        ("features.py", TEXT, [], r"features\.py would fill the table features, which has rows of training"),
        ("My-file.py", TEXT, [], "table 'My-file' must be a word in small letters"),
        ("mine.py", "1 / 0\n", [], r"mine\.py line 1: ZeroDivisionError"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    name: str, text: str | None, options: list[str], complaint: str, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (root.parent / name).write_text(text)
    assert main(["measure", "results", name, *options]) == 2
    error = capsys.readouterr().err
    assert re.search(complaint, error) and error.count("\n") == 1, error
    assert not (root / Path(name).stem).exists() or name == "features.py"

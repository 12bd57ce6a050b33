"""`monosweep new` writes a family that trains as it stands, with its spec, and nothing over what is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from monosweep.sweep.__main__ import main


def test_what_is_written_trains_and_can_be_queried_by_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "my_toy.py"]) == 0
    said = capsys.readouterr().out
    launch, query = re.findall(r"monosweep (.*)", said)
    assert "class MyToy(Family)" in Path("my_toy.py").read_text()
    assert main([*shlex.split(launch), "--set", "n_steps=1024", "--executor", "inline"]) == 0
    told = capsys.readouterr().out
    assert "6 trials trained" in told and "tables trials, curves, my_toy_features" in told
    assert main(shlex.split(query)) == 0
    assert re.search(r"noise +interference\n.*\n +0\.0 +\d\.\d+\n +0\.1 +\d\.\d+\n +0\.3 ", capsys.readouterr().out)
    # A network that answers 0 has a loss of 6 · .1 / 3 = .2.
    sql = "select loss < 0.05 and n_represented = 6 and n = 6 as right, optimizer from trials "
    sql += "join (select trial_id, count(*) as n from my_toy_features group by all) using (trial_id) where noise = 0"
    assert main(["query", "results", sql, "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines() == ["right,optimizer", "true,Adam", "true,Adam"]
    lines = [line for path in ("my_toy.py", "my_toy.yaml") for line in Path(path).read_text().splitlines()]
    assert max(map(len, lines)) <= 120 and not any("{stem}" in line or "{name}" in line for line in lines)


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("there.py", "there.py is there already, and is not written over; give another name"),
        ("spec.py", "spec.yaml is there already"),
        ("My-toy.py", "FILE must be a word in small letters that ends in .py, such as my_toy.py; got 'My-toy.py'"),
        ("toy", "FILE must be a word in small letters"),
        ("no/toy.py", "cannot write 'no/toy.py': No such file or directory"),
    ],
)
def test_nothing_is_written_over(
    path: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.py").write_text("mine")
    Path("spec.yaml").write_text("mine")
    assert main(["new", path]) == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {"there.py": "mine", "spec.yaml": "mine"}

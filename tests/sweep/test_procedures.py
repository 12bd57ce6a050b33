"""Sweeps of plain functions: the same launches, searches, judges and replays, without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from monosweep.analysis.tables.root import open_root
from monosweep.sweep.__main__ import main
from monosweep.sweep.plan.packs import SHORT_PACK_S
from monosweep.sweep.spec.sweep_spec import expand, load_spec

FAMILY = Path(__file__).parents[1] / "families" / "guesses.py"
SPEC = f"""
base: {{family: "{FAMILY}:Guesses", n_steps: 64}}
space: {{width: {{grid: [1, 2, 4, 8]}}, trouble: {{grid: [none, raises]}}}}
repeats: 2
"""
JUDGED = SPEC.replace(", raises", "") + "scheduler: {name: halving, grace_period: 8}\nobjectives: {loss: min}\n"
SEARCHED = f"""
base: {{family: "{FAMILY}:Guesses", n_steps: 64}}
space: {{width: {{uniform: [1, 8]}}}}
num_samples: 6
search: optuna
scheduler: {{name: median, grace_period: 8}}
objectives: {{loss: min}}
"""


def launch(folder: Path, name: str, text: str, *more: str) -> int:
    (folder / f"{name}.yaml").write_text(text)
    out = str(folder / "results")
    return main(["launch", str(folder / f"{name}.yaml"), "--out", out, "--executor", "inline", *more])


def rows(folder: Path, sql: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = open_root(str(folder / "results")).sql(sql).to_pylist()
    return found


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root, made by a process that then says whether it has loaded torch."""
    folder = tmp_path_factory.mktemp("procedures")
    (folder / "guess.yaml").write_text(SPEC)
    code = (
        "import sys; from monosweep.sweep.__main__ import main; "
        "main(['launch', 'guess.yaml', '--out', 'results', '--executor', 'inline']); "
        "print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
    return folder


def test_a_row_a_trial_and_no_torch(swept: Path) -> None:
    found = rows(swept, "from trials")
    assert len(found) == 16 and {row["engine"] for row in found} == {"function"}
    done = [row for row in found if row["status"] == "completed"]
    assert {row["trouble"] for row in done} == {"none"} and len(done) == 8
    assert all(row["lr"] is None and row["device"] == "cpu" for row in done)
    assert all("scipy" in row["library_versions"] and "torch" not in row["library_versions"] for row in found)
    by_seed: dict[int, list[float]] = {}
    for row in sorted(done, key=lambda row: row["width"]):
        by_seed.setdefault(row["seed"], []).append(row["loss"])
    assert all(losses == [losses[0] * k for k in (1, 2, 4, 8)] for losses in by_seed.values())
    (better,) = rows(swept, "select count(*) as n from better join trials using (trial_id) where status = 'completed'")
    assert better["n"] == sum(row["n_better"] for row in done)
    curve = rows(swept, f"from curves where trial_id = '{done[0]['trial_id']}' order by step")
    assert [row["step"] for row in curve] == [1, 2, 4, 8, 16, 32, 64] and curve[-1]["loss"] == done[0]["loss"]
    errors = {row["error"] for row in found if row["status"] == "failed"}
    assert len(errors) == 1 and errors.pop().endswith("ValueError: five")


def test_launching_again_trains_what_is_missing(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = SPEC.replace("repeats: 2", "repeats: 3").replace(", raises", "")
    assert launch(swept, "guess", more, "--dry-run") == 0
    assert "4 trials" in capsys.readouterr().out


def test_a_row_is_replayed(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = rows(swept, "from trials where status = 'completed' order by trial_id limit 1")
    assert main(["replay", str(swept / "results"), row["trial_id"]]) == 0
    said = capsys.readouterr().out
    assert "n_better" in said and "7 recorded steps, bit-equal" in said and said.endswith("bit-equal on this machine\n")
    assert main(["weights", str(swept / "results"), row["trial_id"]]) == 2
    assert "are no networks: they have neither weights nor responses" in capsys.readouterr().err


@pytest.mark.parametrize("text", [JUDGED, SEARCHED], ids=["halving", "optuna"])
def test_who_is_worse_is_stopped_and_shows_what_a_smaller_budget_gives(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert launch(tmp_path, "judged", text) == 0
    found = rows(tmp_path, "from trials")
    stopped = [row for row in found if row["status"] == "stopped"]
    assert {row["status"] for row in found} == {"completed", "stopped"} and len(found) in (6, 8)
    assert all(row["last_step"] in (8, 16, 32) for row in stopped)
    capsys.readouterr()
    assert main(["replay", str(tmp_path / "results"), stopped[0]["trial_id"]]) == 0
    assert "bit-equal on this machine" in capsys.readouterr().out


def test_it_is_for_the_processor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch(tmp_path, "guess", SPEC, "--device", "cuda") == 2
    assert capsys.readouterr().err == "monosweep: trials of guesses.py:Guesses are for --device cpu; got cuda\n"


def test_short_trials_share_packs(tmp_path: Path) -> None:
    from monosweep.sweep.plan.packs import make_packs

    (tmp_path / "many.yaml").write_text(SPEC.replace("repeats: 2", "repeats: 100"))
    packs = make_packs(
        expand(load_spec(str(tmp_path / "many.yaml"))), pack_size="auto", n_workers=2, memory_bytes=2**34,
        footprint=lambda config: (0, 1),
    )  # fmt: skip
    assert sum(len(pack.configs) for pack in packs) == 800 and 2 <= len(packs) <= 16
    assert SHORT_PACK_S > 1


def test_metrics_are_for_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.py").write_text(FAMILY.read_text().replace("class Guesses(Procedure)", "class Guesses(Family)"))
    text = SPEC.replace(str(FAMILY), str(tmp_path / "bad.py"))
    assert launch(tmp_path, "bad", text) == 2
    assert "NameError: name 'Family' is not defined" in capsys.readouterr().err
    imports = (tmp_path / "bad.py").read_text().replace("import generator", "import Family, generator")
    for method in ("start", "sample", "loss"):
        imports += f"\n    @classmethod\n    def {method}(cls, *given): ...\n"
    cut = imports.index("\n\ndef trouble")
    end = imports.index("\n    @classmethod\n    def start")
    (tmp_path / "bad.py").write_text(imports[:cut] + imports[end:] + imports[cut:end])
    assert launch(tmp_path, "bad", text) == 2
    assert "Guesses is a Family, whose Config is a TrialConfig; got a ProcedureConfig" in capsys.readouterr().err

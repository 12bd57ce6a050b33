"""The verbs of `sweep` and the front door, as a user types them."""

from __future__ import annotations

import io
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from monosweep.sweep.__main__ import VERBS, main
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.spec.sweep_spec import expand, load_spec
from monosweep.sweep.store.root import Store
from monosweep.sweep.version import code_version
from monosweep.sweep.work.contract import Settings
from monosweep.sweep.work.pack import train_pack

COMMAND = str(Path(sys.executable).parent / "monosweep")
FAST = ["--set", "n_steps=32"]
HUGE = ["--set", "n_neurons=2147483648", "n_features=64", "d_embed=64"]
"""Half a terabyte of weights: refused at once, on any machine that runs tests."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results root with the four trials of `tiny`, and one that diverged."""
    path = tmp_path_factory.mktemp("results")
    store = Store.create(str(path))
    train_pack(store, "tiny", Pack(tuple(expand(load_spec("tiny")))), Settings(save_weights="final"))
    train_pack(store, "wild", Pack(tuple(expand(load_spec("tiny", ["lr=1e6", "repeats=1"])))), Settings())
    return path


@pytest.fixture
def doctored(root: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the root in which some columns of one table have another value in every row."""

    def copy(table: str = "trials", **values: Any) -> Path:
        shutil.copytree(root, tmp_path, dirs_exist_ok=True)
        for part in (tmp_path / table).rglob("*.parquet"):
            rows = pq.read_table(part, partitioning=None)
            for name, value in values.items():
                field = rows.schema.field(name)
                column = pa.array([value] * len(rows), field.type)
                rows = rows.set_column(rows.schema.get_field_index(name), field, column)
            pq.write_table(rows, part)
        return tmp_path

    return copy


def trial_id(sweep: str = "tiny", *overrides: str) -> str:
    return expand(load_spec("tiny", overrides))[0].trial_id


def run(*argv: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [COMMAND, *argv]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)


# -- the front door, as a process


def test_help_lists_every_verb() -> None:
    done = run("--help")
    assert done.returncode == 0
    for name, verb in VERBS.items():
        assert f"  {name} " in done.stdout
        assert verb.help in done.stdout


def test_without_a_verb_it_shows_the_help_and_fails() -> None:
    done = run()
    assert done.returncode == 2
    assert "usage: monosweep VERB" in done.stdout


def test_version() -> None:
    assert run("--version").stdout.startswith("monosweep 0.")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["lunch"], "unknown verb 'lunch'; did you mean 'launch'?; see monosweep --help"),
        (["trial", "quik"], "unknown preset 'quik'; did you mean 'quick'? (or give a YAML file's path)"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(argv: list[str], line: str) -> None:
    done = run(*argv)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"monosweep: {line}\n")


def test_a_closed_pipe_is_quiet() -> None:
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    assert reader.stdin is not None
    done = subprocess.run([COMMAND, "presets"], stdout=reader.stdin, stderr=subprocess.PIPE, timeout=300, check=False)
    reader.stdin.close()
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_is_one_line_and_status_130() -> None:
    with subprocess.Popen(
        [COMMAND, "trial", "quick", "--set", "n_steps=1e7"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().split()[:2] == ["step", "loss"]
        process.send_signal(signal.SIGINT)
        assert process.stderr.readlines()[-1] == "monosweep: interrupted\n"
        assert process.wait(timeout=300) == 130


def test_the_debugger_opens_before_the_step_that_goes_wrong() -> None:
    """The solo engine then stands at the top of its step function, one step short of the overflow."""
    done = run("trial", "tiny", "--set", "lr=1e6", "--pdb", stdin="p self.step, self.name\nq\n")
    announced = re.search(r"step (\d+) makes the loss or a parameter non-finite", done.stderr)
    assert announced
    assert f"({int(announced[1]) - 1}, 'solo')" in done.stdout
    assert "train_step()" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


def test_a_diverged_row_is_debugged_by_its_id(root: Path) -> None:
    """Its row is of the packed engine, and the debugger stands in the solo engine: where it was told to, and where the
    row went wrong."""
    row = Store.open(str(root)).trial_row(trial_id("wild", "lr=1e6"))
    typed = "p self.name, self.step, self.config.lr\nc\n" * 2
    done = run("trial", str(root), row["trial_id"][:7], "--pdb", "--break-at", "5", stdin=typed)
    assert f"trial {row['trial_id']} of {root}: diverged, {row['error']}\n" in done.stderr
    assert "\nstep 5; the debugger stops on entering it:\n" in done.stderr
    found = re.search(r"step (\d+) makes the loss or a parameter non-finite \(diverged: (.*)\); the debug", done.stderr)
    assert found and found[2] == row["error"] and row["engine"] == "packed"
    first, second = re.findall(r"\('solo', (\d+), 1000000.0\)", done.stdout)
    assert (int(first), int(second)) == (4, int(found[1]) - 1)
    assert done.stdout.endswith(f"diverged: {row['error']}\n") and done.returncode == 1


def test_what_is_looked_at_in_the_debugger_does_not_change_the_trial(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Store.open(str(root)).trial_row(trial_id())
    monkeypatch.setattr("sys.stdin", io.StringIO("w\nc\n"))
    assert main(["trial", str(root), row["trial_id"], "--break-at", "100"]) == 0
    out, err = capsys.readouterr()
    before, _, after = out.partition("(Pdb)")
    assert "step 100; the debugger stops on entering it:\n" in err
    assert "\n         64 " in before and "\n        128 " not in before and "        128 " in after
    assert re.search(rf"^loss +{row['loss']:.6g}, least {row['min_loss']:.6g}$", after, re.M)


def test_leaving_at_a_named_step_ends_the_trial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("w\nq\n"))
    assert main(["trial", "tiny", "--break-at", "3", "--engine", "packed"]) == 130
    out, err = capsys.readouterr()
    assert "engines/cpu/pack.py" in out and err.endswith("monosweep: left in the debugger at step 3\n")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["tiny", "--break-at", "0"], "--break-at must lie in 1 … 256, the steps of the trial; got 0"),
        (["ROOT", "ID", "--break-at", "257"], "--break-at must lie in 1 … 256, the steps of the trial; got 257"),
        (["ROOT", "ID", "--set", "lr=1"], "--set is about the trials of a SPEC; ID is trained as its row in ROOT says"),
        (["ROOT", "ID", "--index", "2"], "--index is about the trials of a SPEC"),
        (["ROOT", "ffffffff"], "no trial 'ffffffff' in "),
        (["ROOT"], "ROOT is a results root; name one of its trials after it, or give a preset or a YAML file"),
    ],
)
def test_what_cannot_be_debugged_is_one_line(
    root: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {"ROOT": str(root), "ID": trial_id()}
    assert main(["trial", *(known.get(word, word) for word in argv)]) == 2
    for name, value in known.items():
        message = message.replace(name, value)
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"monosweep: {message}")


def test_the_debugger_opens_where_an_exception_was_raised() -> None:
    done = run("trial", "tiny", *HUGE, "--pdb", stdin="p 6 * 7\nq\n")
    assert "the debugger stands where it was raised" in done.stderr
    assert "42" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("monosweep: the trial could not be trained: ")
    assert done.returncode == 2


# -- presets


def test_presets_are_listed_with_their_trials(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "trials", "what", "it", "shows"]
    assert ["quick", "16"] in [line.split()[:2] for line in lines]


# -- trial


def test_trial_prints_recorded_steps_and_the_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trial", "tiny", "--set", "n_steps=24", "seed=5", "--index", "2", "--engine", "solo"]) == 0
    out, err = capsys.readouterr()
    steps = [line.split()[0] for line in out.split("\n\n")[0].splitlines()[1:]]
    assert steps == ["1", "2", "4", "8", "16", "24"]
    assert "monosemantic   " in out.split("\n\n")[1]
    assert "of tiny, 2 of 4" in err
    assert "solo engine on cpu" in err


def test_both_engines_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    outs = []
    for engine in ("solo", "packed"):
        assert main(["trial", "tiny", "--set", "n_steps=8", "precision=fp64", "--engine", engine]) == 0
        outs.append(capsys.readouterr().out)
    assert outs[0] == outs[1]


def test_a_trial_that_diverges_says_when(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trial", "tiny", "--set", "lr=1e6"]) == 1
    assert re.search(r"^diverged: .* became non-finite (at|by) step \d+$", capsys.readouterr().out, re.M)


def test_plot_draws_the_response_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "map.png"
    assert main(["trial", "tiny", *FAST, "--plot", str(target)]) == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.endswith(f"{target}\n")


def test_a_plot_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map.png").mkdir()
    assert main(["trial", "tiny", *FAST, "--plot", str(tmp_path / "map.png")]) == 2
    assert "map.png" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--index", "5"], "--index must lie in 1 … 4, the trials of tiny; got 5"),
        (["--index", "0"], "--index must lie in 1 … 4, the trials of tiny; got 0"),
        (["--engine", "fast"], "--engine must be one of 'auto', 'solo', 'packed', 'vmapped'; got 'fast'"),
        (["--sed", "1"], "unknown option '--sed'; did you mean '--set'?"),
        (["--set"], "--set needs a value"),
        (["--set", "lr"], "--set takes key=value, as in --set lr=0.01; got 'lr'"),
        (["--set", "lr=-1"], "lr must be above 0; got -1.0"),
        (["--set", "optimizer=Lamp"], "unknown optimizer 'Lamp'; did you mean 'Lamb'?"),
        (["--set", "optimizer=RAdam", "--engine", "packed"], "no packed engine trains two_layer with optimizer RAdam"),
        (["--plot", "map.gif"], "--plot takes a file that ends in .png, .pdf, .svg; got 'map.gif'"),
        (["--plot", "/no/such/map.png"], "--plot cannot write '/no/such/map.png': no folder '/no/such'"),
        (["--set", "lr=1e6", "--plot", "map.png"], "--plot needs the weights of a completed trial"),
        (HUGE, "the trial could not be trained: MemoryError: "),
    ],
)
def test_a_trial_that_cannot_be_is_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trial", "tiny", *argv]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


# -- replay


def test_a_replay_is_bit_equal_on_this_machine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The row was trained in a pack of four; the replay trains alone."""
    assert main(["replay", str(root), trial_id()[:8]]) == 0
    out = capsys.readouterr().out
    assert out.endswith("curve: 9 recorded steps, bit-equal\nbit-equal on this machine\n")
    compared = {line.split()[0]: line.split()[-1] for line in out.split("\n\n")[1].splitlines()[1:-2]}
    assert set(compared) >= {"status", "loss", "n_mono", "features_by_n_mono", "capacity_sum"}
    assert set(compared.values()) == {"yes"}


def test_a_diverged_trial_replays_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(root), trial_id("wild", "lr=1e6")]) == 0
    out = capsys.readouterr().out
    assert "diverged" in out
    assert "bit-equal on this machine" in out


def test_a_row_from_elsewhere_may_differ(doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = doctored(loss=0.125, device_name="another processor")
    assert main(["replay", str(path), trial_id()]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("differs, as it may: another processor there, ")


@pytest.mark.parametrize("there", ["0.1.0", "0.1.0+src.0123456789ab.git.7ff8610"])
def test_a_row_of_other_code_may_differ(
    doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str], there: str
) -> None:
    assert main(["replay", str(doctored(loss=0.125, code_version=there)), trial_id()]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"differs, as it may: trained by other code ({there}; this is {code_version()})"


def test_the_same_sources_from_another_commit_are_the_same_code(
    doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    there = f"{code_version().partition('.git.')[0]}.git.0123456"
    assert main(["replay", str(doctored(loss=0.125, code_version=there)), trial_id()]) == 1
    assert "must not happen" in capsys.readouterr().out


def test_equal_numbers_from_elsewhere_are_said_to_be(
    doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(doctored(library_versions="python 3.1.0, torch 1.0")), trial_id()]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("bit-equal with a row that came from elsewhere: python 3.1.0, torch 1.0 there")


def test_a_row_that_differs_here_is_an_alarm(doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(doctored(loss=0.125)), trial_id()]) == 1
    out = capsys.readouterr().out
    assert "differs on the same hardware, code and library versions, which must not happen" in out
    (line,) = [line for line in out.splitlines() if line.startswith("loss")]
    _, row, now, difference, equal = line.split()
    assert (row, equal) == ("0.125", "no")
    assert float(difference) == float(now) - 0.125


def test_a_curve_that_differs_is_an_alarm(doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(doctored("curves", mean_bias=0.5)), trial_id()]) == 1
    out = capsys.readouterr().out
    assert "curve: 9 of 63 numbers differ, first mean_bias at step 1: 0.5 in the row" in out


def test_a_row_names_its_engine_and_how_a_gpu_was_made_to_train(
    doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(doctored(engine="packed, fused, captured")), trial_id()]) == 0
    assert capsys.readouterr().out.endswith("bit-equal on this machine\n")


def test_a_failed_row_has_nothing_to_compare(doctored: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = doctored(status="failed", error="MemoryError: too large", loss=None, last_step=0)
    assert main(["replay", str(path), trial_id()]) == 0
    reason = "the row is of a failed trial (MemoryError: too large); now it is completed"
    assert capsys.readouterr().out.endswith(f"nothing to compare: {reason}\n")


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("ffffffffffffffff", "no trial 'ffffffffffffffff' in "),
        ("0", "a trial id is given with 6 digits or more; got '0'"),
    ],
)
def test_an_unknown_trial_id_is_one_line(
    root: Path, which: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(root), which]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_results_root_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["replay", str(tmp_path), "abcdef"], ["status", str(tmp_path)]):
        assert main(argv) == 2
        assert "a results root holds monosweep.json" in capsys.readouterr().err


# -- status


def test_status_counts_the_trials(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store.open(str(root)).write_spec("tiny", load_spec("tiny", ["repeats=3"]).to_json())
    assert main(["status", str(root)]) == 0
    assert capsys.readouterr().out == "tiny: 4/6 trials done (unfinished)\n"


def test_status_of_an_empty_root_says_how_to_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Store.create(str(tmp_path / "new"))
    assert main(["status", str(tmp_path / "new")]) == 0
    assert "monosweep launch SPEC --out" in capsys.readouterr().out


def test_rows_of_the_root_are_what_a_replay_reads(root: Path) -> None:
    """Guards the fixture: four completed trials and a diverged one, each once."""
    parts = list((root / "trials").rglob("*.parquet"))
    rows = pa.concat_tables([pq.read_table(part, partitioning=None) for part in parts])
    assert sorted(rows["status"].to_pylist()) == ["completed"] * 4 + ["diverged"]
    assert pc.count_distinct(rows["trial_id"]).as_py() == 5


# -- launch


def launch(out: Path, *argv: str) -> list[str]:
    return ["launch", "tiny", "--out", str(out), "--executor", "inline", *FAST, *argv]


def test_launch_trains_what_is_missing_and_says_what_to_type_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results"
    assert main(launch(out)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("4 trials trained in ")
    assert lines[0].endswith(": 4 of 4 completed")
    assert lines[1] == f"rows      {out}: tables trials, curves, neurons; sweep tiny"
    assert lines[2] == f"query     monosweep query {out} \"from sweep('tiny')\""
    assert main(launch(out)) == 0
    assert capsys.readouterr().out.splitlines()[0] == "nothing to train: all 4 trials have their rows"
    assert main(launch(out, "--set", "repeats=3")) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("2 trials trained in ")
    assert first.endswith("; 4 were there before: 6 of 6 completed")


def test_a_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(launch(tmp_path / "results", "--dry-run", "--pack-size", "3")) == 0
    out = capsys.readouterr().out
    assert out.startswith("would train 4 trials, 128 model-steps, in 2 packs: 1 at a time on cpu, in about ")
    assert not (tmp_path / "results").exists()


def test_a_failed_trial_is_reported_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    status = main(launch(out, "--set", "lr=0.01", "repeats=1", *HUGE[1:], "--pack-size", "1"))
    lines = capsys.readouterr().out.splitlines()
    assert status == 1
    assert lines[0].endswith(": 0 of 1 completed, 1 failed")
    assert "status = 'failed'" in lines[2]
    assert lines[3] == "again     launch with --retry-failed"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--workers", "0"], "--workers must be auto or a whole number above 0; got '0'"),
        (["--workers", "two"], "--workers must be auto or a whole number above 0; got 'two'"),
        (["--pack-size", "big"], "--pack-size must be auto or a whole number above 0; got 'big'"),
        (["--executor", "slurm"], "--executor must be one of"),
        (["--set", "optimizer=Lamp"], "unknown optimizer 'Lamp'; did you mean 'Lamb'?"),
        (["--out", "/dev/null"], "/dev/null"),
    ],
)
def test_a_launch_that_cannot_be_is_one_line(
    tmp_path: Path, argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(launch(tmp_path / "results", *argv)) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1

"""`monosweep query` and `monosweep figures` as commands: streams, exit status, files, what they import."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from monosweep.analysis.cli import OutputError, query
from monosweep.sweep.parse import OptionError
from monosweep.sweep.store.schema import columns

from .conftest import Made

MONOSWEEP = [sys.executable, "-m", "monosweep.sweep"]
ALL = "select trial_id, lr, bias_offset, mono_per_feature from trials order by all"


def command(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*MONOSWEEP, *argv], capture_output=True, text=True, timeout=300)


def test_a_query_prints_a_table(quick: Made, capsys: pytest.CaptureFixture[str]) -> None:
    question = "select lr, round(avg(mono_per_feature), 2) mono from trials where bias_offset = 0 group by 1 order by 1"
    assert query([str(quick.path), question]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == ["   lr  mono", "-----  ----", "0.003  0.02"]


def test_results_go_to_stdout_and_remarks_to_stderr(troubled: Made) -> None:
    (troubled.path / "trials" / "sweep=quick" / "part-z.parquet").write_bytes(b"")
    ran = command("query", str(troubled.path), "select lr from trials where lr = 77", "--format", "json")
    assert (ran.returncode, ran.stdout) == (0, "[]\n")
    left_out, no_rows = ran.stderr.splitlines()
    assert left_out.startswith("monosweep: left out trials/sweep=quick/part-z.parquet")
    assert no_rows == "monosweep: no rows"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("{root}", "select nope from trials"), 'column "nope" not found'),
        (("{root}", "drop view trials"), "must be a SELECT"),
        (("{root}/none", "select 1"), "no such folder"),
        (("{root}", "select 1", "--format", "xml"), "--format must be one of"),
        (("{root}", "select 1", "--output", "{root}/none/x.csv"), "cannot write .*No such file"),
        (("{root}", "select 1", "--output", "x.xlsx"), r"must end in one of \.csv, .*\.txt, or --format say"),
        (("{root}", "select 1", "--output", "x.json", "--format", "csv"), r"must agree .*got csv and x\.json"),
        (("{root}",), r"missing: SQL \(One SELECT"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(quick: Made, argv: tuple[str, ...], message: str) -> None:
    ran = command("query", *(a.format(root=quick.path) for a in argv))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert len(ran.stderr.splitlines()) == 1
    with pytest.raises((OutputError, OptionError, Exception), match=message):
        query([a.format(root=quick.path) for a in argv])


@pytest.mark.parametrize("ending", ["csv", "json", "parquet", "txt", "JSON"])
def test_the_output_file_decides_the_format(quick: Made, tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"answer.{ending}"
    assert query([str(quick.path), ALL, "--output", str(file)]) == 0
    rows = {
        "csv": lambda: len(file.read_text().splitlines()) - 1,
        "json": lambda: len(json.loads(file.read_text())),
        "parquet": lambda: pq.read_table(file).num_rows,
        "txt": lambda: len(file.read_text().splitlines()) - 2,
    }
    assert rows[ending.lower()]() == 16
    assert [f.name for f in tmp_path.iterdir() if f.is_file()] == [file.name]


def test_a_failed_write_keeps_the_old_file(quick: Made, tmp_path: Path) -> None:
    folder = tmp_path / "answer.csv"
    folder.mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*answer\.csv: Is a directory; choose"):
        query([str(quick.path), ALL, "--output", str(folder)])
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("place", ["-", "/dev/stdout"])
def test_output_may_be_stdout(quick: Made, capfd: pytest.CaptureFixture[str], place: str) -> None:
    assert query([str(quick.path), "select 1 x", "--output", place, "--format", "csv"]) == 0
    assert capfd.readouterr().out == "x\n1\n"


def test_the_format_may_be_said_for_any_other_ending(quick: Made, tmp_path: Path) -> None:
    assert query([str(quick.path), "select 1 x", "--output", str(tmp_path / "a.data"), "--format", "csv"]) == 0
    assert (tmp_path / "a.data").read_text() == "x\n1\n"
    with pytest.raises(OutputError, match=r"must end in one of .*got .*a\.csv\.gz"):
        query([str(quick.path), "select 1 x", "--output", str(tmp_path / "a.csv.gz")])


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_a_full_stdout_is_one_line(quick: Made, form: str) -> None:
    with open("/dev/full", "wb") as full:
        argv = [*MONOSWEEP, "query", str(quick.path), "select range x from range(99999)", "--format", form]
        ran = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, timeout=300)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1)
    assert "standard output cannot be: No space left on device" in ran.stderr


def test_parquet_through_a_pipe(quick: Made) -> None:
    ran = subprocess.run(
        [*MONOSWEEP, "query", str(quick.path), ALL, "--format", "parquet"], capture_output=True, timeout=300
    )
    assert pq.read_table(io.BytesIO(ran.stdout)).num_rows == 16


def on_a_terminal(*argv: str) -> tuple[str, str]:
    """What a command shows on a terminal of 80 columns, and on stderr."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "LINES": "24"}
    ran = subprocess.Popen([*MONOSWEEP, *argv], stdout=theirs, stderr=subprocess.PIPE, env=env, text=True)
    _, err = ran.communicate(timeout=300)
    os.set_blocking(ours, False)
    os.close(theirs)
    try:
        shown = os.read(ours, 1 << 16).decode()
    except OSError:  # Linux reports a closed terminal without output so
        shown = ""
    os.close(ours)
    return shown, err


def test_a_wide_table_fits_the_terminal_and_is_whole_in_a_pipe(quick: Made) -> None:
    shown, err = on_a_terminal("query", str(quick.path), "select * from trials")
    assert max(map(len, shown.splitlines())) <= 80
    names = {"sweep", "family", *(column.name for column in columns("trials"))}
    assert f"of {len(names)} columns shown" in err
    piped = command("query", str(quick.path), "select * from trials").stdout.splitlines()
    assert len(piped) == 18 and "finished_at" in piped[0]


def test_parquet_is_kept_off_the_terminal(quick: Made) -> None:
    shown, err = on_a_terminal("query", str(quick.path), ALL, "--format", "parquet")
    assert shown == ""
    assert err.startswith("monosweep: parquet is not text; add --output FILE")


def test_a_reader_that_has_had_enough(quick: Made) -> None:
    many = "select n.* from neurons n, range(20)"
    argv = [*MONOSWEEP, "query", str(quick.path), many]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ran:
        assert ran.stdout is not None and ran.stderr is not None
        ran.stdout.readline()
        ran.stdout.close()
        ended_in_time(ran)
        assert ran.stderr.read() == b""


def test_ctrl_c_ends_a_long_query_without_a_traceback(quick: Made) -> None:
    forever = "select sum(sqrt(a.range * b.range)) from range(10000000) a, range(10000000) b, trials"
    argv = [*MONOSWEEP, "query", str(quick.path), forever]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ran:
        time.sleep(2)
        ran.send_signal(signal.SIGINT)
        ended_in_time(ran)
        assert ran.stdout is not None and ran.stderr is not None
        assert (ran.returncode, ran.stdout.read()) == (130, b"")
        assert ran.stderr.read() == b"monosweep: interrupted\n"


def test_ctrl_c_while_the_tables_are_opened_is_heard(quick: Made) -> None:
    """DuckDB makes an error of it that looks like a damaged part's, after which all was asked again, for ever."""
    code = f"""if True:
        import os, signal, sys, threading
        from monosweep.analysis.tables import root
        from monosweep.sweep.__main__ import main

        def slow(connection):
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            connection.execute("select sum(sqrt(a.range * b.range)) from range(10000000) a, range(10000000) b")

        root.each_once = slow
        sys.exit(main(["query", {str(quick.path)!r}, "select count(*) from trials"]))
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as ran:
        ended_in_time(ran)
        assert ran.stdout is not None and ran.stderr is not None
        assert (ran.returncode, ran.stdout.read()) == (130, b"")
        assert ran.stderr.read() == b"monosweep: interrupted\n"


def ended_in_time(ran: subprocess.Popen[bytes]) -> None:
    try:
        ran.wait(timeout=300)
    finally:
        ran.kill()


def test_a_query_does_not_wait_for_what_it_does_not_use(quick: Made) -> None:
    code = (
        "import sys; from monosweep.sweep.__main__ import main; "
        f"main(['query', {str(quick.path)!r}, 'select count(*) from trials']); "
        "print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"matplotlib", "pandas", "pyarrow.dataset", "pyarrow.fs", "torch", "ray", "rich"}
    assert not heavy & set(ran.stderr.split())

"""Files that users name: what is replaced, what is written into, and what a failure leaves behind."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from monosweep.analysis.output import written


def write(path: Path | str, data: bytes = b"new") -> None:
    with written(path) as file:
        file.write(data)


def alone(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with written(tmp_path / "a.csv") as file:
        file.write(b"new")
        assert not (tmp_path / "a.csv").exists()
    assert (tmp_path / "a.csv").read_bytes() == b"new" and alone(tmp_path, "a.csv")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "a.csv").write_bytes(b"old")
    with pytest.raises(type(error)), written(tmp_path / "a.csv") as file:  # noqa: PT012
        file.write(b"new")
        raise error
    assert (tmp_path / "a.csv").read_bytes() == b"old" and alone(tmp_path, "a.csv")


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "b.csv").write_bytes(b"old")
    (tmp_path / "a.csv").symlink_to("there/b.csv")
    write(tmp_path / "a.csv")
    assert os.readlink(tmp_path / "a.csv") == "there/b.csv"
    assert (tmp_path / "there" / "b.csv").read_bytes() == b"new" and alone(tmp_path / "there", "b.csv")


def test_a_link_to_nothing_is_written_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "a.csv").symlink_to("b.csv")
    write(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").is_symlink() and (tmp_path / "b.csv").read_bytes() == b"new"


def test_mode_and_owner_stay(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b"old")
    file.chmod(0o640)
    if os.getuid() == 0:
        os.chown(file, 12345, 54321)
    before = file.stat()
    write(file)
    now = file.stat()
    assert stat.S_IMODE(now.st_mode) == 0o640 and (now.st_uid, now.st_gid) == (before.st_uid, before.st_gid)


def test_a_new_file_has_the_mode_that_any_other_has(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everything")
def test_a_file_that_is_read_only_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"old")
    (tmp_path / "a.csv").chmod(0o444)
    with pytest.raises(PermissionError):
        write(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == b"old" and alone(tmp_path, "a.csv")


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write(tmp_path / "pipe")
    reader.join()
    assert read == [b"new"] and stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and alone(tmp_path, "pipe")


def test_a_device_is_written_into() -> None:
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write(tmp_path)


@pytest.mark.parametrize("form", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_a_descriptor_is_written_into_where_it_stands(tmp_path: Path, form: str) -> None:
    """The shell's `>>`: what is there before is not cut away, nor is the file replaced by another."""
    (tmp_path / "log").write_bytes(b"old ")
    with (tmp_path / "log").open("ab") as log:
        write(form.format(log.fileno()))
        assert os.path.samestat(os.fstat(log.fileno()), (tmp_path / "log").stat())
    assert (tmp_path / "log").read_bytes() == b"old new"
    assert os.path.islink("/dev/stdout")


def test_a_dash_is_standard_output(capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    write("-")
    assert capsysbinary.readouterr().out == b"new" and alone(tmp_path)

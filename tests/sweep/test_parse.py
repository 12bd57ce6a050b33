"""Command lines: what a user sees of a good one, and the one line for each kind of bad one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from tyro.conf import Positional, UseAppendAction, arg

from monosweep.sweep.parse import OptionError, parse


@dataclass(frozen=True)
class Verb:
    out: Annotated[Positional[str], arg(metavar="OUT")]
    """where"""
    sql: Annotated[Positional[str], arg(metavar="SQL")]
    """what"""
    format: Literal["table", "csv"] = "table"
    """how"""
    pack_size: int = 4
    """how many"""
    rate: float | None = None
    """how fast"""
    most: int | None = None
    """up to where"""
    set: Annotated[tuple[str, ...], UseAppendAction] = ()
    """k=v"""


def read(*argv: str) -> Verb:
    return parse(Verb, argv, prog="monosweep verb", description="Do it.")


def test_a_good_command_line_becomes_the_dataclass() -> None:
    assert read("a", "b", "--pack-size", "7", "--set", "lr=1", "--set", "seed=2") == Verb(
        "a", "b", pack_size=7, set=("lr=1", "seed=2")
    )


def test_numbers_are_read_as_in_a_spec() -> None:
    read_as = read("a", "b", "--pack-size", "1e2", "--rate", "5")
    assert (read_as.pack_size, read_as.rate) == (100, 5.0)
    assert type(read_as.pack_size) is int and type(read_as.rate) is float
    assert read("a", "b", "--pack-size=0x10", "--rate=-1e-3") == Verb("a", "b", pack_size=16, rate=-0.001)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("a",), r"^missing: SQL \(what\)"),
        ((), r"^missing: OUT \(where\), SQL \(what\)"),
        (("a", "b", "--format", "xml"), r"^--format must be one of 'table', 'csv'; got 'xml'"),
        (("a", "b", "--pack-size", "x"), r"^--pack-size must be a whole number; got 'x'"),
        (("a", "b", "--rate", "x"), r"^--rate must be a number; got 'x'"),
        (("a", "b", "--pack-size", "08"), r"^--pack-size: numbers are written without leading zeros; got 08; write 8"),
        (("a", "b", "--pack-size", "1_0"), r"^--pack-size must be a whole number; got '1_0'"),
        (("a", "b", "--rate", "nan"), r"^--rate must be a number; got 'nan'"),
        (("a", "b", "--pack-size", "1" * 400), r"^--pack-size: numbers have at most 300 digits; got one of 400"),
        (("a", "b", "--pack-size"), r"^--pack-size needs a value"),
        (("a", "b", "--pack-sise", "4"), r"^unknown option '--pack-sise'; did you mean '--pack-size'\?"),
        (("a", "b", "--formt=csv"), r"^unknown option '--formt'; did you mean '--format'\?"),
        (("a", "b", "--most", "1.5"), r"^--most must be a whole number; got '1.5'"),
        (("--out", "a", "b"), r"^OUT is given by its place, without --out, as in monosweep verb OUT SQL"),
        (("a", "--sql=b"), r"^SQL is given by its place, without --sql, as in monosweep verb OUT SQL"),
        (("a", "b", "--outt", "c"), r"^unknown option '--outt'(?!.*'--out'\?)"),
        (("a", "b", "--zzzzzz"), r"^unknown option '--zzzzzz';"),
        (("a", "b", "c"), r"^unexpected argument 'c'"),
    ],
)
def test_a_bad_command_line_is_one_line(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message) as error:
        read(*argv)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("; see monosweep verb --help")


def test_help_goes_to_stdout_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        read("--help")
    out, err = capsys.readouterr()
    assert "Do it." in out and "how many" in out
    assert err == ""

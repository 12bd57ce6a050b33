"""Command lines: arguments in, a typed dataclass out, or one line that says what is wrong with them.

Every verb of the front door comes through here.  Torch- and ray-free, so that `analysis` may use it too.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from monosweep.model.config import UserError
from monosweep.sweep.numerals import number_in, whole_number_in

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry

T = TypeVar("T")


class OptionError(UserError, ValueError):
    """A command line that cannot be read."""


def parse(kind: type[T], argv: Sequence[str], *, prog: str, description: str) -> T:
    """Read `argv` (without the program's name) into the dataclass `kind`, as tyro understands its fields.

    `prog` is the verb's full name, such as `monosweep query`.  With `--help` it prints the help to stdout and
    leaves with status 0.

    Raises:
        OptionError: if an option is unknown, missing or has a value that it cannot take.
    """
    import tyro

    _check_by_place(argv, kind, prog)
    complaint = io.StringIO()
    try:
        # Only stderr is held back: --help speaks to stdout.  Unknown arguments are asked for, not complained
        # about, because tyro's own complaint spells a whole page of alternatives.
        with contextlib.redirect_stderr(complaint):
            value, unknown = tyro.cli(
                kind, args=list(argv), prog=prog, description=description, return_unknown_args=True,
                registry=_numbers(),
            )  # fmt: skip
    except SystemExit as end:
        if not end.code:
            raise
        raise OptionError(f"{one_line(complaint.getvalue())}; see {prog} --help") from None
    if unknown:
        raise OptionError(f"{_unknown(unknown[0], kind)}; see {prog} --help")
    return value


def _numbers() -> ConstructorRegistry:
    """tyro's rules, but numbers are read as in a spec (`sweep.numerals`)."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type not in (int, float):
            return None
        whole = info.type is int
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="INT" if whole else "FLOAT",
            instance_from_str=lambda words: _number_of(words[0], whole),
            is_instance=lambda value: type(value) is info.type,
            str_from_instance=lambda value: [str(value)],
        )

    return registry


def _number_of(word: str, whole: bool) -> int | float:
    """Raises ValueError, in words that follow the option's name."""
    number = whole_number_in(word) if whole else number_in(word)
    if number is None or not math.isfinite(number):
        raise ValueError(f"must be a {'whole ' * whole}number; got {word!r}")
    return number if whole else float(number)


def one_line(text: str) -> str:
    """The substance of one of tyro's error boxes.

    >>> one_line(" Value error\\n ----\\n  Error parsing --n: must be a whole number; got 'x'")
    "--n must be a whole number; got 'x'"
    """
    message = " ".join(_first_section(re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()))
    if message.startswith("Missing from "):
        return _missing(message.split(": ", 1)[1])
    for pattern, replacement in _REWORDED:
        message = re.sub(pattern, replacement, message)
    return message.strip().rstrip(".;")


_NO_TYPE = r"^Error parsing (\S+): no type matching \{None\}\|"
_COULD_BE_MADE = r" could be instantiated from \[(.*?)\]\..*$"
_REWORDED = (
    (r"^Error parsing (\S+): (must .*)$", r"\1 \2"),
    (rf"{_NO_TYPE}INT{_COULD_BE_MADE}", r"\1 must be a whole number; got \2"),
    (rf"{_NO_TYPE}FLOAT{_COULD_BE_MADE}", r"\1 must be a number; got \2"),
    (
        rf"{_NO_TYPE}(\w+){_COULD_BE_MADE}",
        r"\1 must be None or \2; got \3",
    ),
    (r"^Error parsing (\S+): ", r"\1: "),
    (
        r"^invalid choice (.*?) for argument '(\S+)'\. Expected one of \((.*?),?\)\.?$",
        r"\2 must be one of \3; got \1",
    ),
    (r"^Missing value for argument '(\S+)'\..*$", r"\1 needs a value"),
)
"""tyro's wording -> ours: the rule, then the value received."""


def _missing(listing: str) -> str:
    """`OUT where (required) --n INT how many (required)` as `missing: OUT (where), --n INT (how many)`."""
    entries = [entry.strip() for entry in listing.split("(required)") if entry.strip()]
    named = [re.sub(r"^(-\S+ \S+|\S+) ([^:;.]+).*$", r"\1 (\2)", entry) for entry in entries]
    return "missing: " + ", ".join(named)


def _first_section(lines: list[str]) -> list[str]:
    """The lines between the box's title and its next rule; all of them if that finds nothing."""
    edges = [i for i, line in enumerate(lines) if _is_rule(line)]
    start = edges[0] + 1 if edges else 0
    stop = edges[1] if len(edges) > 1 else len(lines)
    bare = [line.strip(" │") for line in lines]
    return [line for line in bare[start:stop] if line] or bare


def _is_rule(line: str) -> bool:
    """Whether the line is drawn: `-----`, `│ ──── │`, or the box's edge with the title in it."""
    inner = line.strip(" │")
    return inner.startswith(("╭", "╰")) or (len(inner) > 2 and set(inner) <= set("-─"))


def _check_by_place(argv: Sequence[str], kind: type, prog: str) -> None:
    """Refuse the name of what is told by its place: `--out results` where OUT is the first word."""
    places = {f"--{name}": shown for name, shown in _places(kind)}
    for token in argv[: argv.index("--") if "--" in argv else None]:
        name = token.split("=")[0]
        if name in places:
            order = " ".join(places.values())
            raise OptionError(
                f"{places[name]} is given by its place, without {name}, as in {prog} {order}; see {prog} --help"
            )


def _places(kind: type) -> Iterator[tuple[str, str]]:
    """(name, as the help calls it) of every field that is told by its place, in order."""
    hints: dict[str, Any] = get_type_hints(kind, include_extras=True)
    for field in fields(kind) if is_dataclass(kind) else ():
        said = getattr(hints[field.name], "__metadata__", ())
        if any(repr(each) == "Positional" for each in said):  # tyro.conf's marker
            metavars = (getattr(each, "metavar", None) for each in said)
            yield field.name.replace("_", "-"), next(filter(None, metavars), field.name.upper())


def _unknown(token: str, kind: type) -> str:
    if not token.startswith("-"):
        return f"unexpected argument {token!r}"
    name = token.split("=")[0]
    near = difflib.get_close_matches(name, sorted(_option_names(kind)), n=1, cutoff=0.6)
    return f"unknown option {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _option_names(kind: type, prefix: str = "") -> Iterator[str]:
    """`--name` of every field that is told by it, nested ones with a dot."""
    hints: dict[str, Any] = get_type_hints(kind)
    by_place = {name for name, _ in _places(kind)}
    for field in fields(kind) if is_dataclass(kind) else ():
        if field.name.replace("_", "-") in by_place:
            continue
        name = prefix + field.name.replace("_", "-")
        yield f"--{name}"
        if is_dataclass(nested := hints[field.name]) and isinstance(nested, type):
            yield from _option_names(nested, f"{name}.")

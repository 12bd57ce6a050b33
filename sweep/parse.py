"""Command lines: arguments in, a typed dataclass out, or one line that says what is wrong with them.

Every verb of the front door comes through here.  Torch- and ray-free, so that `analysis` may use it too.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from monosweep.model.config import UserError

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

    complaint = io.StringIO()
    try:
        # Only stderr is held back: --help speaks to stdout.  Unknown arguments are asked for, not complained
        # about, because tyro's own complaint spells a whole page of alternatives.
        with contextlib.redirect_stderr(complaint):
            value, unknown = tyro.cli(
                kind, args=list(argv), prog=prog, description=description, return_unknown_args=True
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise OptionError(f"{one_line(complaint.getvalue())}; see {prog} --help") from None
    if unknown:
        raise OptionError(f"{_unknown(unknown[0], kind)}; see {prog} --help")
    return value


def one_line(text: str) -> str:
    """The substance of one of tyro's error boxes.

    >>> one_line(" Value error\\n ----\\n  Error parsing --n: invalid literal for int() with base 10: 'x'")
    "--n must be a whole number; got 'x'"
    """
    message = " ".join(_first_section(re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()))
    if message.startswith("Missing from "):
        return _missing(message.split(": ", 1)[1])
    for pattern, replacement in _REWORDED:
        message = re.sub(pattern, replacement, message)
    return message.strip().rstrip(".;")


_REWORDED = (
    (r"^Error parsing (\S+): invalid literal for int\(\).*?: (.*)$", r"\1 must be a whole number; got \2"),
    (r"^Error parsing (\S+): could not convert string to float: (.*)$", r"\1 must be a number; got \2"),
    (
        r"^Error parsing (\S+): no type matching \{None\}\|(\w+) could be instantiated from \[(.*?)\]\..*$",
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


def _unknown(token: str, kind: type) -> str:
    if not token.startswith("-"):
        return f"unexpected argument {token!r}"
    name = token.split("=")[0]
    near = difflib.get_close_matches(name, sorted(_option_names(kind)), n=1, cutoff=0.6)
    return f"unknown option {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _option_names(kind: type, prefix: str = "") -> Iterator[str]:
    """`--name` of every field, nested ones with a dot."""
    hints: dict[str, Any] = get_type_hints(kind)
    for field in fields(kind) if is_dataclass(kind) else ():
        name = prefix + field.name.replace("_", "-")
        yield f"--{name}"
        if is_dataclass(nested := hints[field.name]) and isinstance(nested, type):
            yield from _option_names(nested, f"{name}.")

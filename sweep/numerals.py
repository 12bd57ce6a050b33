"""How numbers are spelt: one reading for spec files, `--set` and every other option of the command line.

It is that of YAML 1.2's core schema, with leading zeros refused: other readers take them for octal.
"""

from __future__ import annotations

import re

from monosweep.model.config import ConfigError

_DECIMAL = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"[-+]?[0-9]+")
_OTHER_BASES = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_ENDLESS = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_LEADING_ZEROS = re.compile(r"([-+]?)0+(?=[0-9])")
_MOST_DIGITS = 300
"""Whole numbers of more are beyond the range of a float, which all that we count with stays within."""


def number_in(text: str) -> int | float | None:
    """The number that `text` spells; None if it spells none.

    Raises:
        ConfigError: if it has leading zeros, or more digits than anyone means.

    >>> [number_in(text) for text in ("8", "1e2", ".5", "0x10", "-.inf", "1_000", "1:8", "fast")]
    [8, 100.0, 0.5, 16, -inf, None, None, None]
    """
    if _DECIMAL.fullmatch(text):
        if len(text) > _MOST_DIGITS:
            raise ConfigError(f"numbers have at most {_MOST_DIGITS} digits; got one of {len(text)}; write fewer")
        if zeros := _LEADING_ZEROS.match(text):
            plain = zeros[1] + text[zeros.end() :]
            raise ConfigError(
                f"numbers are written without leading zeros; got {text}; write {plain}, or quotes for text"
            )
        return int(text) if _WHOLE.fullmatch(text) else float(text)
    if _OTHER_BASES.fullmatch(text) and len(text) <= _MOST_DIGITS // 2:
        return int(text, 0)
    return float(text.replace(".", "")) if _ENDLESS.fullmatch(text) else None


def whole_number_in(text: str) -> int | None:
    """The whole number that `text` spells, be it as 1e3; None if it spells none.

    Raises:
        ConfigError: as `number_in` does.
    """
    number = number_in(text)
    return int(number) if number is not None and float(number).is_integer() else None

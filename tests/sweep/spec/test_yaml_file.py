"""YAML 1.2's core schema, whatever other readers make of the same text; and one line for what may be misread."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monosweep.model.config import ConfigError
from monosweep.sweep.spec.yaml_file import read_yaml

CORE = {
    "8": 8, "-3": -3, "+3": 3, "0": 0, "-0": 0, "0o17": 15, "0x1F": 31, "1e2": 100.0, "1E-3": 0.001, "5.": 5.0,
    ".5": 0.5, "-1.5e+3": -1500.0, ".inf": math.inf, "-.Inf": -math.inf, "0.10": 0.1, "10": 10, "100.0": 100.0,
    "true": True, "FALSE": False, "null": None, "~": None, "": None, "yes": "yes", "on": "on", "no": "no",
    "1:8": "1:8", "1_000": "1_000", "0b11": "0b11", "2024-01-31": "2024-01-31", "2001-99-99": "2001-99-99",
    "2024-01-31 10:00:00": "2024-01-31 10:00:00", "=": "=", "inf": "inf", "1e": "1e", "'08'": "08", '"1e3"': "1e3",
    "!!str 08": "08", "!!str 1e3": "1e3", "!!float 1": 1.0, "!!int 0x10": 16, "!!bool true": True,
}  # fmt: skip


@pytest.mark.parametrize(("text", "value"), CORE.items())
def test_a_scalar_means_what_the_core_schema_says(text: str, value: Any) -> None:
    (found,) = read_yaml(f"- {text}", what="x")
    assert (type(found), found) == (type(value), value)


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(read_yaml(".nan", what="x"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[1, 08]", "line 1, column 5: numbers are written without leading zeros; got 08; write 8, or quotes for text"),
        ("a:\n - 010", "line 2, column 4: numbers are written without leading zeros; got 010; write 10, or quotes .*"),
        ("-007.5e3", "line 1, column 1: numbers are written without leading zeros; got -007.5e3; write -7.5e3, or .*"),
        ("!!bool abc", "line 1, column 1: !!bool takes a value that is one; got 'abc'; leave the tag out"),
        ("!!int 1.5", "line 1, column 1: !!int takes a value that is one; got '1.5'; leave the tag out"),
        ("!!timestamp 2001-01-01", "line 1, column 1: unknown tag !!timestamp; leave it out: .*"),
        ("a: !!set {b}", "line 1, column 4: unknown tag !!set; .*"),
        ("!mine {b: 1}", "line 1, column 1: unknown tag !mine; .*"),
        ("{a: 1, 'a': 2}", "line 1, column 8: 'a' is given twice; keep one"),
        ("{1: 1, 1.0: 2}", "line 1, column 8: 1.0 is given twice; keep one"),
        ("{[a]: 1}", "line 1, column 2: a key is one word, such as lr; got a list or a mapping; write a word"),
        ("&a [*a]", "line 1, column 1: the value holds itself; write it out"),
        ("<<: 3", "line 1, column 5: << takes a mapping, or a list of mappings"),
        ('"\\ud800"', "line 1, column 1: half a character .*"),
    ],
)
def test_what_may_be_misread_is_one_line_with_its_place(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, what="my.yaml")
    assert re.fullmatch(f"my.yaml: {problem}", str(caught.value))


def test_aliases_that_stand_for_a_billion_values_are_refused() -> None:
    lines = [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]"
        for before, name in zip("abcdefghi", "bcdefghij", strict=True)
    ]
    with pytest.raises(ConfigError, match=r"more than 1,000,000 values with all aliases written out"):
        read_yaml("\n".join(["a: &a [x]", *lines]), what="x")


def test_merges_are_overridden_by_what_stands_beside_them_and_the_first_has_the_say() -> None:
    text = "one: &one {l: 1, m: 1}\ntwo: &two {m: 2, n: 2}\nboth: {n: 3, <<: [*one, *two]}\n"
    assert read_yaml(text, what="x")["both"] == {"l": 1, "m": 1, "n": 3}


def test_an_anchor_may_be_used_anew() -> None:
    assert read_yaml("[&a 1, *a, &a 2, *a]", what="x") == [1, 1, 2, 2]


PIECES = st.sampled_from(
    [*"-?:,[]{}#&*!|>'\"%@`~=<. \n\t\\0178aex_+\0\x85\u2028\ufeff", "<<", "!!", "---", "...", "%YAML ", "*a", "&a "]
)


@given(st.lists(PIECES, max_size=25).map("".join) | st.binary(max_size=20) | st.text(max_size=20))
@settings(deadline=None, max_examples=500)
def test_any_text_is_a_plain_value_or_one_line(text: str | bytes) -> None:
    try:
        value = read_yaml(text, what="x")
    except ConfigError as error:
        problem = str(error)
        if len(problem.splitlines()) != 1:
            raise
        return
    assert value is None or isinstance(value, (bool, int, float, str, list, dict))

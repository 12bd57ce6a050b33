"""The examples in docstrings are true."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    "monosweep." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for room in ("model", "sweep", "analysis")
    for path in (ROOT / room).rglob("*.py")
    if ">>>" in path.read_text()
)


def test_there_are_examples():
    some = ("families.two_layer.config", "data.stream", "trainer")
    assert {f"monosweep.model.{name}" for name in some} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0

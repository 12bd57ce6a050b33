"""YAML 1.2 in, plain values out: what spec files and `--set` are read with.

ruamel.yaml parses; what its scalars mean is the core schema, with numbers as in `sweep.numerals`, so that no number,
date or yes is taken for something else.  A key that is given twice, a tag that is not of the core schema and a file
that says it is YAML 1.1 are errors.
"""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

from monosweep.model.config import ConfigError
from monosweep.sweep.numerals import number_in
from monosweep.sweep.text import shown

_PLAIN = "plain"
"""Our tag of a scalar without quotes and without a tag of its own."""
_CORE = "tag:yaml.org,2002:"
_CONSTANTS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DEEPEST = 50
_MOST_VALUES = 1_000_000
"""With every alias written out."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_yaml(text: str | bytes, *, what: str) -> Any:
    """The plain value that `text` spells; `what` names its source in errors.

    Raises:
        ConfigError: if it is not YAML, or holds what may be misread; the message gives line and column.

    >>> read_yaml("{lr: 1e-3, name: 2024-01-31}", what="an example")
    {'lr': 0.001, 'name': '2024-01-31'}
    """
    try:
        node = _parsed(text)
        return None if node is None else _Values().of(node)[0]
    except _Unclear as error:
        raise ConfigError(f"{what}: line {error.line}, column {error.column}: {error}") from None
    except _NotYaml as error:
        raise ConfigError(f"{what} is not {error}") from None


class _NotYaml(Exception):
    """What the text is not, and why."""


class _Unclear(Exception):
    """A value that is refused, and where it stands."""

    def __init__(self, problem: str, node: Any) -> None:
        super().__init__(problem)
        self.line, self.column = node.start_mark.line + 1, node.start_mark.column + 1


class _Resolver(VersionedResolver):
    """Leaves to us what a scalar without a tag means."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        return Tag(suffix=_PLAIN) if kind is ScalarNode and implicit[0] else super().resolve(kind, value, implicit)


def _parsed(text: str | bytes) -> Any:
    """The one document of `text` as ruamel's tree; None if it is empty."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Resolver, yaml.max_depth = _Resolver, _DEEPEST
    yaml.composer.warn_double_anchors = False
    try:
        node = yaml.compose(text)
    except MarkedYAMLError as error:
        raise _NotYaml(f"YAML that can be read: {_problem(error)}") from None
    except ReaderError as error:
        raise _NotYaml(f"text: {error.reason} at position {error.position}") from None
    except (YAMLError, UnicodeError) as error:
        raise _NotYaml(f"text: {' '.join(str(error).split())}") from None
    if (version := yaml.doc_infos[-1].doc_version) and (version.major, version.minor) != (1, 2):
        raise _NotYaml(f"YAML 1.2: it says %YAML {version.major}.{version.minor}; take that line out")
    return node


def _problem(error: Any) -> str:
    """Of ruamel's MarkedYAMLError."""
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    if "maximum depth" in (error.problem or ""):
        return f"{place}it is nested more than {_DEEPEST} deep; write it flatter"
    return place + " ".join((error.problem or error.context or "unknown problem").split())


class _Values:
    """The values of a tree; what an alias names is read once, and counted as often as it is named."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()

    def of(self, node: Any) -> tuple[Any, int]:
        """The value, and how many values are in it."""
        if id(node) in self._open:
            raise _Unclear("the value holds itself; write it out", node)
        if id(node) not in self._read:
            self._open.add(id(node))
            self._read[id(node)] = self._new(node)
            self._open.remove(id(node))
        value, size = self._read[id(node)]
        if size > _MOST_VALUES:
            raise _Unclear(f"more than {_MOST_VALUES:,} values with all aliases written out; write fewer", node)
        return value, size

    def _new(self, node: Any) -> tuple[Any, int]:
        if node.id == "scalar":
            return _scalar(node), 1
        _check_tag(node, {"sequence": "seq", "mapping": "map"}[node.id])
        if node.id == "mapping":
            return self._mapping(node)
        found = [self.of(child) for child in node.value]
        return [value for value, _ in found], 1 + sum(size for _, size in found)

    def _mapping(self, node: Any) -> tuple[dict[Any, Any], int]:
        own: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        total = 1
        for key_node, value_node in node.value:
            (key, _), (value, size) = self.of(key_node), self.of(value_node)
            total += size
            if isinstance(key, (list, dict)):
                raise _Unclear("a key is one word, such as lr; got a list or a mapping; write a word", key_node)
            if key == "<<" and key_node.tag == _PLAIN:
                merged = {**_mappings(value, value_node), **merged}
            elif key in own:
                raise _Unclear(f"{key!r} is given twice; keep one", key_node)
            else:
                own[key] = value
        return {**merged, **own}, total


def _mappings(value: Any, node: Any) -> dict[Any, Any]:
    """What `<<` merges: a mapping, or a list of some, of which the first has the say."""
    parts = value if isinstance(value, list) else [value]
    if not all(isinstance(part, dict) for part in parts):
        raise _Unclear("<< takes a mapping, or a list of mappings", node)
    return {key: value for part in reversed(parts) for key, value in part.items()}


def _scalar(node: Any) -> Any:
    if _SURROGATE.search(node.value):
        raise _Unclear("half a character (a surrogate); write the whole one", node)
    try:
        plain = _plain(node.value)
    except ConfigError as error:
        if node.tag == f"{_CORE}str":
            return node.value
        raise _Unclear(str(error), node) from None
    if node.tag == _PLAIN:
        return plain
    if node.tag == f"{_CORE}str":
        return node.value
    for name, kinds in _TAGGED.items():
        if node.tag == f"{_CORE}{name}":
            if type(plain) not in kinds:
                raise _Unclear(f"!!{name} takes a value that is one; got {shown(node.value)}; leave the tag out", node)
            return float(plain) if name == "float" else plain
    raise _Unclear(_unknown_tag(node), node)


_TAGGED: dict[str, tuple[type, ...]] = {"null": (type(None),), "bool": (bool,), "int": (int,), "float": (int, float)}


def _plain(text: str) -> Any:
    """What a scalar without quotes means."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    number = number_in(text)
    return text if number is None else number


def _check_tag(node: Any, name: str) -> None:
    if node.tag != f"{_CORE}{name}":
        raise _Unclear(_unknown_tag(node), node)


def _unknown_tag(node: Any) -> str:
    tag = node.tag.replace(_CORE, "!!")
    return f"unknown tag {tag}; leave it out: values are numbers, words, true, false, null, lists and mappings"

"""YAML in, plain values out: the safe loader that specs and `--set` are read with.

Two things differ from PyYAML's own safe loader: 1e-3 is a number, as in YAML 1.2, and a key that is given
twice is an error instead of silently the last one.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from monosweep.model.config import ConfigError


def read_yaml(text: str | bytes, *, what: str) -> Any:
    """The plain value that `text` spells; `what` names its source in errors.

    Raises:
        ConfigError: if it is not YAML; the message gives line and column.

    >>> read_yaml("{lr: 1e-3}", what="an example")
    {'lr': 0.001}
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{what} is not YAML that can be read: {_problem(error)}") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{what} is not text: {error.reason} at position {error.position}") from None
    except RecursionError:
        raise ConfigError(f"{what} is nested too deeply to be read; write it flatter") from None
    except ValueError as error:  # PyYAML lets through what int() and date() say, such as to 2001-99-99
        raise ConfigError(f"{what} holds a value that cannot be read: {error}") from None


def _problem(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return place + " ".join((error.problem or error.context or "unknown problem").split())


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's floats and unique keys."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:  # as written: merge keys (<<) put theirs in later, and may be overridden
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                problem = f"{key.value!r} is given twice; keep one"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            seen.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None)
        return node


_FLOAT = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def _use_yaml_1_2_floats() -> None:
    """Read 1e-3, 1E5 and +.5 as floats, after PyYAML's own readings (ints among them) have passed."""
    for first in "-+.0123456789":
        own = _Loader.yaml_implicit_resolvers.get(first, [])
        _Loader.yaml_implicit_resolvers[first] = [
            *own, ("tag:yaml.org,2002:float", re.compile(f"(?:{_FLOAT.pattern})$"))
        ]  # fmt: skip


_Loader.yaml_implicit_resolvers = dict(yaml.SafeLoader.yaml_implicit_resolvers)  # a copy: others keep theirs
_use_yaml_1_2_floats()

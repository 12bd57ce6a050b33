"""`--set key=value`: one override put into a spec as it was read from YAML, before it is validated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monosweep.model.config import ConfigError, unknown_name
from monosweep.sweep.spec.yaml_file import read_yaml
from monosweep.sweep.text import shown


def apply_override(raw: dict[str, Any], override: str, knobs: Sequence[str], spec_keys: Sequence[str]) -> None:
    """Put "key=value" into `raw`; the value is YAML.

    A knob (one of `knobs`) is taken out of every sub-space and fixed in `base`; a list makes it a grid there,
    a mapping a random one.  A key of the spec's own (`spec_keys`) is replaced.

    Raises:
        ConfigError: if it is not of that form, or no one knows the key.

    >>> raw = {"space": {"lr": {"grid": [0.1, 0.2]}, "l1": 0}}
    >>> apply_override(raw, "lr=1e-3", ["lr", "l1"], [])
    >>> raw
    {'space': [{'l1': 0}], 'base': {'lr': 0.001}}
    """
    key, value = parse_override(override)
    if key in knobs:
        _set_field(raw, key, value)
    elif key in spec_keys:
        raw[key] = value
    else:
        raise ConfigError(f"--set: {unknown_name('key', key, [*knobs, *spec_keys])}")


def parse_override(override: str) -> tuple[str, Any]:
    """Key and value of "key=value", the value read as YAML.

    Raises:
        ConfigError: if it is not of that form.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set takes key=value, as in --set lr=0.01; got {override!r}")
    return key.strip(), read_yaml(text, what=f"--set {override!r}")


def _set_field(raw: dict[str, Any], key: str, value: Any) -> None:
    domain = {"grid": value} if isinstance(value, list) else value
    varies = isinstance(domain, dict)
    space = raw.get("space", [{}])
    sub_spaces = space if isinstance(space, list) else [space]
    raw["space"] = [{**_without(sub, key), **({key: domain} if varies else {})} for sub in sub_spaces]
    raw["base"] = {**_without(raw.get("base") or {}, key), **({} if varies else {key: value})}


def _without(mapping: Any, key: str) -> dict[str, Any]:
    if not isinstance(mapping, dict):
        raise ConfigError(f"base and the members of space must hold keys such as lr; got {shown(mapping)}")
    return {k: v for k, v in mapping.items() if k != key}

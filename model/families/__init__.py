"""Which families there are: the one place in which a family's name leads to what it is and to what it does.

Ours are folders of two files: `config` says what a family is and is torch-free, `network` what it does.  A user's is a
file of its own (`user_file`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monosweep.model.config import FIRST_FAMILY, ConfigError, TrialConfig, unknown_name
from monosweep.model.families.two_layer.config import TWO_LAYER
from monosweep.model.families.user_file import Source, is_reference, load, read_source
from monosweep.model.family import Description, Family


def _two_layer() -> type[Family]:
    from monosweep.model.families.two_layer.network import TwoLayer  # torch

    return TwoLayer


OURS: Mapping[str, Description] = {TWO_LAYER.name: TWO_LAYER}
_NETWORKS: Mapping[str, Callable[[], type[Family]]] = {TWO_LAYER.name: _two_layer}
_USERS: dict[str, Source] = {}
"""Users' families that this process has met, by name; of one name the latest."""


def resolve(reference: str, folder: Path | None = None) -> str:
    """The family's name as its configs bear it; a file is read, relative to `folder` or the working directory.

    Raises:
        ConfigError: if there is no such family.
    """
    if not is_reference(reference):
        describe(reference)
        return reference
    source = read_source(reference, folder or Path())
    return register(source)


def register(source: Source) -> str:
    """Make a user's family known to this process; its name.

    Raises:
        ConfigError: if the text defines none.
    """
    load(source)
    _USERS[source.family] = source
    return source.family


def describe(name: str) -> Description:
    """What a family is.

    Raises:
        ConfigError: if there is no such family.
    """
    if name in OURS:
        return OURS[name]
    if name in _USERS:
        return load(_USERS[name]).describe()
    if is_reference(name):
        raise ConfigError(f"family {name!r} is in a file that has not been read here; name the file's path")
    raise ConfigError(unknown_name("family", name, sorted(OURS)) + ", or my_toy.py:MyToy for your own")


def source_of(name: str) -> Source | None:
    """The text of a user's family; None for one of ours."""
    return _USERS.get(name)


def family_of(config: TrialConfig) -> type[Family]:
    """What a trial's family does; imports torch."""
    if config.FAMILY in _NETWORKS:
        return _NETWORKS[config.FAMILY]()
    source = _source_of(config)
    return load(source)


def description_of(config: TrialConfig) -> Description:
    """What a trial's family is."""
    return OURS[config.FAMILY] if config.FAMILY in OURS else load(_source_of(config)).describe()


def _source_of(config: TrialConfig) -> Source:
    source = config.SOURCE
    assert isinstance(source, Source)
    return source


def config_of(values: Mapping[str, Any]) -> TrialConfig:
    """A config from plain values, of the family that they name, or of the first one.

    Raises:
        ConfigError: as `describe` and `TrialConfig.from_dict`.
    """
    name = values.get("family") or FIRST_FAMILY
    if not isinstance(name, str):
        raise ConfigError(f"family must be a word; got {name!r}")
    return describe(name).config.from_dict({**values, "family": name})

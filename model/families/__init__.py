"""Which families there are: the one place in which a family's name leads to what it is and to what it does.

Ours are folders of two files: `config` says what a family is and is torch-free, `network` or, where trials are plain
functions, `procedure` what it does.  A user's is a
class in a file of its own (`user_file`), or one of ours with functions of such a file (`extended`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from monosweep.model.config import FIRST_FAMILY, ConfigError, TrialConfig, field_types, unknown_name
from monosweep.model.families.contraction_order.config import CONTRACTION_ORDER
from monosweep.model.families.extended import extended
from monosweep.model.families.incidental.config import INCIDENTAL
from monosweep.model.families.quadratic.config import QUADRATIC
from monosweep.model.families.resid_mlp.config import RESID_MLP
from monosweep.model.families.source import Source, is_reference, read_source
from monosweep.model.families.superposition.config import SUPERPOSITION
from monosweep.model.families.tensor_tree.config import TENSOR_TREE
from monosweep.model.families.two_layer.config import TWO_LAYER
from monosweep.model.families.user_file import AnyFamily, family_in
from monosweep.model.family import Description, Family
from monosweep.model.procedure import PROCEDURE, Procedure


def _two_layer() -> type[Family]:
    from monosweep.model.families.two_layer.network import TwoLayer  # torch

    return TwoLayer


def _superposition() -> type[Family]:
    from monosweep.model.families.superposition.network import Superposition  # torch

    return Superposition


def _incidental() -> type[Family]:
    from monosweep.model.families.incidental.network import Incidental  # torch

    return Incidental


def _quadratic() -> type[Family]:
    from monosweep.model.families.quadratic.network import Quadratic  # torch

    return Quadratic


def _resid_mlp() -> type[Family]:
    from monosweep.model.families.resid_mlp.network import ResidMlp  # torch

    return ResidMlp


def _contraction_order() -> type[Procedure]:
    from monosweep.model.families.contraction_order.procedure import ContractionOrder  # SciPy

    return ContractionOrder


def _tensor_tree() -> type[Procedure]:
    from monosweep.model.families.tensor_tree.procedure import TensorTree

    return TensorTree


OURS: Mapping[str, Description] = {
    family.name: family
    for family in (TWO_LAYER, SUPERPOSITION, INCIDENTAL, RESID_MLP, QUADRATIC, CONTRACTION_ORDER, TENSOR_TREE)
}
_NETWORKS: Mapping[str, Callable[[], type[Family]]] = {
    TWO_LAYER.name: _two_layer, SUPERPOSITION.name: _superposition, INCIDENTAL.name: _incidental,
    RESID_MLP.name: _resid_mlp, QUADRATIC.name: _quadratic,
}  # fmt: skip
_PROCEDURES: Mapping[str, Callable[[], type[Procedure]]] = {
    CONTRACTION_ORDER.name: _contraction_order, TENSOR_TREE.name: _tensor_tree
}  # fmt: skip
_USERS: dict[str, dict[str, Source]] = {}
"""Users' families that this process has met, by name and digest; the version that a name means is the last."""


@cache
def load(source: Source) -> AnyFamily:
    """The family that a text defines, or one of ours with what it adds.

    Raises:
        ConfigError: naming file and line, if it cannot be run or defines no such family.
    """
    name = source.class_name
    if name in OURS and name not in _NETWORKS:
        raise source.error(None, f"{name} has no networks that functions could be added to; write a Procedure instead")
    family = extended(source, OURS, _NETWORKS[name]()) if name in OURS else family_in(source, OURS)
    config: Any = family.Config
    config.FAMILY, config.DIGEST, config.SOURCE = source.family, source.digest, source
    config.__reduce__ = lambda self: (_revived, (source, self.to_dict()))
    return family


def _revived(source: Source, values: dict[str, Any]) -> TrialConfig:
    """A config from its values and the text that its class came from, as it is pickled."""
    config: TrialConfig = load(source).Config.from_dict(values)
    return config


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
    """Make a user's family known to this process, as what its name means from now on; its name.

    Raises:
        ConfigError: if the text defines none.
    """
    load(source)
    versions = _USERS.setdefault(source.family, {})
    versions.pop(source.digest, None)
    versions[source.digest] = source
    return source.family


def remember(source: Source) -> None:
    """Make a version of a user's family known, which its name means only if no other is known.

    Raises:
        ConfigError: if the text defines no family.
    """
    load(source)
    versions = _USERS.get(source.family, {})
    _USERS[source.family] = {source.digest: source} | versions


def describe(name: str) -> Description:
    """What a family is.

    Raises:
        ConfigError: if there is no such family.
    """
    if name in OURS:
        return OURS[name]
    if name in _USERS:
        return load(_latest(name)).describe()
    if is_reference(name):
        raise ConfigError(f"family {name!r} is in a file that has not been read here; name the file's path")
    raise ConfigError(unknown_name("family", name, sorted(OURS)) + ", or my_toy.py:MyToy for your own")


def source_of(name: str) -> Source | None:
    """The text of a user's family; None for one of ours."""
    return _latest(name) if name in _USERS else None


def _latest(name: str) -> Source:
    return next(reversed(_USERS[name].values()))


def family_of(config: TrialConfig) -> type[Family]:
    """What a trial's family does; imports torch.

    Raises:
        ConfigError: if its trials are no networks.
    """
    if config.FAMILY in _NETWORKS:
        return _NETWORKS[config.FAMILY]()
    found = None if config.FAMILY in OURS else load(_source_of(config))
    if found is None or not issubclass(found, Family):
        raise ConfigError(f"trials of {config.FAMILY} are no networks: they have neither weights nor responses")
    return found


def procedure_of(config: TrialConfig) -> type[Procedure]:
    """What a trial's family does whose trials are plain functions; imports no torch."""
    found: AnyFamily = _PROCEDURES[config.FAMILY]() if config.FAMILY in OURS else load(_source_of(config))
    assert issubclass(found, Procedure)
    return found


def summary_of(config: TrialConfig, metrics: Mapping[str, Any]) -> Mapping[str, str]:
    """How a trial ended, losses aside, for people."""
    is_procedure = description_of(config).kind == PROCEDURE
    return procedure_of(config).summary(config, metrics) if is_procedure else family_of(config).summary(config, metrics)


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


def config_of_trial(values: Mapping[str, Any], trial_id: str) -> TrialConfig:
    """As `config_of`, for a trial that there is: of a user's family, the version of its file that the id tells.

    Raises:
        ConfigError: as `config_of`, or if that version has not been read here.
    """
    name = values.get("family") or FIRST_FAMILY
    versions = _USERS.get(name, {})
    for source in reversed(versions.values()):
        kind = load(source).Config
        with suppress(ConfigError):  # of a version with other knobs
            config = kind.from_dict({knob: values[knob] for knob in field_types(kind) if knob in values})
            if config.trial_id == trial_id:
                return config
    if versions:
        raise ConfigError(f"trial {trial_id} is of another version of {name} than those that have been read here")
    return config_of(values)


def config_from(values: Mapping[str, Any], source: Mapping[str, str] | None) -> TrialConfig:
    """As `config_of`; of a user's family, with the text that a checkpoint brings.

    Raises:
        ConfigError: as `config_of`.
    """
    if source is None:
        return config_of(values)
    config: TrialConfig = load(Source(**source)).Config.from_dict(values)
    return config

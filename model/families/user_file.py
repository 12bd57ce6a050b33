"""A family that is a class in a user's own file: found, and held against what a family must be."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import MISSING, fields, is_dataclass
from itertools import pairwise
from typing import Any, Literal, get_origin

from monosweep.model.config import TrialConfig, config_fields, field_types, shape_fields, unknown_name
from monosweep.model.families.source import Source, kind_and_words, run
from monosweep.model.family import Family, names
from monosweep.model.procedure import Procedure, ProcedureConfig

_BASES = (Family, Procedure)


AnyFamily = type[Family] | type[Procedure]


def family_in(source: Source, ours: Collection[str]) -> AnyFamily:
    """The family that a class of a text is.

    Args:
        ours: families that the text might add to instead, for who misspells one.

    Raises:
        ConfigError: naming file and line, if the text cannot be run or defines no such family.
    """
    tree = source.tree()
    module = run(source)
    found = vars(module).get(source.class_name)
    if found is None:
        known = [name for name, value in vars(module).items() if _is_family(value) and value not in _BASES]
        raise source.error(None, unknown_name("class", source.class_name, known or [*ours]))
    place = _classes(tree).get(source.class_name)
    if not _is_family(found):
        bases = "monosweep.model.Family or Procedure"
        raise source.error(_line(place), f"{source.class_name} must be a subclass of {bases}")
    _check_family(source, found, place)
    config: Any = found.Config
    config.FAMILY = source.family
    try:
        config()
    except Exception as error:
        raise source.error(_line(_member(place, "Config")), f"a Config of defaults: {kind_and_words(error)}") from error
    family: AnyFamily = found
    return family


def _is_family(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, _BASES)


def _check_family(source: Source, family: AnyFamily, place: ast.ClassDef | None) -> None:
    of_networks = issubclass(family, Family)
    for method in ("start", "sample", "loss") if of_networks else ("run",):
        if _own(family, method) is None and not (method == "sample" and _own(family, "sampler")):
            raise source.error(_line(place), f"{family.__name__} must have a method {method}")
    base = TrialConfig if of_networks else ProcedureConfig
    config, line = getattr(family, "Config", None), _line(_member(place, "Config")) or _line(place)
    if not (isinstance(config, type) and issubclass(config, base) and config.__module__ == family.__module__):
        raise source.error(line, f"{family.__name__} must have a nested class Config({base.__name__}), its knobs")
    if of_networks and issubclass(config, ProcedureConfig):
        raise source.error(line, f"{family.__name__} is a Family, whose Config is a TrialConfig; got a ProcedureConfig")
    if not is_dataclass(config) or "__dataclass_fields__" not in vars(config):
        raise source.error(line, "Config must be decorated with @dataclass(frozen=True, kw_only=True)")
    _check_knobs(source, config, _member(place, "Config"))
    for record in ("Metrics", "CurveMetrics") if of_networks else ("Metrics", "Losses"):
        _check_record(source, getattr(family, record), _member(place, record), record)
    for table, record_of in family.Tables.items():
        _check_record(source, record_of, _member(place, record_of.__name__), f"Tables[{table!r}]")
        if "step" not in names(record_of):
            raise source.error(_line(place), f"Tables[{table!r}] must have a field step, which the trainer fills")


def _own(family: AnyFamily, name: str) -> Any:
    """A method that the base class does not have so."""
    found, base = getattr(family, name), getattr(Family if issubclass(family, Family) else Procedure, name)
    return None if getattr(found, "__func__", found) is base.__func__ else found


def _check_knobs(source: Source, config: type[TrialConfig], place: ast.ClassDef | None) -> None:
    of_all = ProcedureConfig if issubclass(config, ProcedureConfig) else TrialConfig
    base, shapes = field_types(of_all), shape_fields(of_all)
    try:
        kinds = field_types(config)
    except Exception as error:  # a name that an annotation uses
        raise source.error(_line(place), f"the types of Config's fields: {kind_and_words(error)}") from error
    for field in config_fields(config):
        line, kind = _line(_member(place, field.name)) or _line(place), kinds[field.name]
        if field.default is MISSING:
            raise source.error(line, f"{field.name} must have a default, as every knob has")
        if field.name not in base and kind not in (int, float, str, int | None) and get_origin(kind) is not Literal:
            raise source.error(line, f"{field.name} must be an int, float, str or Literal of words; got {kind}")
        if field.name not in base and hasattr(TrialConfig, field.name):
            raise source.error(line, f"{field.name} is what all configs have as a method; give the knob another name")
        if field.name in base and (kind != base[field.name] or field.name in set(shapes) - set(shape_fields(config))):
            raise source.error(line, f"{field.name} is a knob of all configs; keep its type and its Shape")
        if place and field.name in config.__annotations__ and field.name not in {*base, *_documented(place)}:
            raise source.error(line, f"{field.name} must have a docstring under it, which tables and help show")


def _check_record(source: Source, record: Any, place: ast.ClassDef | None, name: str) -> None:
    if not is_dataclass(record):
        raise source.error(_line(place), f"{name} must be a dataclass, whose fields are columns")
    for field in fields(record):
        if place and field.name in record.__annotations__ and field.name not in _documented(place):
            line = _line(_member(place, field.name)) or _line(place)
            raise source.error(line, f"{field.name} must have a docstring under it, which tables show")


def _classes(tree: ast.Module | ast.ClassDef) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _member(place: ast.ClassDef | None, name: str) -> Any:
    """A class or field in a class."""
    fields_ = {} if place is None else {n.target.id: n for n in place.body if _is_field(n)}  # type: ignore[attr-defined]
    return fields_.get(name) or (None if place is None else _classes(place).get(name))


def _is_field(node: ast.stmt) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)


def _documented(place: ast.ClassDef | None) -> set[str]:
    """Fields with a docstring under them."""
    body = [] if place is None else place.body
    return {
        node.target.id  # type: ignore[attr-defined]
        for node, doc in pairwise(body)
        if _is_field(node) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant)
    }


def _line(node: Any) -> int | None:
    return None if node is None else int(node.lineno)

"""One of our families with the metrics and activations that a user's file adds to it: a family of its own.

    my_metrics.py: @metric("two_layer") ──> the family my_metrics.py:two_layer, with all of two_layer and a column more

So a digest of the file is in its trials' ids, its text travels with them, and rows of `two_layer` stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, fields, make_dataclass, replace
from types import ModuleType
from typing import Any, Literal, get_args, get_type_hints

from monosweep.model.additions import addition_of
from monosweep.model.config import ConfigError, Shape, field_types, unknown_name
from monosweep.model.families.source import Source, is_reference, kind_and_words, run
from monosweep.model.family import Family, Look, Trained, names, reported, short

Functions = Mapping[str, Callable[..., Any]]
_KINDS = (float, int, bool, str)


def extended(source: Source, ours: Collection[str], base: type[Family]) -> type[Family]:
    """The family `base` with what a text adds to it.

    Args:
        ours: the names of all families that can be added to.

    Raises:
        ConfigError: naming file and line, if the text cannot be run, or adds to this family nothing, or what it cannot.
    """
    module = run(source)
    own = _added(source, module, "metric", ours)
    config = _config(source, base.Config, _added(source, module, "activation", ours))
    if not own and not config.ACTIVATIONS:
        fix = f"decorate a function with @metric({source.class_name!r}) or @activation({source.class_name!r})"
        raise source.error(None, f"adds nothing to {source.class_name}; {fix}")

    class Extended(base):  # type: ignore[misc, valid-type]
        Config, Metrics = config, _metrics(source, base.Metrics, own)

        @classmethod
        def look(cls, members: Sequence[Trained], final: bool, rows: bool) -> list[Look]:
            looks = base.look(members, final, rows)
            if not final:
                return looks
            return [
                replace(seen, metrics={**(seen.metrics or {}), **measured(source, own, member)})
                for seen, member in zip(looks, members, strict=True)
            ]

        @classmethod
        def summary(cls, config: Any, metrics: Mapping[str, Any]) -> Mapping[str, str]:
            return {**base.summary(config, metrics), **{name: short(metrics[name]) for name in own}}

    return Extended


def measured(source: Source, metrics: Functions, member: Trained) -> dict[str, Any]:
    """What a user's metrics say of a trial.

    Raises:
        ConfigError: if one gives what it does not say.
        Exception: whatever one raises.
    """
    return {
        name: reported(f"{source.file}: metric {name}", _kind(function), function(*member.parts))
        for name, function in metrics.items()
    }


def metrics_for(source: Source, ours: Collection[str]) -> Functions:
    """The metrics of a text for the family that the source names, by name.

    Raises:
        ConfigError: naming file and line, if the text cannot be run, or a metric cannot be a column.
    """
    found = _added(source, run(source), "metric", ours)
    columns_for(source, found)
    return found


def columns_for(source: Source, metrics: Functions) -> dict[str, tuple[Any, str]]:
    """The type and the meaning of what each gives.

    Raises:
        ConfigError: naming file and line, if one has no docstring or gives what no column holds.
    """
    return {
        name: (_check_kind(source, function), _documented(source, name, function)) for name, function in metrics.items()
    }


def families_named(source: Source) -> tuple[str, ...]:
    """The families that a text has metrics for.

    Raises:
        ConfigError: naming file and line, if the text cannot be run.
    """
    additions = map(addition_of, vars(run(source)).values())
    named = (name for found in additions if found and found.kind == "metric" for name in found.families)
    return tuple(dict.fromkeys(named))


def _added(source: Source, module: ModuleType, kind: str, ours: Collection[str]) -> Functions:
    """The functions that are decorated so for the family that the source names."""
    found = {}
    for function in vars(module).values():
        addition = addition_of(function)
        if addition is None or addition.kind != kind:
            continue
        for family in addition.families:
            if family not in ours and not is_reference(family):
                raise _error(source, function, unknown_name("family", family, sorted(ours)))
        if source.class_name in addition.families:
            found[function.__name__] = function
    return found


def _error(source: Source, function: Any, problem: str) -> ConfigError:
    return source.error(function.__code__.co_firstlineno, problem)


def _documented(source: Source, name: str, function: Any) -> str:
    if not function.__doc__:
        raise _error(source, function, f"{name} must have a docstring, which tables and help show")
    return " ".join(function.__doc__.split())


def _config(source: Source, base: Any, activations: Functions) -> Any:
    """The family's config, in which the knob `activation` may be one of these too."""
    own: list[Any] = []
    if activations:
        (function, *_) = activations.values()
        if "activation" not in field_types(base):
            raise _error(source, function, f"{base.FAMILY} has no knob activation; take the function out")
        known = get_args(field_types(base)["activation"])
        for name, function in activations.items():
            if name in known:
                raise _error(source, function, f"{base.FAMILY} has an activation {name} already; give it another name")
        default = next(f.default for f in fields(base) if f.name == "activation")
        said = "; ".join(f"`{name}`: {_documented(source, name, found)}" for name, found in activations.items())
        doc = field(default=default, metadata={"doc": f"Nonlinearity: {', '.join(known)}, or of {source.file} {said}"})
        own = [("activation", Shape[Literal[(*known, *activations)]], doc)]  # type: ignore[misc, valid-type]
    return make_dataclass(
        base.__name__, own, bases=(base,), frozen=True, kw_only=True, slots=True,
        namespace={"ACTIVATIONS": activations, "BASE": base.FAMILY, "__module__": base.__module__},
    )  # fmt: skip


def _metrics(source: Source, base: type, own: Functions) -> type:
    """The family's metrics and these."""
    for name in [name for name in own if name in names(base)]:
        problem = f"{source.class_name} has a metric {name} already; give it another name"
        raise _error(source, own[name], problem)
    columns = [(name, kind, field(metadata={"doc": doc})) for name, (kind, doc) in columns_for(source, own).items()]
    return make_dataclass("Metrics", columns, bases=(base,), frozen=True, kw_only=True, slots=True)


def _check_kind(source: Source, function: Any) -> Any:
    try:
        kind = _kind(function)
    except Exception as error:  # a name that the annotation uses
        raise _error(source, function, f"what it returns: {kind_and_words(error)}") from error
    if kind not in _KINDS:
        raise _error(source, function, f"{function.__name__} must return a float, int, bool or str; says {kind}")
    return kind


def _kind(function: Any) -> Any:
    """What a metric says that it returns: `float` if it does not say."""
    return get_type_hints(function).get("return", float) if "return" in function.__annotations__ else float

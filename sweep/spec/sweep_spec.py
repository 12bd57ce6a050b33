"""Specs: a YAML file or a preset in, `TrialConfig`s out.  The first step of every sweep; torch- and ray-free.

    base:  {n_features: 128}                        fixed fields of TrialConfig
    space: {lr: {grid: [.003, .01]}, l1: {loguniform: [1e-6, 1e-3]}}
                                                    or a list of such mappings: the union of sub-spaces
    num_samples: 8                                  draws of the random knobs at every grid point
    sampling: sobol                                 draws that fill the space evenly
    repeats: 2                                      seeds: the base seed, the next one, ...
    include: [paper/LR1, paper/LR3]                 other sweeps whose sub-spaces join, seeds and all

Expansion only ever adds: see `sweep.spec.draws`.  Every grid point sees the same random draws, so that grid
values are compared on equal terms.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from monosweep.model.config import FIRST_FAMILY, ConfigError, TrialConfig, field_types, typed, unknown_name
from monosweep.model.families import config_of, describe, resolve, source_of
from monosweep.model.families.source import is_reference
from monosweep.sweep.spec.domains import check_domain, is_grid, is_random
from monosweep.sweep.spec.draws import Sampling, draws
from monosweep.sweep.spec.from_python import plain
from monosweep.sweep.spec.overrides import apply_override, parse_override
from monosweep.sweep.spec.searching import Objectives, Scheduler, SchedulerField, Search, SearchField, check_searching
from monosweep.sweep.spec.yaml_file import read_yaml
from monosweep.sweep.text import shown

PRESETS = Path(__file__).parents[1] / "presets"
MAX_TRIALS = 10_000_000
"""A spec that asks for more is taken for a slip: its configs alone would fill the driver's memory."""
_NAME = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*")
_LONGEST_NAME = 100
_TAKEN = ("progress", "lease")
"""How files beside a sweep's spec end."""
_EMPTY_SPACE = "space is empty; give at least one knob, or leave space out for a single trial"


def _as_whole(value: Any) -> Any:
    """1e3 as 1000, as in the fields of a trial; what is no whole number as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, BeforeValidator(_as_whole), Field(ge=1, le=MAX_TRIALS)]


class SweepSpec(BaseModel):
    """One sweep, as its YAML file says.

    Raises (from `load_spec`, `expand` and `from_json`):
        ConfigError: one line with the key, the value received and the fix.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    """What the sweep is called; left out, the file's stem or the preset's name."""
    description: str = ""
    """One line for `monosweep presets`."""
    base: dict[str, Any] = Field(default_factory=dict)
    """Fixed knobs."""
    space: list[dict[str, Any]] = Field(default=[{}])
    """Sub-spaces; each maps knobs to a constant or to a domain (`sweep.spec.domains`)."""
    num_samples: Count = 1
    """Draws of the random knobs at every grid point; a sub-space without random knobs has each point once."""
    sampling: Sampling = "random"
    """How they are drawn: independently, or `sobol`, whose points fill the space evenly."""
    sample_seed: Annotated[int, BeforeValidator(_as_whole)] = 0
    """Chooses the random draws; unrelated to the trials' own seeds."""
    repeats: Count = 1
    """Seeds per point: the base seed, the next one, ..."""
    search: SearchField | None = None
    """Who asks for the trials, `num_samples` points; left out, they are listed from the start."""
    scheduler: SchedulerField | None = None
    """Who stops trials early; left out, nobody."""
    objectives: Objectives = Field(default_factory=dict)
    """What `search` and `scheduler` go by: columns of `curves` and `trials`, or SQL of them, and `min` or `max`; left
    out, the least loss."""
    constraints: list[str] = Field(default_factory=list)
    """SQL that must be true of a trial that counts; `best_loss` is the best of all trials at that step or before."""
    stop: str | None = None
    """SQL of which a trial that it is true of at a recorded step is stopped."""
    pack_size: Annotated[Literal["auto"] | Annotated[int, Field(ge=1)], BeforeValidator(_as_whole)] = "auto"
    """Trials per pack, or `auto`."""
    save_weights: Literal["none", "final", "log2"] = "none"
    """Which steps' weights to keep: none, the last, or every recorded one."""
    record_neurons: Literal["final", "log2"] = "final"
    """Which steps go into the `neurons` table: the last, or every recorded one."""

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_one_line(error)) from None

    @field_validator("base", mode="before")
    @classmethod
    def _plain_base(cls, base: Any) -> Any:
        return {} if base is None else _named(plain(base))

    @field_validator("space", mode="before")
    @classmethod
    def _plain_space(cls, space: Any) -> list[Any]:
        return [_named(plain(sub_space)) for sub_space in _as_list(space)]

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
            raise ValueError(
                f"must be letters, digits, - and _ (with / between parts), at most {_LONGEST_NAME}; "
                "give the sweep such a name with name:"
            )
        if name.rpartition("/")[2] in _TAKEN and "/" in name:
            raise ValueError(f"must not end in /{' or /'.join(_TAKEN)}; give the sweep another name with name:")
        return name

    @model_validator(mode="after")
    def _check_knobs(self) -> SweepSpec:
        if not self.space:
            raise ConfigError(_EMPTY_SPACE)
        for knob, value in self.base.items():
            _check_field("base", knob, knobs_of([self.base], self.space))
            if isinstance(value, (Mapping, list, tuple)):
                raise ConfigError(f"base.{knob} must be one value; got {shown(value)}; domains go into space")
        for sub_space in self.space:
            for knob, value in sub_space.items():
                _check_field("space", knob, knobs_of([{**self.base, **sub_space}]))
                check_domain(knob, value)
        self._check_draws()
        check_searching(self.search, self.scheduler, self.objectives, self.kinds())
        return self

    def _check_draws(self) -> None:
        if any(is_random(value) for _, value in _items(self.space)):
            return
        needs = "needs a random knob (choice, uniform, loguniform, randint, …) in space; got"
        if self.num_samples > 1:
            raise ConfigError(
                f"num_samples {needs} num_samples {self.num_samples} without one; for more seeds set repeats"
            )
        if self.sampling != "random":
            raise ConfigError(f"sampling {needs} sampling {self.sampling} without one; leave it out")

    def kinds(self) -> list[dict[str, str]]:
        """Of each sub-space, the kinds of its knobs' domains."""
        return [{knob: next(iter(v)) for knob, v in part.items() if isinstance(v, Mapping)} for part in self.space]

    def to_json(self) -> str:
        """The whole spec, defaults included; `from_json` reads it back."""
        return self.model_dump_json(indent=2)

    @classmethod
    def from_json(cls, text: str | bytes) -> SweepSpec:
        """Read what `to_json` wrote."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:  # as pydantic wraps what `__init__` raises
            raise ConfigError(_one_line(error)) from None


@dataclass(frozen=True, slots=True)
class Preset:
    """A spec that comes with the package."""

    name: str
    description: str
    n_trials: int


def load_spec(spec: str, overrides: Sequence[str] = ()) -> SweepSpec:
    """Read a YAML file (a path that ends in .yaml or .yml, or any existing file) or a preset by name.

    A spec may `include` others by name or path: their sub-spaces join its own, and overrides reach them too.
    `overrides` are "key=value", the value in YAML.  A knob is taken out of every sub-space
    and fixed; `[a, b]` makes it a grid and `{uniform: [a, b]}` a random knob.  Other keys are the spec's own.
    """
    return _load(spec, overrides, ())


def _load(spec: str, overrides: Sequence[str], above: tuple[Path, ...]) -> SweepSpec:
    """The spec, what it includes joined in; `above` are the files that include it."""
    path, name = _find(spec)
    if path.resolve() in above:
        raise ConfigError(f"{spec} includes itself; take it out of its include, or of what that includes")
    raw = _read_mapping(path, spec)
    if "space" in raw and raw["space"] in (None, {}, []):
        raise ConfigError(f"{spec}: {_EMPTY_SPACE}")
    raw.setdefault("name", name)
    included = _included(raw.pop("include", []), spec, overrides, (*above, path.resolve()))
    # what a spec that includes others says of its own is a sub-space of its own, if it says anything
    alone = not included or "base" in raw or "space" in raw
    given = set(raw)
    for override in sorted(overrides, key=lambda text: parse_override(text)[0] != "family"):
        _name_families(raw, path.parent)
        apply_override(raw, override, knobs_of([raw.get("base")], raw.get("space")), list(SweepSpec.model_fields))
    _name_families(raw, path.parent)
    try:
        own = _validated(raw)
        return _joined(own, [*([own] if alone else []), *included], given) if included else own
    except ConfigError as error:
        raise ConfigError(f"{spec}: {error}") from None


def _included(names: Any, spec: str, overrides: Sequence[str], above: tuple[Path, ...]) -> list[SweepSpec]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"{spec}: include must list presets or YAML files, as in [quick]; got {shown(names)}")
    return [_load(name, overrides, above) for name in names]


def _joined(own: SweepSpec, members: Sequence[SweepSpec], given: set[str]) -> SweepSpec:
    """`own` with the sub-spaces of `members`; it keeps as much as the member that keeps most, unless it says."""

    def most(key: str, levels: Sequence[str]) -> str:
        if key in given:
            return str(getattr(own, key))
        return max((str(getattr(member, key)) for member in members), key=levels.index)

    return own.model_copy(
        update={
            "base": {},
            "space": [sub_space for member in members for sub_space in _self_contained(member)],
            "repeats": 1,
            "save_weights": most("save_weights", ("none", "final", "log2")),
            "record_neurons": most("record_neurons", ("final", "log2")),
        }
    )


def _self_contained(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    """The sub-spaces with `base` and `repeats` put into each, so that they can stand beside others."""
    for sub_space in spec.space:
        if any(map(is_random, sub_space.values())):
            raise ConfigError(
                f"include takes sweeps of grids and constants; {spec.name} draws at random; launch it by itself"
            )
        seeds = sub_space.get("seed", spec.base.get("seed", 0))
        seeds = seeds["grid"] if is_grid(seeds) else [seeds]
        if spec.repeats > 1:
            seeds = sorted({_whole(seed) + r for seed in seeds for r in range(spec.repeats)})
        yield {**spec.base, **sub_space, "seed": {"grid": seeds}}


def _whole(seed: Any) -> int:
    whole: int = typed("seed", int, seed)
    return whole


def expand(spec: SweepSpec) -> list[TrialConfig]:
    """All trials of `spec`, each once, in a fixed order."""
    n_trials = sum(_size(spec, sub_space) for sub_space in spec.space)
    if n_trials > MAX_TRIALS:
        raise ConfigError(f"a sweep holds at most {MAX_TRIALS:,} trials; {spec.name} asks for {n_trials:,}")
    trials = {config.trial_id: config for sub_space in spec.space for config in _expand(spec, sub_space)}
    return list(trials.values())


def preset_names() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(str(path.relative_to(PRESETS).with_suffix("")) for path in PRESETS.rglob("*.yaml"))


def presets() -> list[Preset]:
    """All presets with their number of trials."""
    specs = [load_spec(name) for name in preset_names()]
    return [Preset(spec.name, spec.description, len(expand(spec))) for spec in specs]


def _find(spec: str) -> tuple[Path, str]:
    """The file behind SPEC, and the sweep's default name."""
    path = Path(spec)
    if path.suffix not in (".yaml", ".yml"):
        if spec in preset_names():
            return PRESETS / f"{spec}.yaml", spec
        if not path.is_file():
            raise ConfigError(f"{unknown_name('preset', spec, preset_names())} (or give a YAML file's path)")
    return path, path.stem


def _read_mapping(path: Path, spec: str) -> dict[str, Any]:
    try:
        text = path.read_bytes()
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        raise ConfigError(f"cannot read spec {spec!r}: {problem}; check the path") from None
    raw = read_yaml(text, what=spec)
    if not isinstance(raw, dict):
        raise ConfigError(f"{spec} must hold keys such as base and space; got {_kind(raw)}")
    return {str(key): value for key, value in raw.items()}


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _as_list(space: Any) -> list[Any]:
    return list(space) if isinstance(space, list) else [space]


def _validated(raw: Mapping[str, Any]) -> SweepSpec:
    return SweepSpec(**raw)


def _one_line(error: ValidationError) -> str:
    """The first of pydantic's complaints, in our words."""
    first = error.errors()[0]
    whole = first["loc"][:1] if first["loc"] and first["loc"][0] not in _NESTED else first["loc"]
    place = ".".join(str(part) for part in whole if part != "[key]")
    if first["type"] == "extra_forbidden":
        inside = _NESTED.get(str(first["loc"][0]))
        known = [*inside.model_fields] if inside else [*SweepSpec.model_fields, "include"]
        return unknown_name("key", place, known)
    if first["type"] == "json_invalid":
        return f"not JSON: {first['ctx']['error']}"
    if isinstance(own := first.get("ctx", {}).get("error"), ConfigError):  # names key and value itself
        return str(own)
    problem = first["msg"].removeprefix("Value error, ")
    problem = _REWORDED.get(place, re.sub(r"^(Input )?should", "must", problem))
    if first["type"] == "string_type":
        problem = "must be text; put what looks like a number into quotes"
    return f"{place} {problem}; got {shown(first['input'])}"


_NESTED: Mapping[str, type[BaseModel] | None] = {"search": Search, "scheduler": Scheduler, "objectives": None}
"""Keys whose own keys are named in complaints."""
_REWORDED = {
    "pack_size": "must be auto or a whole number above 0",
    "num_samples": "must be a whole number above 0",
    "repeats": "must be a whole number above 0",
    "sample_seed": "must be a whole number",
    "space": "must map fields of a trial to values or domains, as in {lr: {grid: [0.01]}}, or list such",
    "base": "must hold fields of a trial, as in {n_features: 128}",
}


def _check_field(where: str, knob: Any, known: Sequence[str]) -> None:
    if knob not in known:
        raise ConfigError(f"{where}: {unknown_name('field', str(knob), list(known))}")


def knobs_of(bases: Sequence[Any], space: Any = ()) -> list[str]:
    """The knobs of all families that these mappings and the sub-spaces name; of the first family where none does."""
    mappings = [part for part in [*bases, *_as_list(space)] if isinstance(part, Mapping)]
    named = [family for part in mappings if isinstance(family := part.get("family"), str)] or [FIRST_FAMILY]
    return list(dict.fromkeys(knob for name in named for knob in field_types(describe(name).config)))


def _name_families(raw: dict[str, Any], folder: Path) -> None:
    """Put the names of families in the place of references to users' files, relative to the spec or to where we are."""
    for part in (raw.get("base"), *_as_list(raw.get("space"))):
        if not isinstance(part, dict) or "family" not in part:
            continue
        family = part["family"]
        if isinstance(family, (Mapping, list)):
            raise ConfigError(f"family must be one value; got {shown(family)}; give each family a sub-space of its own")
        if isinstance(family, str) and is_reference(family):
            place = _place_of(family, folder)
            if place is not None or source_of(family) is None:
                part["family"] = resolve(family, place or folder)


def _named(part: Any) -> Any:
    """What a program says, with the names of families in the place of references to files that are here and were not
    read yet."""
    family = part.get("family") if isinstance(part, dict) else None
    if not isinstance(family, str) or not is_reference(family) or source_of(family) is not None:
        return part
    return part if _place_of(family, Path()) is None else {**part, "family": resolve(family)}


def _place_of(reference: str, folder: Path) -> Path | None:
    """Where the file of a reference is; None if nowhere, as that of a family which was read before."""
    path = reference.rpartition(":")[0]
    return next((place for place in (folder, Path()) if (place / path).is_file()), None)


def families_in(spec: SweepSpec) -> list[str]:
    """The families that a spec names."""
    parts = (spec.base, *spec.space)
    return list(dict.fromkeys(str(part["family"]) for part in parts if "family" in part))


def _items(space: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    return ((knob, value) for sub_space in space for knob, value in sub_space.items())


def _n_draws(spec: SweepSpec, sub_space: Mapping[str, Any]) -> int:
    return spec.num_samples if any(map(is_random, sub_space.values())) else 1


def _drawn(spec: SweepSpec, sub_space: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What its random knobs have together, draw by draw."""
    randoms = {knob: value for knob, value in sub_space.items() if is_random(value)}
    return draws(randoms, spec.sampling, spec.sample_seed, spec.num_samples)


def coinciding(spec: SweepSpec) -> Iterator[str]:
    """A line for each sub-space of an expanded `spec` where draws, or values of a grid, are the same: it holds fewer
    trials than one might count."""
    for sub_space in spec.space:
        randoms = ", ".join(knob for knob, value in sub_space.items() if is_random(value))
        found = [tuple(point.values()) for point in _drawn(spec, sub_space)] if randoms else []
        if len(set(found)) < len(found):
            yield f"{randoms}: {len(found):,} drawn, {len(set(found)):,} distinct; each is trained once"
        for knob, value in sub_space.items():
            if is_grid(value) and len(set(value["grid"])) < len(value["grid"]):
                n_given, n_distinct = len(value["grid"]), len(set(value["grid"]))
                yield f"{knob}: {n_given:,} values in its grid, {n_distinct:,} distinct; each is trained once"


def _size(spec: SweepSpec, sub_space: Mapping[str, Any]) -> int:
    grid_points = math.prod(len(value["grid"]) for value in sub_space.values() if is_grid(value))
    return grid_points * _n_draws(spec, sub_space) * spec.repeats


def _expand(spec: SweepSpec, sub_space: Mapping[str, Any]) -> Iterator[TrialConfig]:
    """The trials of one sub-space: draws, then grid points, then seeds."""
    fixed = spec.base | {k: v for k, v in sub_space.items() if not isinstance(v, Mapping)}
    grids = {k: v["grid"] for k, v in sub_space.items() if is_grid(v)}
    for drawn in _drawn(spec, sub_space):
        for point in product(*grids.values()):
            config = _config(fixed | drawn | dict(zip(grids, point, strict=True)), spec)
            yield from (_repeat(config, spec, r) for r in range(spec.repeats))


def _config(values: Mapping[str, Any], spec: SweepSpec) -> TrialConfig:
    try:
        return config_of(values)
    except ConfigError as error:
        raise ConfigError(f"{spec.name}: {error}") from None


def _repeat(config: TrialConfig, spec: SweepSpec, r: int) -> TrialConfig:
    return config if r == 0 else _config(config.to_dict() | {"seed": config.seed + r}, spec)

"""A sweep's members: what it was asked for.

asked/ , or the rows and the spec of a root of schema version 1 -> asked_for, members -> launch, status, resume
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from monosweep.model.config import ConfigError, TrialConfig
from monosweep.model.families import register
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.store.asked import Asked
from monosweep.sweep.store.files import GoneError
from monosweep.sweep.store.names import before_version_2
from monosweep.sweep.store.root import Store


def asked_for(store: Store, sweep: str) -> Asked:
    """The trials that a sweep was asked for; none if there is no such sweep."""
    found = store.asked(sweep)
    return found if found.trial_ids else replace(found, trial_ids=frozenset(_before_version_2(store, sweep)))


def members(store: Store, sweep: str) -> dict[str, TrialConfig]:
    """The same with their configs."""
    return store.asked_configs(sweep) or _before_version_2(store, sweep)


def know_families(store: Store, sweep: str) -> None:
    """Let the families of users have the meaning that they had when the sweep was asked for the last of its trials."""
    for config in members(store, sweep).values():
        if config.SOURCE:
            register(config.SOURCE)


def ask(store: Store, sweep: str, configs: Iterable[TrialConfig]) -> None:
    """Say that `sweep` was asked for these trials; the first time, for what the root tells that it was before."""
    before = [] if store.asked(sweep).trial_ids else _before_version_2(store, sweep).values()
    store.ask(sweep, [*before, *configs])


def held_another(store: Store, sweep: str, configs: Sequence[TrialConfig]) -> str:
    """What to tell whose spec shares nothing with what the sweep of its name was asked for."""
    return (
        f"sweep {sweep} held another spec: {_about(list(members(store, sweep).values()))}; this one asks for "
        f"{_about(configs)}; they are one sweep from now on, unless name: in the spec gives this one a name of its own"
    )


def _about(configs: Sequence[TrialConfig]) -> str:
    """How many trials, and the knobs that are not at their defaults.

    >>> from monosweep.model import TwoLayerConfig
    >>> _about([TwoLayerConfig(lr=0.01), TwoLayerConfig(lr=0.1, seed=1)])
    '2 trials of lr 0.01 … 0.1, seed 0 … 1'
    """
    found = []
    knobs = dict.fromkeys(knob for config in configs for knob in config.to_dict())
    defaults = {type(config): type(config)() for config in configs}.values()
    for knob in knobs:
        values = sorted({config.to_dict()[knob] for config in configs if knob in config.to_dict()}, key=_order)
        if {*values} != {getattr(default, knob) for default in defaults if hasattr(default, knob)}:
            found.append(f"{knob} {values[0]}" + (f" … {values[-1]}" if len(values) > 1 else ""))
    return f"{len(configs):,} trial{'s' * (len(configs) > 1)} of {', '.join(found) or 'all defaults'}"


def _order(value: Any) -> tuple[str, Any]:
    return ("", value) if isinstance(value, (int, float)) else (str(value), 0)


def _before_version_2(store: Store, sweep: str) -> dict[str, TrialConfig]:
    """What a root tells that was launched into before it said what was asked for."""
    configs = [config for name in _names(store, sweep) for config in _launched(store, name)]
    return {config.trial_id: config for config in configs}


def _names(store: Store, sweep: str) -> Iterator[str]:
    """What the sweep is, and was, called in this root."""
    known, older = store.sweeps(), before_version_2(sweep)
    if sweep in known:
        yield sweep
    if older != sweep and older in known and (spec := spec_of(store, older)) and spec.name == sweep:
        yield older


def _launched(store: Store, name: str) -> list[TrialConfig]:
    spec = spec_of(store, name)
    return [*(expand(spec) if spec else ()), *store.trained_configs(name)]


def spec_of(store: Store, sweep: str) -> SweepSpec | None:
    """The spec of a sweep as last launched; None if it has gone meanwhile, or if the file holds something else."""
    try:
        return SweepSpec.from_json(store.read_spec(sweep))
    except (ConfigError, GoneError, ValueError):  # not JSON, not a spec, not even text
        return None

"""Values that Python programs put into a spec, as the plain ones that YAML would have given: from objects to domains.

Ray Tune's domains (`tune.loguniform(1e-4, 1e-1)`) become ours by their public attributes, numpy's scalars and arrays
numbers and lists.  Ray is not imported: an object of Ray Tune can only come from who has.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from monosweep.model.config import ConfigError

_TUNE = "ray.tune.search.sample"


def plain(value: Any) -> Any:
    """`value` with Ray Tune's domains as ours and numpy's values as Python's; all others as they are.

    Raises:
        ConfigError: for a domain of Ray Tune that has no counterpart.

    >>> plain({"lr": {"grid_search": (0.01, 0.1)}})
    {'lr': {'grid': [0.01, 0.1]}}
    """
    if isinstance(value, Mapping):
        if set(value) == {"grid_search"}:  # what tune.grid_search makes
            return {"grid": plain(value["grid_search"])}
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    tune = sys.modules.get(_TUNE)
    return plain(_domain(tune, value)) if tune and isinstance(value, tune.Domain) else value


def _domain(tune: Any, domain: Any) -> dict[str, Any]:
    """A domain of Ray Tune, whose module `tune` is, as one of ours."""
    sampler, step = domain.get_sampler(), []
    if isinstance(sampler, tune.Quantized):
        sampler, step = sampler.get_sampler(), [sampler.q]
    if isinstance(domain, tune.Categorical):
        return {"grid" if domain.is_grid() else "choice": domain.categories}
    if isinstance(domain, tune.Float) and isinstance(sampler, tune.Normal):
        return {f"{'q' * len(step)}randn": [sampler.mean, sampler.sd, *step]}
    for kind, name in ((tune.Float, "uniform"), (tune.Integer, "randint")):
        if isinstance(domain, kind) and isinstance(sampler, (tune.Uniform, tune.LogUniform)):
            step = [] if name == "randint" and step == [1] else step  # all whole numbers: the upper end stays out
            log = "log" * isinstance(sampler, tune.LogUniform)
            return {f"{'q' * len(step)}{log}{name}": [domain.lower, domain.upper, *step]}
    raise ConfigError(
        f"space takes Ray Tune's domains of numbers and choices; got tune.{type(domain).__name__}, whose values no one "
        "can draw again; write another, such as tune.uniform(0, 1)"
    )

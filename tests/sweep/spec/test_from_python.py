"""Ray Tune's own domain objects, and numpy's numbers, where a spec takes ours."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from monosweep.model.config import ConfigError
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand

OBJECTS = """
import json, sys
from ray import tune
from monosweep.model.config import ConfigError
from monosweep.sweep import SweepSpec, expand

objects = {
    "uniform": tune.uniform(-2, 0), "quniform": tune.quniform(0, 1, 0.25), "loguniform": tune.loguniform(1e-4, 1e-1),
    "qloguniform": tune.qloguniform(0.1, 0.5, 0.1), "randn": tune.randn(-1, 0.5), "qrandn": tune.qrandn(1, 0.5, 0.25),
    "randint": tune.randint(16, 257), "qrandint": tune.qrandint(16, 64, 8), "qrandint of 1": tune.qrandint(3, 9, 1),
    "lograndint": tune.lograndint(16, 257), "qlograndint": tune.qlograndint(16, 64, 8),
    "choice": tune.choice([0.1, 0.2]), "grid_search": tune.grid_search([0.1, 0.2]),
}
found = {name: SweepSpec(name="s", space={"l1": value}).space[0]["l1"] for name, value in objects.items()}
tasks = tune.choice(["abs", "decoder"])
mixed = SweepSpec(
    name="s", base={"n_steps": 8}, num_samples=3,
    space=[{"lr": tune.loguniform(1e-3, 0.1), "seed": tune.grid_search([1, 2]), "task": tasks}],
)
ours = SweepSpec(
    name="s", base={"n_steps": 8}, num_samples=3,
    space=[{"lr": {"loguniform": [1e-3, 0.1]}, "seed": {"grid": [1, 2]}, "task": {"choice": ["abs", "decoder"]}}],
)
refused = []
for where in ({"space": {"lr": tune.sample_from(lambda: 1)}}, {"base": {"lr": tune.uniform(0, 1)}}):
    try:
        SweepSpec(name="s", **where)
    except ConfigError as error:
        refused.append(str(error))
del objects["grid_search"]
values = {name: value.sample(size=500) for name, value in objects.items()}
print(json.dumps({
    "found": found, "refused": refused, "same": expand(mixed) == expand(ours) and mixed.to_json() == ours.to_json(),
    "ranges": {name: [float(min(some)), float(max(some))] for name, some in values.items()},
}))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    """What a program says that has real objects of Ray Tune; pytest's own process shall not import Ray for this."""
    done = subprocess.run([sys.executable, "-c", OBJECTS], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_each_of_ray_tunes_domains_is_ours(told: Any) -> None:
    assert told["found"] == {
        "uniform": {"uniform": [-2, 0]}, "quniform": {"quniform": [0, 1, 0.25]},
        "loguniform": {"loguniform": [1e-4, 1e-1]}, "qloguniform": {"qloguniform": [0.1, 0.5, 0.1]},
        "randn": {"randn": [-1, 0.5]}, "qrandn": {"qrandn": [1, 0.5, 0.25]},
        "randint": {"randint": [16, 257]}, "qrandint": {"qrandint": [16, 64, 8]},
        "qrandint of 1": {"randint": [3, 9]}, "lograndint": {"lograndint": [16, 257]},
        "qlograndint": {"qlograndint": [16, 64, 8]}, "choice": {"choice": [0.1, 0.2]},
        "grid_search": {"grid": [0.1, 0.2]},
    }  # fmt: skip


def test_their_draws_lie_where_ray_tunes_own_lie(told: Any) -> None:
    from monosweep.sweep.spec.draws import draws

    for name, (least, most) in told["ranges"].items():
        domain = told["found"][name]
        found = [point["lr"] for point in draws({"lr": domain}, "random", 0, 500)]
        spread = 2 if name.endswith("randn") else 0.1 * (most - least)
        assert abs(min(found) - least) <= spread and abs(max(found) - most) <= spread, name


def test_a_spec_of_ray_tunes_objects_has_the_trials_of_one_in_our_words(told: Any) -> None:
    assert told["same"]


def test_what_has_no_counterpart_is_one_clear_line(told: Any) -> None:
    function, base = told["refused"]
    assert (
        "got tune.Function, whose values no one can draw again; write another, such as tune.uniform(0, 1)" in function
    )
    assert base == "base.lr must be one value; got {'uniform': [0, 1]}; domains go into space"


def test_ray_is_not_imported_for_it() -> None:
    code = "import sys; from monosweep.sweep import SweepSpec; SweepSpec(name='s', space={'lr': {'uniform': [1, 2]}})"
    assert (
        subprocess.run([sys.executable, "-c", f"{code}; sys.exit('ray' in sys.modules)"], check=False).returncode == 0
    )


def test_numpys_numbers_are_numbers() -> None:
    space = {
        "lr": {"grid": np.array([0.1, 0.2])},
        "seed": {"randint": [np.int64(3), np.int64(9)]},
        "l1": np.float64(0.5),
    }
    sweep = SweepSpec(name="s", base={"n_steps": np.int32(8)}, space=space, num_samples=2)
    assert sweep.space == [{"lr": {"grid": [0.1, 0.2]}, "seed": {"randint": [3, 9]}, "l1": 0.5}]
    assert len(expand(sweep)) == 4
    assert SweepSpec.from_json(sweep.to_json()) == sweep


def test_a_mistake_in_python_is_one_line_too() -> None:
    with pytest.raises(ConfigError, match=r"^num_samples must be a whole number above 0; got 'x'$"):
        SweepSpec(name="s", num_samples="x")
    with pytest.raises(ConfigError, match=r"^space\.lr: unknown domain 'unifrom'; did you mean 'uniform'\?$"):
        SweepSpec(name="s", space={"lr": {"unifrom": [0, 1]}})

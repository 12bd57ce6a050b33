"""Domains and draws: what was drawn once is drawn for ever; whatever the bounds, values lie between them and differ."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from scipy.stats.qmc import discrepancy

from monosweep.model.config import ConfigError
from monosweep.sweep.spec.domains import check_domain, value_at
from monosweep.sweep.spec.draws import Sampling, draws
from monosweep.sweep.spec.sweep_spec import SweepSpec, coinciding, expand, load_spec, preset_names

ROOT = Path(__file__).parents[3]
RECORDED: dict[str, Any] = json.loads((ROOT / "tests/fixtures/draws.json").read_text())
SAMPLING: tuple[Sampling, ...] = ("random", "sobol")


def drawn(domain: dict[str, Any], n: int, sampling: Sampling = "random", seed: int = 0) -> list[Any]:
    check_domain("lr", domain)
    return [point["lr"] for point in draws({"lr": domain}, sampling, seed, n)]


# -- what was drawn before


@pytest.mark.parametrize(("knob", "domain", "seed", "values"), RECORDED["draws"])
def test_ordinary_draws_are_those_of_the_first_version(
    knob: str, domain: dict[str, Any], seed: int, values: list[Any]
) -> None:
    assert [point[knob] for point in draws({knob: domain}, "random", seed, len(values))] == values


def test_the_trials_of_all_presets_are_those_of_the_first_version() -> None:
    assert {*RECORDED["presets"]} <= {*preset_names()}
    for name, (n_trials, digest) in RECORDED["presets"].items():
        ids = [config.trial_id for config in expand(load_spec(name))]
        assert (name, len(ids), hashlib.sha256(" ".join(ids).encode()).hexdigest()[:16]) == (name, n_trials, digest)


def test_the_trials_of_the_readmes_spec_are_those_of_the_first_version(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "my.yaml").write_text(text)
    assert [config.trial_id for config in expand(load_spec(str(tmp_path / "my.yaml")))] == RECORDED["readme"]


def test_sobol_draws_are_the_same_on_every_machine_and_in_every_version() -> None:
    domains = {"lr": {"loguniform": [0.001, 0.1]}, "n_neurons": {"lograndint": [16, 257]}}
    found = [(point["lr"], point["n_neurons"]) for point in draws(domains, "sobol", 0, 4)]
    assert found == SOBOL


SOBOL = [(0.00963754, 223), (0.0236357, 36), (0.0415969, 75), (0.00168852, 29)]


# -- bounds that are far apart, close together, or at the edge of what floats can hold


@pytest.mark.parametrize("sampling", SAMPLING)
def test_a_range_over_600_decades_is_filled_evenly(sampling: Sampling) -> None:
    values = drawn({"loguniform": [1e-300, 1e300]}, 300, sampling)
    assert all(1e-300 <= value <= 1e300 for value in values)
    assert kstest([math.log10(value) / 600 + 0.5 for value in values], "uniform").pvalue > 1e-3


def test_a_uniform_range_wider_than_any_float_is_filled_evenly() -> None:
    values = drawn({"uniform": [-1.7e308, 1.7e308]}, 300)
    assert kstest([value / 1.7e308 / 2 + 0.5 for value in values], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("kind", ["uniform", "loguniform"])
@pytest.mark.parametrize(
    "bounds", [[1000000, 1000001], [-1000001, -1000000], [1e15, 1e15 + 64], [0.5, 0.5000001], [3e-300, 3.0000001e-300]]
)
def test_digits_are_those_of_a_narrow_range_and_not_of_its_values(kind: str, bounds: list[float]) -> None:
    low, high = bounds
    if kind == "loguniform" and low < 0:
        return
    values = drawn({kind: bounds}, 200)
    assert all(low <= value <= high for value in values)
    assert len(set(values)) > 100 if high - low == 64 else len(set(values)) == 200
    assert kstest([(value - low) / (high - low) for value in values], "uniform").pvalue > 1e-3


def test_a_digit_of_the_width_is_the_last_that_is_written() -> None:
    assert [len(str(value)) for value in drawn({"uniform": [1000000, 1000001]}, 3)] == [len("1000000.12345")] * 3


bounds = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**62), 2**62)
KINDS = ("uniform", "loguniform", "quniform", "qloguniform", "randint", "lograndint", "qrandint", "qlograndint")


@given(st.sampled_from(KINDS), bounds, bounds, bounds, st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=500)
def test_whatever_the_bounds_the_value_lies_between_them_or_they_are_refused(
    kind: str, low: float, high: float, q: float, u: float
) -> None:
    domain = {kind: [low, high, q] if kind.startswith("q") else [low, high]}
    try:
        check_domain("lr", domain)
    except ConfigError:
        return
    value = value_at(domain, u)
    assert low <= value <= high or math.isclose(value, low) or math.isclose(value, high)
    if "randint" in kind:
        assert isinstance(value, int)
        assert value < high or kind.startswith("q")


@given(bounds, bounds, bounds, st.floats(0, 1, exclude_max=True))
def test_normal_draws_are_finite_or_refused(mean: float, sd: float, q: float, u: float) -> None:
    for domain in ({"randn": [mean, sd]}, {"qrandn": [mean, sd, q]}):
        try:
            check_domain("lr", domain)
        except ConfigError:
            continue
        assert math.isfinite(value_at(domain, u))


# -- what the domains mean


@pytest.mark.parametrize("sampling", SAMPLING)
def test_the_upper_end_of_whole_numbers_is_left_out(sampling: Sampling) -> None:
    assert set(drawn({"randint": [3, 6]}, 256, sampling)) == {3, 4, 5}
    assert set(drawn({"lograndint": [1, 5]}, 256, sampling)) == {1, 2, 3, 4}


def test_lograndint_has_as_many_values_in_each_decade() -> None:
    values = drawn({"lograndint": [1, 10**6]}, 3000)
    decades = Counter(int(math.log10(value)) for value in values)
    assert set(decades) == set(range(6)) and all(400 < n < 600 for n in decades.values())


def test_quantised_values_are_multiples_and_have_no_dust() -> None:
    assert set(drawn({"quniform": [0, 0.5, 0.1]}, 200)) == {0, 0.1, 0.2, 0.3, 0.4, 0.5}
    assert set(drawn({"qloguniform": [0.1, 0.4, 0.1]}, 200)) == {0.1, 0.2, 0.3, 0.4}
    assert set(drawn({"qrandint": [15, 65, 16]}, 200)) == {16, 32, 48, 64}
    assert set(drawn({"qlograndint": [15, 65, 16]}, 200)) == {16, 32, 48, 64}
    assert {value % 0.25 for value in drawn({"qrandn": [-1, 0.5, 0.25]}, 50)} == {0}


def test_normal_values_have_their_mean_and_deviation() -> None:
    assert kstest([(value + 1) / 0.5 for value in drawn({"randn": [-1, 0.5]}, 500)], "norm").pvalue > 1e-3


@pytest.mark.parametrize(
    ("domain", "match"),
    [
        ({"lograndint": [0, 9]}, r"space\.lr: lograndint takes bounds above 0; got \[0, 9\]"),
        ({"lograndint": [1, 2.5]}, r"space\.lr: lograndint takes whole numbers, as in {lograndint: \[16, 257\]}; got"),
        ({"quniform": [0, 1]}, r"space\.lr: quniform takes three finite numbers, as in {quniform: .*}; got \[0, 1\]"),
        ({"quniform": [0, 1, 0]}, r"space\.lr: quniform takes a step above 0 as its third number; got \[0, 1, 0\]"),
        ({"qrandint": [3, 5, 16]}, r"takes a step of which some multiple lies between the bounds; got \[3, 5, 16\]"),
        ({"quniform": [0, 1e308, 1e-308]}, r"a step of about the size of its other numbers"),
        ({"randn": [0, 0]}, r"takes a standard deviation above 0, as in {randn: .*} \(mean and .*\); got \[0, 0\]"),
    ],
)
def test_a_domain_that_cannot_be_is_one_clear_line(domain: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        check_domain("lr", domain)


# -- sobol


def spec(space: Any, **values: Any) -> SweepSpec:
    return SweepSpec(name="s", base={"n_steps": 8}, space=space, **values)


FOUR = {
    "lr": {"loguniform": [1e-4, 1e-1]}, "l1": {"uniform": [0, 1]}, "bias_decay": {"uniform": [0, 1]},
    "n_neurons": {"randint": [16, 257]},
}  # fmt: skip


@pytest.mark.parametrize("n", [1, 2, 3, 7, 100, 1500])
def test_any_number_of_sobol_points_is_an_extension_of_fewer(n: int) -> None:
    more = [(c.lr, c.l1, c.n_neurons) for c in expand(spec(FOUR, num_samples=n + 5, sampling="sobol"))]
    fewer = [(c.lr, c.l1, c.n_neurons) for c in expand(spec(FOUR, num_samples=n, sampling="sobol"))]
    assert len(fewer) == n and more[:n] == fewer


def test_sobol_points_do_not_depend_on_how_the_spec_is_written() -> None:
    turned = dict(reversed(FOUR.items()))
    one, other = (expand(spec(space, num_samples=9, sampling="sobol")) for space in (FOUR, turned))
    assert one == other
    grids = expand(spec({**FOUR, "seed": {"grid": [0, 1]}}, num_samples=9, sampling="sobol"))
    assert set(one) <= set(grids) and len(grids) == 18


def test_sobol_points_are_chosen_by_the_seed_and_fill_the_space_better_than_random_ones() -> None:
    def unit(sampling: Sampling, seed: int) -> list[tuple[float, ...]]:
        configs = expand(spec(FOUR, num_samples=64, sampling=sampling, sample_seed=seed))
        return [(math.log10(c.lr) / 3 + 4 / 3, c.l1, c.bias_decay, (c.n_neurons - 16) / 241) for c in configs]

    assert unit("sobol", 0) != unit("sobol", 1)
    assert unit("sobol", -5)
    for seed in range(5):
        assert discrepancy(unit("sobol", seed)) < discrepancy(unit("random", seed)) / 2


# -- what coincides is said


@pytest.mark.parametrize(
    ("space", "n", "lines"),
    [
        ({"bias_offset": {"randint": [0, 3]}}, 8, ["bias_offset: 8 drawn, 3 distinct; each is trained once"]),
        ({"lr": {"uniform": [1, 1 + 2**-52]}}, 8, ["lr: 8 drawn, 2 distinct; each is trained once"]),
        ({"seed": {"grid": [8, 9, 8.0]}}, 1, ["seed: 3 values in its grid, 2 distinct; each is trained once"]),
        ({"lr": {"uniform": [1000000, 1000001]}, "seed": {"grid": [1, 2]}}, 8, []),
    ],
)
def test_draws_that_coincide_are_counted(space: dict[str, Any], n: int, lines: list[str]) -> None:
    sweep = spec(space, num_samples=n)
    assert list(coinciding(sweep)) == lines
    if not lines:
        assert len(expand(sweep)) == 2 * n

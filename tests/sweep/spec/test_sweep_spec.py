"""Specs: what a YAML file or a preset comes to, and one clear line for whatever cannot be."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monosweep.model.config import ConfigError
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand, load_spec, presets

SMALL = "base: {n_features: 16, d_embed: 4, n_neurons: 32, batch_size: 64, n_steps: 256}\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a spec file; returns its path."""

    def written(text: str) -> str:
        path = tmp_path / "sweep-1.yaml"
        path.write_text(text)
        return str(path)

    return written


def spec(space: Any = None, **values: Any) -> SweepSpec:
    base = {"n_features": 16, "d_embed": 4, "n_neurons": 32, "batch_size": 64, "n_steps": 256}
    return SweepSpec(name="s", base=base, space=[{}] if space is None else space, **values)


def ids(spec: SweepSpec) -> list[str]:
    return [config.trial_id for config in expand(spec)]


# -- what a spec comes to


def test_a_grid_is_the_product_of_its_knobs() -> None:
    space = [{"lr": {"grid": [0.1, 0.2]}, "bias_offset": {"grid": [-1, 0]}, "l1": 0.5}]
    configs = expand(spec(space, repeats=2))
    found = [(c.lr, c.bias_offset, c.seed, c.l1) for c in configs]
    assert sorted(found) == [(lr, b, s, 0.5) for lr in (0.1, 0.2) for b in (-1, 0) for s in (0, 1)]


def test_sub_spaces_are_united_and_a_trial_in_both_stands_once() -> None:
    space = [{"lr": {"grid": [0.1, 0.2]}}, {"lr": {"grid": [0.2, 0.3]}}, {"lr": 0.1, "l1": 0.5}]
    configs = expand(spec(space))
    assert [(c.lr, c.l1) for c in configs] == [(0.1, 0), (0.2, 0), (0.3, 0), (0.1, 0.5)]


def test_repeats_count_up_from_each_seed() -> None:
    assert [c.seed for c in expand(spec([{"seed": {"grid": [3, 4, 9]}}], repeats=2))] == [3, 4, 5, 9, 10]


def test_without_a_space_there_is_one_trial() -> None:
    assert len(expand(spec())) == 1


@pytest.mark.parametrize(
    ("domain", "allowed"),
    [
        ({"uniform": [-2, -0.5]}, lambda v: -2 <= v <= -0.5),
        ({"loguniform": [1e-4, 1e-1]}, lambda v: 1e-4 <= v <= 1e-1),
        ({"choice": [0.1, 0.2, 0.4]}, lambda v: v in (0.1, 0.2, 0.4)),
        ({"randint": [3, 6]}, lambda v: v in (3, 4, 5)),
    ],
)
def test_random_values_stay_in_their_domain_and_fill_it(domain: dict[str, Any], allowed: Any) -> None:
    values = [c.bias_offset for c in expand(spec([{"bias_offset": domain}], num_samples=300))]
    assert all(map(allowed, values))
    ((kind, bounds),) = domain.items()
    if kind in ("choice", "randint"):
        assert len(set(values)) == 3
        return
    scale = math.log if kind == "loguniform" else float
    shares = sorted((scale(v) - scale(bounds[0])) / (scale(bounds[1]) - scale(bounds[0])) for v in values)
    # Kolmogorov's distance of 300 uniform draws exceeds 0.12 in less than one of 3,000 cases.
    assert max(abs(share - i / 300) for i, share in enumerate(shares)) < 0.12


def test_every_grid_point_sees_the_same_draws() -> None:
    space = [{"lr": {"grid": [0.1, 0.2]}, "l1": {"uniform": [0, 1]}, "bias_decay": {"uniform": [0, 1]}}]
    configs = expand(spec(space, num_samples=5))
    draws = {lr: [(c.l1, c.bias_decay) for c in configs if c.lr == lr] for lr in (0.1, 0.2)}
    assert draws[0.1] == draws[0.2]
    assert len(set(draws[0.1])) == 5
    assert all(l1 != decay for l1, decay in draws[0.1])  # knobs are drawn independently


def test_sample_seed_changes_the_draws() -> None:
    space = [{"l1": {"uniform": [0, 1]}}]
    assert not set(ids(spec(space, num_samples=9))) & set(ids(spec(space, num_samples=9, sample_seed=1)))


def test_samples_are_the_same_on_every_machine_and_in_every_version() -> None:
    """A change here would make every random sweep start over."""
    space = [{"lr": {"loguniform": [0.001, 0.1]}, "n_neurons": {"randint": [16, 257]}}]
    found = [(c.lr, c.n_neurons) for c in expand(spec(space, num_samples=3))]
    assert found == [(0.0493948, 226), (0.00925367, 62), (0.00121205, 171)]


grids = st.lists(st.sampled_from([0.001, 0.003, 0.01, 0.03]), min_size=1, max_size=4, unique=True)


@given(grids, st.lists(st.sampled_from([0.05, 0.07]), max_size=2), *[st.integers(1, 3)] * 4)
@settings(deadline=None)
def test_a_larger_spec_extends_a_smaller_one(
    grid: list[float], more: list[float], samples: int, more_samples: int, repeats: int, more_repeats: int
) -> None:
    def sweep(values: list[float], samples: int, repeats: int) -> set[str]:
        knobs = {"lr": {"grid": values}, "l1": {"loguniform": [1e-6, 1]}, "bias_offset": {"choice": [-1, 0]}}
        space = [knobs]
        return set(ids(spec(space, num_samples=samples, repeats=repeats)))

    small = sweep(grid, samples, repeats)
    assert len(small) == len(grid) * samples * repeats
    assert small <= sweep(more + grid, samples + more_samples, repeats + more_repeats)


def test_a_new_knob_or_sub_space_leaves_the_draws_of_others() -> None:
    small = [{"l1": {"uniform": [0, 1]}}]
    large = [{"lr": {"grid": [0.003, 0.1]}, "l1": {"uniform": [0, 1]}}, {"bias_decay": {"uniform": [0, 1]}}]
    assert set(ids(spec(small, num_samples=4))) <= set(ids(spec(large, num_samples=4)))


RANDOM = ["l1={loguniform: [1e-6, 1e-3]}", "num_samples=3"]


@pytest.mark.parametrize(("name", "more"), [("quick", RANDOM), ("small/G3", RANDOM), ("small", []), ("paper", [])])
def test_a_spec_goes_through_json_and_back(name: str, more: list[str]) -> None:
    loaded = load_spec(name, ["lr=[1e-3, 2e-3]", *more])
    again = SweepSpec.from_json(loaded.to_json())
    assert again == loaded
    assert ids(again) == ids(loaded)


# -- YAML


def test_numbers_are_read_as_in_yaml_1_2(write: Callable[[str], str]) -> None:
    text = SMALL + "space: {lr: {grid: [1e-3, 1E-2, .1, 5.e-1, 1]}}\n"
    assert [c.lr for c in expand(load_spec(write(text)))] == [0.001, 0.01, 0.1, 0.5, 1.0]


def test_merge_keys_may_be_overridden(write: Callable[[str], str]) -> None:
    text = "base: &a {lr: 0.1, l1: 0.2}\nspace: [&b {<<: *a, lr: 0.3}, {<<: *b, l1: 0.4}]\n"
    configs = expand(load_spec(write(text)))
    assert [(c.lr, c.l1) for c in configs] == [(0.3, 0.2), (0.3, 0.4)]


def test_name_defaults_to_the_files_stem(write: Callable[[str], str]) -> None:
    assert load_spec(write(SMALL)).name == "sweep-1"
    assert load_spec(write(SMALL + "name: paper/LR1\n")).name == "paper/LR1"


@pytest.mark.parametrize("name", ["a/progress", "lr/2/lease"])
def test_names_that_files_beside_a_spec_have_are_refused(write: Callable[[str], str], name: str) -> None:
    with pytest.raises(ConfigError, match=f"name must not end in /progress or /lease; .*; got '{name}'"):
        load_spec(write(SMALL + f"name: {name}\n"))
    assert load_spec(write(SMALL + "name: progress\n")).name == "progress"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("base: {lr: [0.1\nspace: 3\n", r"line 2, column \d+: .*expected ',' or '\]'"),
        ("base: {lr: 1}\nbase: {lr: 2}\n", r"line 2, column 1: 'base' is given twice"),
        ("base: {lr: 1, lr: 2}\n", r"line 1, column 15: 'lr' is given twice"),
        ("base: !!python/object:os.system {}\n", r"line 1, column 7: unknown tag !!python/object:os\.system; leave"),
        ("\x00", r"not text: .* at position 0"),
        ("space: {seed: {grid: [08, 09]}}\n", r"line 1, column 23: numbers are written without leading zeros; got 08"),
        ("space: {seed: {grid: [010, 011]}}\n", r"without leading zeros; got 010; write 10, or quotes for text"),
        ("base: {lr: !!bool abc}\n", r"line 1, column 12: !!bool takes a value that is one; got 'abc'"),
        ("name: 1e3\n", r"name must be text; put what looks like a number into quotes; got 1000\.0"),
        ("description: [a]\n", r"description must be text; .*; got \['a'\]"),
        ("%YAML 1.1\n---\nbase: {seed: 010}\n", r"not YAML 1\.2: it says %YAML 1\.1; take that line out"),
        ("base: &a {x: *a}\n", r"line 1, column 7: the value holds itself"),
        ("[" * 5000, r"nested more than 50 deep"),
        ("", r"must hold keys such as base and space; got nothing"),
        (f"base: {{lr: {10**400}}}\n", r"numbers have at most 300 digits; got one of 401"),
        ("- a\n", r"must hold keys such as base and space; got a list"),
        ("spaec: {}\n", r"unknown key 'spaec'; did you mean 'space'\?"),
        ("1: 2\n", r"unknown key '1'; known: name, "),
        ("search: optuna\n", r"search needs a random knob in space; got none; give one"),
        ("search: hyperopt\n", r"search.name must be 'optuna'; got 'hyperopt'"),
        ("search: optuna\nspace: {lr: {grid: [1, 2]}}\n", r"search draws its knobs; got a grid for lr; write choice"),
        ("search: optuna\nscheduler: halving\n", r"scheduler halving waits until all trials are there"),
        ("scheduler: hyperband\n", r"scheduler.name must be 'asha', .*; got 'hyperband'"),
        ("scheduler: {name: asha, grace: 1}\n", r"unknown key 'scheduler.grace'; known: name, grace_period"),
        ("scheduler: {name: asha, reduction_factor: 1}\n", r"scheduler.reduction_factor must be greater than 1; got 1"),
        ("scheduler: asha\nobjectives: {loss: min, n_mono: max}\n", r"asha takes one objective; got loss, n_"),
        ("objectives: {loss: down}\n", r"objectives.loss must be 'min' or 'max'; got 'down'"),
        ("base: {lrr: 1}\n", r"base: unknown field 'lrr'; did you mean 'lr'\?"),
        ("space: {lrr: 1}\n", r"space: unknown field 'lrr'; did you mean 'lr'\?"),
        ("base: {lr: {grid: [1]}}\n", r"base\.lr must be one value; got .*; domains go into space"),
        ("base: 3\n", r"base must hold fields of a trial, .*; got 3"),
        ("space: {}\n", r"space is empty; give at least one knob"),
        ("space: []\n", r"space is empty; give at least one knob"),
        ("space:\n", r"space is empty; give at least one knob"),
        ("space: 3\n", r"space must map fields of a trial .*; got 3"),
        ("space: [3]\n", r"space must map fields of a trial .*; got 3"),
        ("space: {lr: {grid: []}}\n", r"space\.lr: grid holds no values"),
        ("space: {lr: [1, 2]}\n", r"space\.lr is a list; write \{grid: \[1, 2\]\}"),
        ("space: {lr: {gird: [1]}}\n", r"space\.lr: unknown domain 'gird'; did you mean 'grid'\?"),
        ("space: {lr: {}}\n", r"space\.lr must have exactly one of grid, .*; got none"),
        ("space: {lr: {grid: [1], choice: [2]}}\n", r"space\.lr must have exactly one of .*; got grid, c"),
        ("space: {lr: {grid: 1}}\n", r"space\.lr: grid takes a list, as in .*; got 1"),
        ("space: {lr: {uniform: [1]}}\n", r"space\.lr: uniform takes two finite numbers, .*; got \[1\]"),
        ("space: {lr: {uniform: [0, .inf]}}\n", r"space\.lr: uniform takes two finite numbers"),
        ("space: {lr: {uniform: [a, b]}}\n", r"space\.lr: uniform takes two finite numbers"),
        ("space: {lr: {uniform: [2, 1]}}\n", r"space\.lr: uniform takes \[low, high\] .*; got \[2, 1\]"),
        ("space: {lr: {loguniform: [0, 1]}}\n", r"space\.lr: loguniform takes bounds above 0; got \[0, 1\]"),
        ("space: {seed: {randint: [0, 1.5]}}\n", r"space\.seed: randint takes whole .*; got \[0, 1\.5\]"),
        ("num_samples: 3\n", r"num_samples needs a random knob .*; for more seeds set repeats"),
        ("sampling: sobol\n", r"sampling needs a random knob .*; leave it out"),
        ("sampling: halton\n", r"sampling must be 'random' or 'sobol'; got 'halton'"),
        ("num_samples: 0\n", r"num_samples must be a whole number above 0; got 0"),
        ("repeats: 1.5\n", r"repeats must be a whole number above 0; got 1\.5"),
        ("repeats: true\n", r"repeats must be a whole number above 0; got True"),
        ("pack_size: big\n", r"pack_size must be auto or a whole number above 0; got 'big'"),
        ("pack_size: 0\n", r"pack_size must be auto or a whole number above 0; got 0"),
        ("save_weights: all\n", r"save_weights must be 'none', 'final' or 'log2'; got 'all'"),
        ("record_neurons: no\n", r"record_neurons must be 'final' or 'log2'; got 'no'"),
        ("name: a b\n", r"name must be letters, digits, .*; got 'a b'"),
        ("name: ../../etc\n", r"name must be letters, digits, .*; got '\.\./\.\./etc'"),
    ],
)  # fmt: skip
def test_a_spec_that_cannot_be_is_one_clear_line(write: Callable[[str], str], text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        load_spec(write(text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("space: {lr: {grid: [fast]}}\n", r"lr must be a number; got 'fast'"),
        ("space: {n_neurons: {grid: [-4]}}\n", r"n_neurons must lie in 1 … 2\^31; got -4"),
        ("base: {feature_prob: 0}\n", r"feature_prob must lie in \(0, 1\]; got 0\.0"),
        ("base: {feature_prob: 1.5}\n", r"feature_prob must lie in \(0, 1\]; got 1\.5"),
        ("base: {n_steps: .nan}\n", r"n_steps must be a whole number; got nan"),
        ("base: {lr: 1_000}\n", r"lr must be a number; got '1_000' \(a word; numbers are written as 1000, "),
        ("space: {seed: {grid: [1:8]}}\n", r"seed must be a whole number; got '1:8'"),
        ("space: {task: {choice: [decode]}}\n", r"task must be one of decoder, .*; got 'decode'"),
        ("space: {lr: {uniform: [0, 1]}}\nnum_samples: 10000000\nrepeats: 2\n", r"at most 10,000,000 trials"),
    ],
)
def test_a_trial_that_cannot_be_is_one_clear_line(write: Callable[[str], str], text: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        expand(load_spec(write(text)))
    assert "\n" not in str(caught.value)


KEYS = st.sampled_from(["lr", "grid", "uniform", "choice", "n_neurons", "x"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(KEYS, children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*SweepSpec.model_fields, "search", "oops"]), json_values, max_size=4))
@settings(deadline=None, max_examples=200)
def test_whatever_a_file_holds_it_is_a_sweep_or_one_line(tmp_path_factory: Any, raw: dict[str, Any]) -> None:
    import yaml

    path = tmp_path_factory.mktemp("specs") / "generated.yaml"
    path.write_text(yaml.safe_dump(raw))
    try:
        loaded = load_spec(str(path))
        message = "" if loaded.num_samples * loaded.repeats > 1000 or expand(loaded) else "no trials"
    except ConfigError as error:
        message = str(error)
    assert message != "no trials"
    assert "\n" not in message


# -- include


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """Two sweeps of different sizes and seeds, and one that includes both."""
    (tmp_path / "a.yaml").write_text(SMALL + "space: {lr: {grid: [0.1, 0.2]}}\nrepeats: 2\nsave_weights: final\n")
    (tmp_path / "b.yaml").write_text("base: {n_steps: 8, lr: 0.3, seed: 5}\nspace: {l1: {grid: [0, 1]}}\n")
    names = [str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")]
    (tmp_path / "both.yaml").write_text(f"include: [{', '.join(names)}]\n")
    return tmp_path


def test_an_including_spec_is_the_union_of_the_included(family: Path) -> None:
    both = load_spec(str(family / "both.yaml"))
    parts = [expand(load_spec(str(family / name))) for name in ("a.yaml", "b.yaml")]
    assert expand(both) == parts[0] + parts[1]
    assert [len(part) for part in parts] == [4, 2]
    assert both.name == "both" and both.save_weights == "final"
    assert ids(SweepSpec.from_json(both.to_json())) == ids(both)


def test_what_an_including_spec_says_itself_comes_first(family: Path) -> None:
    text = (family / "both.yaml").read_text()
    (family / "more.yaml").write_text(text + "base: {lr: 0.9, n_steps: 2}\nrepeats: 3\nsave_weights: none\n")
    more = load_spec(str(family / "more.yaml"))
    assert [(c.lr, c.seed) for c in expand(more)[:3]] == [(0.9, 0), (0.9, 1), (0.9, 2)]
    assert len(expand(more)) == 3 + 6
    assert more.save_weights == "none"


def test_an_override_reaches_what_is_included(family: Path) -> None:
    configs = expand(load_spec(str(family / "both.yaml"), ["lr=0.7", "repeats=1"]))
    assert [(c.lr, c.l1, c.seed) for c in configs] == [(0.7, 0, 0), (0.7, 0, 5), (0.7, 1, 5)]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("include: quick\n", r"include must list presets or YAML files, .*; got 'quick'"),
        ("include: [3]\n", r"include must list .*; got \[3\]"),
        ("include: [quik]\n", r"unknown preset 'quik'; did you mean 'quick'"),
        ("include: [{here}/sweep-1.yaml]\n", r"includes itself"),
        ("include: [quick]\nspace: {l1: {uniform: [0, 1]}}\n", r"sweep-1 draws at random; launch it by itself"),
        ("include: [quick]\nbase: {seed: x}\nrepeats: 2\n", r"seed must be a whole number; got 'x'"),
    ],
)
def test_an_include_that_cannot_be_is_one_clear_line(
    write: Callable[[str], str], tmp_path: Path, text: str, match: str
) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        load_spec(write(text.replace("{here}", str(tmp_path))))
    assert "\n" not in str(caught.value)


# -- presets and overrides


def test_unknown_presets_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown preset 'quik'; did you mean 'quick'\?"):
        load_spec("quik")
    with pytest.raises(ConfigError, match=r"unknown preset 'zzz'; known: .*quick.*YAML file"):
        load_spec("zzz")
    with pytest.raises(ConfigError, match=r"cannot read spec '.*gone\.yaml': No such file"):
        load_spec(str(tmp_path / "gone.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(ConfigError, match=r"cannot read spec .*: Is a directory"):
        load_spec(str(tmp_path / "folder.yaml"))


def test_quick_is_the_contrast_of_figure_1() -> None:
    configs = expand(load_spec("quick"))
    assert len(configs) == 16
    assert {(c.bias_offset, c.bias_decay) for c in configs} == {(0, 0), (-1, 0.12)}
    assert {c.lr for c in configs} == {0.003, 0.01, 0.02, 0.03}
    assert {c.seed for c in configs} == {0, 1}
    sizes = {(c.n_features, c.d_embed, c.n_neurons, c.batch_size, c.n_steps, c.feature_prob) for c in configs}
    assert sizes == {(128, 32, 256, 512, 15872, 1 / 32)}


def test_presets_tell_their_size_and_purpose() -> None:
    found = {preset.name: preset for preset in presets()}
    assert found["quick"].n_trials == 16
    assert all(preset.description for preset in found.values())


def test_an_override_fixes_a_field_in_every_sub_space() -> None:
    configs = expand(load_spec("quick", ["lr=5e-3", "repeats=1"]))
    assert [(c.lr, c.bias_offset) for c in configs] == [(0.005, 0), (0.005, -1)]


def test_an_override_may_be_a_grid_or_a_random_knob() -> None:
    assert {c.seed for c in expand(load_spec("tiny", ["seed=[7, 8]", "repeats=1"]))} == {7, 8}
    configs = expand(load_spec("tiny", ["l1={uniform: [0, 1]}", "num_samples=4", "lr=0.1", "repeats=1"]))
    assert len({c.l1 for c in configs}) == 4


def test_overriding_the_only_knob_leaves_one_trial() -> None:
    assert len(expand(load_spec("tiny", ["lr=0.1", "repeats=1"]))) == 1


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("lr", r"--set takes key=value, .*; got 'lr'"),
        ("=3", r"--set takes key=value, .*; got '=3'"),
        ("lrr=3", r"--set: unknown key 'lrr'; did you mean 'lr'\?"),
        ("lr=[1", r"--set 'lr=\[1' is not YAML .* line 1, column 3"),
        ("lr=", r"lr must be a number; got None"),
        ("lr=[]", r"space\.lr: grid holds no values"),
        ("base=3", r"base must hold fields"),
        ("repeats=many", r"repeats must be a whole number above 0; got 'many'"),
    ],
)
def test_an_override_that_cannot_be_is_one_clear_line(override: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        expand(load_spec("tiny", [override]))


def test_json_that_is_not_a_spec_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        SweepSpec.from_json("{")
    with pytest.raises(ConfigError, match="unknown key 'x'"):
        SweepSpec.from_json('{"name": "a", "x": 1}')


def test_defaults_are_the_papers(write: Callable[[str], str]) -> None:
    (config,) = expand(load_spec(write("description: nothing but defaults\n")))
    assert config == TwoLayerConfig()

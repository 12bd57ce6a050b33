"""Hundreds of specs and command lines that no one has thought of: a valid plan, or one line that says what is wrong.

Everything goes through the front door, as typed; `--dry-run` keeps what is valid from training.
"""

from __future__ import annotations

import io
import os
import re
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monosweep.model.config import field_types
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.__main__ import USAGE_ERROR, VERBS, main
from monosweep.sweep.spec.domains import KINDS

_EXAMPLES = int(os.environ.get("BAD_INPUTS", "60"))
"""Of each kind; more with BAD_INPUTS=5000."""
_SEEN = settings(
    max_examples=_EXAMPLES,
    deadline=None,
    database=None,
    derandomize="BAD_INPUTS" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
_NAMES = st.sampled_from([*field_types(TwoLayerConfig), "n_feature", "learning_rate", "", "é", "lr "])
_NUMBERS = st.sampled_from([
    0, 1, 2, 4, 8, 16, -1, 2**31, 2**63, 10**400, 0.0, -0.0, 1e-3, 0.5, 1.5, 1e308, 1e-320, float("nan"), float("inf"),
])  # fmt: skip
_WORDS = st.sampled_from([
    "relu", "decoder", "abs", "Lamb", "Adam", "Yogi", "auto", "1e-3", "fp64", "", "\0", "a b", "../x", "\u2028",
])  # fmt: skip
_SCALARS = st.one_of(_NUMBERS, _WORDS, st.none(), st.booleans(), st.text(max_size=5))
_SPELT = st.sampled_from([
    "08", "-010", "1:8", "1_000", "0x1F", "0o17", "1e2", "2024-01-31", "!!bool abc", "!!set {a}", "!x 1", "&a [*a]",
    "<<: {a: 1}", ".inf", "1e400", "yes", "~", "'", "{", "]", "? a", "\t", "*a", "%YAML 1.1", "---", "| 8", "\ud800",
    "\x7f", "1" * 5000, "[" * 99,
])  # fmt: skip
"""What YAML 1.1, 1.2 and Python read differently, or not at all."""
_KINDS = st.sampled_from([*KINDS, "normal"])
_LISTS = st.lists(st.one_of(_SCALARS, st.lists(_SCALARS, max_size=2)), max_size=3)
_DOMAINS = st.dictionaries(_KINDS, st.one_of(_LISTS, _SCALARS), max_size=2)
_ANY = st.one_of(_SCALARS, _LISTS, _DOMAINS)
_SANE = st.fixed_dictionaries({
    "n_features": st.sampled_from([8, 16]), "d_embed": st.sampled_from([4, 8]), "n_neurons": st.sampled_from([8, 32]),
    "batch_size": st.sampled_from([16, 64]), "n_steps": st.sampled_from([16, 64]),
})  # fmt: skip
_BASES = st.builds(lambda sane, odd: {**sane, **odd}, _SANE, st.dictionaries(_NAMES, _ANY, max_size=2))
_SPACES = st.dictionaries(_NAMES, _ANY, max_size=3)
_SPECS = st.fixed_dictionaries({}, optional={
    "name": _SCALARS, "description": _SCALARS, "base": st.one_of(_BASES, _SANE, _ANY),
    "space": st.one_of(_SPACES, st.lists(_SPACES, max_size=2), _ANY), "num_samples": _ANY, "sample_seed": _SCALARS,
    "sampling": st.one_of(st.just("sobol"), _SCALARS), "repeats": _ANY, "pack_size": _ANY, "save_weights": _SCALARS,
    "record_neurons": _SCALARS,
    "include": st.one_of(_LISTS, st.just(["tiny"]), _SCALARS), "scheduler": _SCALARS, "extra": _SCALARS,
})  # fmt: skip
_GOOD = """
base: {n_features: 16, d_embed: 4, n_neurons: 32, feature_prob: 0.125, batch_size: 64, n_steps: 64}
space: {lr: {grid: [0.003, 0.03]}, bias_offset: {uniform: [-1, 0]}}
num_samples: 2
pack_size: 2
"""
_SETS = st.builds("{}={}".format, st.one_of(_NAMES, _WORDS), st.one_of(_SCALARS, _LISTS, _DOMAINS, _SPELT))
_KEYS = ("base", "space", "lr", "grid", "num_samples", "name", "repeats")
_OPTIONS = st.sampled_from([
    "--set", "--out", "--pack-size", "--executor", "--device", "--workers", "--address", "--dry-run", "--help",
    "--retry-failed", "--format", "--index", "--plot", "--sweep", "-h", "--", "-", "--no-such", "--set=lr=1", "--lr",
])  # fmt: skip
_VALUES = st.one_of(
    st.sampled_from(["tiny", "quick", "inline", "ray", "cpu", "cuda", "4", "0", "lr=0.1", "select 1", "csv", "out"]),
    _SCALARS.map(str), _SETS, _SPELT,
)  # fmt: skip
_SAFE_VERBS = ("presets", "status", "replay", "query", "figures", "claims")
"""Those that can neither train nor reach out."""


@dataclass(frozen=True)
class Answer:
    """What came back through the front door."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths lead nowhere, and hundreds of plans take no time to be timed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("monosweep.sweep.drive.seconds_to_train", lambda packs, n_workers, device: 1.0)


def ask(*argv: str) -> Answer:
    """`monosweep ARGV` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as end:  # --help
            status = int(end.code or 0)
    return Answer(status, out.getvalue(), err.getvalue())


def assert_clear(answer: Answer) -> None:
    """Either it worked, or one line says why not."""
    if answer.status == 0:
        assert answer.out
        return
    assert answer.status == USAGE_ERROR, answer
    assert answer.err.startswith("monosweep: "), answer
    assert answer.err.count("\n") == 1, answer
    assert len(answer.err) < 2000, answer


def plan(text: str | bytes, *options: str) -> Answer:
    """A dry run of a spec."""
    path = Path("spec.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ask("launch", str(path), "--dry-run", "--executor", "inline", "--device", "cpu", *options)


@given(spec=_SPECS)
@_SEEN
def test_any_spec(spec: dict[str, Any]) -> None:
    assert_clear(plan(yaml.safe_dump(spec, allow_unicode=True)))


@given(spec=st.fixed_dictionaries({"base": _BASES, "space": _SPACES}))
@_SEEN
def test_a_nearly_good_spec(spec: dict[str, Any]) -> None:
    assert_clear(plan(yaml.safe_dump(spec, allow_unicode=True)))


@given(place=st.integers(0, len(_GOOD)), length=st.integers(0, 6), text=st.text(max_size=4))
@_SEEN
def test_a_slip_of_the_fingers(place: int, length: int, text: str) -> None:
    assert_clear(plan(_GOOD[:place] + text + _GOOD[place + length :]))


_PIECES = st.sampled_from([*_KEYS, ": ", "\n", "\n  ", ", ", "- ", "[", "}", "#"])


@given(parts=st.lists(st.one_of(_PIECES, _SPELT), max_size=12))
@_SEEN
def test_what_readers_of_yaml_differ_about(parts: list[str]) -> None:
    assert_clear(plan("".join(parts).encode(errors="surrogatepass")))


@given(place=st.sampled_from(re.findall(r"[-.0-9]+", _GOOD)), spelt=_SPELT)
@_SEEN
def test_a_number_spelt_otherwise(place: str, spelt: str) -> None:
    assert_clear(plan(_GOOD.replace(place, spelt, 1).encode(errors="surrogatepass")))


@given(data=st.one_of(st.binary(max_size=30), st.text(max_size=30).map(str.encode)))
@_SEEN
def test_any_file(data: bytes) -> None:
    assert_clear(plan(data))


@given(sets=st.lists(_SETS, min_size=1, max_size=3))
@_SEEN
def test_any_override(sets: list[str]) -> None:
    assert_clear(plan(_GOOD, *(token for value in sets for token in ("--set", value))))


@given(words=st.lists(st.one_of(_OPTIONS, _VALUES), max_size=5))
@_SEEN
def test_any_options_of_a_launch(words: list[str]) -> None:
    """Last words win: whatever was asked for, it is a dry run in this process."""
    if "--address" not in " ".join(words) and "--" not in words:
        assert_clear(plan(_GOOD, *words, "--dry-run", "--executor", "inline"))


@given(
    verb=st.one_of(st.sampled_from(_SAFE_VERBS), st.text(max_size=8)),
    words=st.lists(st.one_of(_OPTIONS, _VALUES), max_size=4),
)
@_SEEN
def test_any_command_line(verb: str, words: list[str]) -> None:
    words = [word.replace("\0", "") for word in words]  # no shell can pass it
    if verb in _SAFE_VERBS or verb not in VERBS:
        assert_clear(ask(verb, *words))

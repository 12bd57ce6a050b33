"""Members as bytes and back: whole, in part, into another engine; and what is no checkpoint."""

import dataclasses
import json
import random
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from monosweep.model.checkpoint import from_bytes, sealed, serialise, to_bytes
from monosweep.model.checkpoint_header import FORMAT, CheckpointError
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.member import MemberState
from monosweep.model.trainer import PackTrainer

from .rows import bits, finish

SHAPE = {"n_features": 16, "d_embed": 4, "n_neurons": 12, "batch_size": 8, "feature_prob": 0.2}


def trials(n=4, **knobs):
    return [
        TwoLayerConfig(**SHAPE, lr=0.002 * (1 + i), lr_period=9 * (1 + i), n_steps=100 - 9 * i, seed=i, **knobs)
        for i in range(n)
    ]


def half_way(configs, engine="auto", steps=37, record="log2"):
    """A pack that has stopped between two recorded steps."""
    trainer = PackTrainer(configs, "cpu", record, engine)
    while trainer.step < steps:
        trainer.seats.engine.chunk = min(5, steps - trainer.step)
        trainer.advance(0.0)
    return trainer


def plain(state):
    """All that a member is, to be compared."""
    tensors = {name: (tensor.dtype, tensor.numpy().tobytes()) for name, tensor in state.tensors.items()}
    rows = {
        (table, column): [(values.dtype.str, values.tobytes()) for values in arrays]
        for table, columns in state.rows.items()
        for column, arrays in columns.items()
    }
    latest = (state.latest.dtype.str, state.latest.tobytes())
    return state.config, state.step, tensors, latest, state.least, state.curve, rows, state.seconds


@pytest.mark.parametrize("engine", ["packed", "vmapped", "solo"])
@pytest.mark.parametrize("steps", [1, 2, 37, 64])
def test_a_member_is_the_same_after_a_round_trip(engine, steps):
    """Rows of every recorded step so far, losses, curve and moments: no bit and no type is lost."""
    configs = trials(1 if engine == "solo" else 4)
    trainer = half_way(configs, engine, steps)
    members = [trainer.take(config.trial_id) for config in configs]
    looks = len([s for s in (1, 2, 4, 8, 16, 32, 64) if s <= steps])
    for member in members:
        assert len(member.curve) == looks == len(member.rows["neurons"]["r"]) and member.seconds > 0
        assert [int(s[0]) for s in member.rows["neurons"]["step"]] == [point["step"] for point in member.curve]
        assert len(member.tensors) == 9 and len(member.latest) > 0
    again, about = from_bytes(to_bytes(members, {"engine": engine, "number": 3}))
    assert about == {"engine": engine, "number": 3}
    assert [plain(member) for member in again] == [plain(member) for member in members]


def test_who_has_not_begun_is_a_member_too():
    state = MemberState(config=trials()[0])
    (again,), _ = from_bytes(to_bytes([state], {}))
    assert plain(again) == plain(state) and again.least == float("inf") and not again.tensors


def test_names_of_tensors_and_tables_do_not_meet():
    """Whatever a family calls its tensors."""
    names = ("losses", "rows/a/b/0", "latest", "tensors/x", "0/a")
    tensors = {name: torch.full((2,), i) for i, name in enumerate(names)}
    rows = {"a": {"b": [np.arange(3), np.arange(0)]}, "losses": {"b": [np.float32([1])]}}
    state = MemberState(config=trials()[0], step=2, tensors=tensors, latest=np.array([0.5, 0.25]), rows=rows)
    (again, second), _ = from_bytes(to_bytes([state, dataclasses.replace(state, config=trials()[1])], {}))
    assert plain(again) == plain(state) and plain(second)[1:] == plain(state)[1:]


def test_arrays_that_members_share_are_written_for_each():
    shared = np.arange(12)
    states = [MemberState(config=c, step=1, rows={"t": {"a": [shared], "b": [shared[:5]]}}) for c in trials()]
    for again, state in zip(from_bytes(to_bytes(states, {}))[0], states, strict=True):
        assert plain(again) == plain(state)


@pytest.mark.parametrize("chosen", [(0,), (3, 1), (0, 1, 2, 3)])
def test_a_part_of_a_pack_goes_on_and_nobody_else(chosen):
    configs = trials()
    data = half_way(configs).to_bytes()
    only = [configs[place].trial_id for place in chosen]
    trainer = PackTrainer.from_bytes(data, "cpu", only=[*only, "0123456789abcdef"])
    assert trainer.members == tuple(configs[place] for place in sorted(chosen))
    assert (trainer.record, trainer.step) == ("log2", 37)
    assert finish(trainer) == {i: r for i, r in finish(PackTrainer(configs, "cpu", "log2")).items() if i in only}


@pytest.mark.parametrize("first", ["packed", "vmapped", "solo"])
@pytest.mark.parametrize("second", ["packed", "vmapped", "solo"])
def test_a_checkpoint_goes_on_in_any_engine(first, second):
    """In its own to the bit and without being told; in another as near as engines are."""
    configs = trials(1 if "solo" in (first, second) else 4, precision="fp64")
    data, whole = half_way(configs, first).to_bytes(), finish(PackTrainer(configs, "cpu", "log2", first))
    untold = PackTrainer.from_bytes(data, "cpu")
    assert untold.engine == first and finish(untold) == whole
    trainer = PackTrainer.from_bytes(data, "cpu", engine=second)
    assert trainer.engine == second
    for trial_id, (_, status, _, last_step, metrics, columns) in finish(trainer).items():
        theirs = whole[trial_id]
        assert (status, last_step) == (theirs[1], theirs[3]) and columns.keys() == theirs[5].keys()
        for name, value in theirs[4].items():
            assert metrics[name] == pytest.approx(value, rel=1e-8)
        if first == second:
            assert columns == theirs[5]


def test_what_is_recorded_and_kept_may_be_said_anew():
    data = half_way(trials(), record="final").to_bytes()
    assert PackTrainer.from_bytes(data, "cpu").record == "final"
    with pytest.raises(CheckpointError, match="lacks rows of the steps so far, which are asked for now"):
        PackTrainer.from_bytes(data, "cpu", record="log2")
    trainer = PackTrainer.from_bytes(data, "cpu", keep_weights="final")
    kept = {(step, trial_id) for snapshot in trainer for step, held in snapshot.weights.items() for trial_id in held}
    assert kept == {(config.n_steps, config.trial_id) for config in trials()}
    assert [set(r.tables["neurons"]["step"]) for r in trainer.results()] == [{c.n_steps} for c in trials()]
    all_of_them = PackTrainer.from_bytes(half_way(trials(), record="log2").to_bytes(), "cpu", record="final")
    assert all(snapshot.points for snapshot in all_of_them)
    assert [max(r.tables["neurons"]["step"]) for r in all_of_them.results()] == [c.n_steps for c in trials()]


def test_a_header_names_the_members():
    """Whoever plans reads it without the tensors."""
    configs = trials()
    told = json.loads(header(half_way(configs).to_bytes())[FORMAT])
    assert [about["trial_id"] for about in told["members"]] == [config.trial_id for config in configs]


def header(data):
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])["__metadata__"]


def altered(change):
    """A checkpoint whose header says something else."""
    data = half_way(trials()).to_bytes()
    told = json.loads(header(data)[FORMAT])
    change(told)
    return sealed(safetensors.torch.load(data), json.dumps(told))


SPOILT = {
    "another trial's values": (lambda told: told["members"][0]["config"].update(lr=7.0), "trial .* under the name"),
    "a knob that is none": (lambda told: told["members"][1]["config"].update(width=7), "unknown field 'width'"),
    "a family that is none": (lambda told: told["members"][1]["config"].update(family="x"), "unknown family 'x'"),
    "a value out of range": (lambda told: told["members"][1]["config"].update(lr=-1), "lr must be above 0; got -1"),
    "no step": (lambda told: told["members"][2].pop("step"), "'step'"),
    "one member less": (lambda told: told["members"].pop(), "list index out of range"),
    "no members": (lambda told: told.pop("members"), "'members'"),
    "members that are none": (lambda told: told.update(members=3), "not iterable"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_header_that_does_not_fit_is_named(case):
    change, message = SPOILT[case]
    wrong = rf"^the checkpoint is damaged \(.*{message}.*\); delete it to start over$"
    with pytest.raises(CheckpointError, match=wrong):
        PackTrainer.from_bytes(altered(change), "cpu")


@pytest.mark.parametrize("version", [1, 2])
def test_a_checkpoint_of_an_earlier_version_is_of_other_code(version):
    old = serialise({"params": torch.zeros(3)}, {f"monosweep_checkpoint_{version}": "{}"})
    for data in (old, old + b"MSC1" + bytes(4)):  # for a while they had a seal behind them
        with pytest.raises(CheckpointError, match=rf"other code \(format monosweep_checkpoint_{version}; this is c\)"):
            from_bytes(data, code="c")


def test_a_checkpoint_is_gone_on_from_by_the_code_that_wrote_it():
    trainer = half_way(trials())
    data = trainer.to_bytes("src.a")
    assert finish(PackTrainer.from_bytes(data, "cpu", code="src.a")) == finish(trainer)
    assert PackTrainer.from_bytes(data, "cpu").step == 37, "whoever asks for no code takes any"
    with pytest.raises(CheckpointError, match=r"^the checkpoint was written by other code \(src.a; this is src.b\); "):
        PackTrainer.from_bytes(data, "cpu", code="src.b")


def test_a_checkpoint_that_is_not_whole_is_told():
    """Wherever it is cut, and whichever bit has turned; a checksum of the numbers finds what no parser can."""
    data, rng = half_way(trials(2)).to_bytes("src.a"), random.Random(0)
    start = 8 + int.from_bytes(data[:8], "little")
    assert from_bytes(data, code="src.a")
    for end in (0, 1, 8, 9, start - 1, start, start + 1, len(data) - 1, *(rng.randrange(len(data)) for _ in range(20))):
        with pytest.raises(CheckpointError, match=r"^the checkpoint is damaged"):
            from_bytes(data[:end], code="src.a")
    for place in (start, len(data) - 1, *(rng.randrange(start, len(data)) for _ in range(40))):
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << rng.randrange(8)
        with pytest.raises(CheckpointError, match=r"^the checkpoint is damaged \(it does not have its checksum\)"):
            from_bytes(bytes(spoilt), code="src.a")
    for place in (rng.randrange(8, start) for _ in range(60)):
        spoilt = bytearray(data)
        spoilt[place] ^= 1 << rng.randrange(8)
        with pytest.raises(CheckpointError, match=r"^the checkpoint (is damaged|was written by other code)"):
            from_bytes(bytes(spoilt), code="src.a")


SUMS = """
import resource, torch
from monosweep.model.checkpoint import _checksum
kept = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
tensors = {"w": torch.ones(2**24)}
_checksum({"w": torch.ones(4)}, "")
before = kept()
_checksum(tensors, "")
print(kept() - before)
"""


def test_no_copy_is_made_for_a_checksum():
    done = subprocess.run([sys.executable, "-c", SUMS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2**22


def test_a_member_without_losses_is_named():
    data = half_way(trials()).to_bytes()
    tensors = safetensors.torch.load(data)
    tensors.pop("0/losses")
    with pytest.raises(CheckpointError, match=r"is damaged \('losses'\)"):
        PackTrainer.from_bytes(sealed(tensors, header(data)[FORMAT]), "cpu")


def test_a_members_results_do_not_share_what_goes_on():
    """Rows that were taken do not grow with those of the member that stayed."""
    trainer = half_way(trials())
    state = trainer.take(trials()[0].trial_id)
    before = plain(state)
    for _ in trainer:
        pass
    assert plain(state) == before
    other = PackTrainer([trials()[1]], "cpu", "log2")
    other.put(state), other.put(half_way(trials()).take(trials()[2].trial_id))
    for _ in other:
        pass
    assert plain(state) == before
    assert bits(other.results()[1]) == finish(PackTrainer([trials()[0]], "cpu", "log2"))[trials()[0].trial_id]

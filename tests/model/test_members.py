"""Members leave packs and join others, at any step and in any engine, and end as if each had been trained alone."""

import dataclasses
import random
import time
import weakref

import numpy as np
import pytest

from monosweep.model.checkpoint import from_bytes, to_bytes
from monosweep.model.config import ConfigError
from monosweep.model.engines import vmapped
from monosweep.model.engines.cpu import step as cpu_step
from monosweep.model.engines.cpu.engine import PackedEngine
from monosweep.model.engines.gpu import elementwise
from monosweep.model.engines.gpu import engine as gpu
from monosweep.model.engines.gpu.engine import StackedEngine
from monosweep.model.engines.solo import SoloEngine
from monosweep.model.engines.vmapped import VmappedEngine
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.member import MemberState
from monosweep.model.records import TrialStatus
from monosweep.model.trainer import PackTrainer

from .rows import bits, finish

SHAPE = {"n_features": 16, "d_embed": 4, "n_neurons": 12, "batch_size": 8}
VARIANTS = [
    {}, {"task": "abs", "activation": "gelu", "bias_decay_mode": "per_neuron"},
    {"task": "reprojector", "connectivity": 0.5, "bias_decay_mode": "tied_to_update", "precision": "fp64"},
]  # fmt: skip


def pack_of(n, **knobs):
    """Trials that differ in every knob that members may differ in, their lengths included; some share their samples."""
    return [
        TwoLayerConfig(
            **{
                "feature_prob": (0.1, 0.3)[i % 2], "feature_dist": ("uniform", "power_law")[i // 2 % 2],
                "lr": 0.001 * (1 + i / 16), "lr_period": (16, 512)[i % 3 == 0],
                "lr_schedule": ("cosine", "constant", "cosine_to_zero")[i % 3],
                "bias_offset": (0, -0.5, 0.25)[i % 3], "bias_decay": (0, 5.0)[i % 2], "l1": (0, 0.001)[i // 3 % 2],
                "bias_reg": (0, 0.01)[i // 4 % 2], "seed": i % 4, "n_steps": (40, 7, 64, 90, 33)[i % 5],
                **SHAPE, **knobs,
            }
        )
        for i in range(n)
    ]  # fmt: skip


def bad(**knobs):
    """A trial that diverges after a few dozen steps (solu) or at once."""
    return TwoLayerConfig(**{**SHAPE, "n_steps": 90, "lr": 1e6, **knobs})


def trainer_of(configs, engine):
    if engine != "gpu":
        return PackTrainer(configs, "cpu", "log2", engine)
    trainer = PackTrainer(configs, "cpu", "log2")
    trainer.seats.engine = StackedEngine(configs, "cpu")
    return trainer


def stop(trainer, trial_id, why):
    """The result of one that leaves."""
    (result,) = trainer.stop_all({trial_id: why})
    return result


def alone(config, engine="packed"):
    return finish(trainer_of([config], engine))[config.trial_id]


def shuffled(configs, size, chunk, engine="packed", seed=0):
    """Train all of them in two packs of at most `size`, among which members are moved around at any step, some by way
    of a checkpoint; the results, and how often a member was moved beside strangers at other steps."""
    rng, waiting, found, moves = random.Random(seed), [MemberState(config=c) for c in configs], {}, 0
    packs = [trainer_of([waiting.pop().config], engine) for _ in range(min(2, len(waiting)))]
    rounds = 0
    while waiting or not all(pack.done for pack in packs):
        rounds += 1
        assert rounds < 2000, "members lose steps on their way"
        for pack in packs:
            while waiting and len(pack.members) < size:
                state = waiting.pop(rng.randrange(len(waiting)))
                moves += state.step > 0 and any(step != state.step for step in pack.seats.engine.steps if step)
                pack.put(state)
        for pack in packs:
            if pack.done:
                continue
            if engine != "gpu":
                pack.seats.engine.chunk = chunk
            snapshot = pack.advance(0.0)
            for result in snapshot.left if snapshot else ():
                found[result.config.trial_id] = bits(result)
        givers = [pack for pack in packs if pack.members]
        if givers and rng.random() < 0.5:
            giver = rng.choice(givers)
            trial_id = rng.choice(giver.members).trial_id
            state = giver.take(trial_id)
            giver.drop(trial_id)
            waiting.append(from_bytes(to_bytes([state], {}))[0][0] if rng.random() < 0.3 else state)
    return found, moves


@pytest.fixture(scope="module")
def expected():
    """What each trial of some pack reports if it is trained alone."""
    known = {}

    def of(configs, engine="packed"):
        for config in configs:
            if (config, engine) not in known:
                known[config, engine] = alone(config, engine)
        return {config.trial_id: known[config, engine] for config in configs}

    return of


@pytest.mark.parametrize(("size", "chunk"), [(1, 3), (7, 1), (7, 128), (64, 5)])
@pytest.mark.parametrize("variant", range(3))
def test_rows_are_bit_equal_wherever_members_come_and_go(variant, size, chunk, expected):
    """In packs of any size, in chunks of any length, beside members at other steps, of other lengths, and diverging."""
    configs = [*pack_of({1: 6, 7: 22, 64: 64}[size], **VARIANTS[variant]), bad(**VARIANTS[variant])]
    found, moves = shuffled(configs, size, chunk)
    assert found == expected(configs)
    assert moves > (0 if size == 1 else 3) or size == 1
    backwards, _ = shuffled(configs[::-1], size, chunk, seed=1)
    assert backwards == found


@pytest.mark.parametrize("lr", [1e6, 1e30])
def test_when_a_trial_is_found_to_have_overflowed_is_its_own_matter(lr, expected):
    """Not that of neighbours who are looked at more often; parameters may overflow long before a loss does."""
    ill = bad(lr=lr)
    trainer = PackTrainer([ill], "cpu", "log2")
    trainer.seats.engine.chunk = 3
    assert finish(trainer) == expected([ill])
    late = PackTrainer(pack_of(3), "cpu", "log2")
    while late.step < 5:
        late.seats.engine.chunk = 1
        late.advance(0.0)
    late.put(MemberState(config=ill))
    assert finish(late)[ill.trial_id] == expected([ill])[ill.trial_id]


@pytest.mark.parametrize("size", [7, 64])
def test_trials_of_many_lengths_share_a_pack(size, expected):
    configs = [*pack_of(size - 1), bad()]
    for order in (configs, configs[::-1]):
        trainer = PackTrainer(order, "cpu", "log2")
        lengths = {config.n_steps for config in order}
        ended = [(s.step, result.last_step) for s in trainer for result in s.left if result.status == "completed"]
        assert {last for _, last in ended} == lengths and all(step == last for step, last in ended)
        assert {r.config.trial_id: bits(r) for r in trainer.results()} == expected(configs)


def same(ours, theirs, rtol):
    """Two trials' reports, to a tolerance."""
    assert ours[:4] == theirs[:4]
    if theirs[4] is not None:
        for name, value in theirs[4].items():
            assert ours[4][name] == pytest.approx(value, rel=rtol)
    assert ours[5].keys() == theirs[5].keys()
    for column, (dtype, raw) in theirs[5].items():
        kind, mine = ours[5][column]
        assert kind == dtype
        np.testing.assert_allclose(np.frombuffer(mine, kind), np.frombuffer(raw, dtype), rtol=rtol, atol=1e-9)


@pytest.mark.parametrize(("engine", "size", "chunk"), [("solo", 1, 3), ("vmapped", 4, 3), ("gpu", 4, 3), ("gpu", 4, 7)])
@pytest.mark.parametrize("variant", range(3))
def test_rows_are_equal_in_the_other_engines(variant, engine, size, chunk, expected, monkeypatch):
    """To the bit in the solo engine; in the others to 1e-8 in double precision, of those that the cpu engine trains."""
    knobs = {**VARIANTS[variant], "precision": "fp64", "activation": "solu"}
    configs = [*pack_of(6, **knobs), bad(**knobs)]
    monkeypatch.setattr(gpu, "CHUNK_STEPS", chunk)
    found, _ = shuffled(configs, size, chunk, engine)
    if engine == "solo":
        assert found == expected(configs, "solo")
    for trial_id, theirs in expected(configs).items():
        same(found[trial_id], theirs, 1e-8)


ENGINES = {
    "packed": PackedEngine, "solo": lambda configs: SoloEngine(configs, "cpu"),
    "vmapped": lambda configs: VmappedEngine(configs, "cpu"), "gpu": lambda configs: StackedEngine(configs, "cpu"),
}  # fmt: skip
STRANGERS = 3


def beside_strangers(name, state, config):
    """An engine that holds a member, in slot 2 beside strangers at other steps unless it holds one only."""
    if name == "solo":
        engine = SoloEngine([config], "cpu")
        engine.put(0, state)
        return engine, 0
    shapes = ("task", "activation", "connectivity", "bias_decay_mode", "precision")
    knobs = {name: getattr(config, name) for name in shapes}
    strangers = [c for c in pack_of(8, **knobs) if c != config][:STRANGERS]
    strangers[0] = dataclasses.replace(config, lr=0.0077)  # it reads the member's samples, at steps of its own
    engine = ENGINES[name](strangers)
    engine.advance(3)
    engine.put(2, None)
    engine.put(STRANGERS, MemberState(config=pack_of(9, **knobs)[8]))
    engine.advance(2)
    engine.put(2, state)
    assert engine.steps == [5, 5, state.step, 2]
    return engine, 2


@pytest.mark.parametrize("way", [
    ("packed", "solo", "vmapped", "packed"), ("solo", "gpu", "packed"), ("vmapped", "gpu", "vmapped", "solo"),
    ("packed", "packed", "packed"), ("gpu", "gpu"),
])  # fmt: skip
@pytest.mark.parametrize("variant", range(3))
def test_a_member_goes_from_engine_to_engine(way, variant):
    """At odd steps, beside strangers; in the cpu engine alone without losing a bit."""
    config = pack_of(2, **VARIANTS[variant])[1]
    config = dataclasses.replace(config, n_steps=60, l1=0.001, seed=5)
    rtol = {"fp32": 1e-4, "fp64": 1e-9}[config.precision]
    straight = PackedEngine([config])
    expected, losses, state, done = straight.advance(60)[:, 0], [], MemberState(config=config), 0
    for place, name in enumerate(way):
        engine, slot = beside_strangers(name, state, config)
        n_steps = (7, 11, 5, 9)[place]
        got = engine.advance(n_steps)
        assert got.shape == (n_steps, len(engine.steps))
        losses.append(got[:, slot])
        done += n_steps
        state = engine.take(slot)
        assert state.step == engine.steps[slot] == done and state.config == config
        assert len(state.tensors) == 9
        kept = {key: tensor.clone() for key, tensor in state.tensors.items()}
        engine.advance(2)  # what was taken is a copy
        assert all((kept[key] == tensor).all() for key, tensor in state.tensors.items())
    found = np.concatenate(losses)
    if set(way) == {"packed"}:
        np.testing.assert_array_equal(found, expected[:done])
    np.testing.assert_allclose(found, expected[:done], rtol=rtol)
    straight = PackedEngine([config])
    straight.advance(done)
    for name, theirs in straight.take(0).tensors.items():
        away = np.linalg.norm(state.tensors[name] - theirs)
        assert away <= 10 * rtol * np.linalg.norm(theirs), name


@pytest.mark.parametrize("name", ENGINES)
def test_an_empty_slot_has_no_loss_no_step_and_no_overflow(name):
    configs = pack_of(1 if name == "solo" else 3)
    engine = ENGINES[name](configs)
    engine.advance(2)
    engine.put(0, None)
    rest = [2] * (len(configs) - 1)
    assert engine.steps == [0, *rest] and not any(engine.overflowed())
    losses = engine.advance(3)
    assert np.isnan(losses[:, 0]).all() and np.isfinite(losses[:, 1:]).all()
    for slot in range(1, len(configs)):
        engine.put(slot, None)
    assert engine.steps == [0] * len(configs) and not any(engine.overflowed())
    assert np.isnan(engine.advance(2)).all()
    engine.put(0, MemberState(config=configs[0]))
    np.testing.assert_allclose(engine.advance(4)[:, 0], ENGINES[name](configs[:1]).advance(4)[:, 0], rtol=1e-5)
    assert engine.steps[0] == 4


def test_no_work_is_done_for_members_that_have_left(monkeypatch):
    """Steps that compiled code trains: those of each member that is there, and no others."""
    trained, real = [], cpu_step.train_chunk
    monkeypatch.setattr(cpu_step, "train_chunk", lambda *args: trained.append(len(args[-1])) or real(*args))
    configs = pack_of(8, n_steps=64)
    trainer = PackTrainer([*configs, bad(lr=1e30)], "cpu")
    trainer.advance(), trainer.advance(), trainer.advance()
    assert len(trainer.diverged) == 1 and trainer.step == 4
    before = sum(trained)
    assert before <= 9 * 4
    for config in configs[::2]:
        trainer.drop(config.trial_id)
    trainer.advance()
    assert sum(trained) - before == 4 * 4
    stop(trainer, configs[1].trial_id, "enough")
    for _ in trainer:
        pass
    assert sum(trained) - before == 4 * 4 + 3 * 56


def test_the_time_of_the_step_in_which_a_member_leaves_is_its_own_too(monkeypatch):
    ill, well = bad(activation="solu"), pack_of(1, activation="solu", n_steps=2)[0]
    trainer = PackTrainer([ill, well], "cpu")
    advance = trainer.seats.engine.advance
    monkeypatch.setattr(trainer.seats.engine, "advance", lambda n: time.sleep(0.05) or advance(n))
    *_, last = trainer
    assert last.step == 2 and [result.status for result in last.left] == ["diverged", "completed"]
    assert all(0.05 <= result.wall_time_s < 5 for result in last.left)


@pytest.mark.parametrize("engine", ["vmapped", "gpu"])
def test_stacks_shrink_with_the_members(engine, monkeypatch):
    """The rows that an update works on; in the GPU's engine a leaver's stays until over half of them are nobody's."""
    sizes = []
    module, name, place = (vmapped, "update", 1) if engine == "vmapped" else (elementwise, "lamb_step", 0)
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given: sizes.append(len(given[place])) or real(*given))
    made = ENGINES[engine](pack_of(8))
    made._go_on = lambda: None  # the GPU's: no steps but those that are asked for
    for leaver, rows in ((None, 8), (3, 7), (4, 6), (0, 5), (1, 4), (2, 3), (7, 2), (5, 1)):
        if leaver is not None:
            made.put(leaver, None)
        sizes.clear()
        made.advance(1)
        if engine == "gpu":
            rows = {3: 3, 2: 3, 1: 1}.get(rows, 8)
        assert set(sizes) == {rows}


def test_a_pack_says_who_came_and_who_left():
    first, second, third = pack_of(3, n_steps=40)
    trainer = PackTrainer([first, second], "cpu")
    trainer.advance(), trainer.advance()
    state = trainer.take(second.trial_id)
    trainer.drop(second.trial_id)
    assert trainer.members == (first,) and trainer.configs == (first, second)
    trainer.put(MemberState(config=third))  # into the place that is free
    assert trainer.members == (first, third) and trainer.configs == (first, second, third)
    snapshot = trainer.advance()
    assert trainer.seats.engine.steps == [3, 1] and [bool(point) for point in snapshot.points] == [False, False, True]
    assert (trainer.step, trainer.model_steps) == (3, 4)
    snapshot = trainer.advance()
    assert [bool(point) for point in snapshot.points] == [True, False, True]
    trainer.put(state)  # back again, as a third
    assert trainer.configs == (first, second, third, second) and len(trainer.members) == 3
    with pytest.raises(ConfigError, match=f"a member of a pack once; got {second.trial_id} twice"):
        trainer.put(state)
    *_, last = trainer
    assert last.final and len(last.points) == 4 and trainer.done
    results = trainer.results()
    assert [result.config for result in results] == [first, third, second]
    for result in results:
        ours, theirs = bits(result), finish(PackTrainer([result.config], "cpu"))[result.config.trial_id]
        assert ours == theirs
    trainer.put(MemberState(config=pack_of(4, n_steps=40)[3]))  # nobody is left, and the pack goes on all the same
    assert not trainer.done
    *_, last = trainer
    assert [result.config.n_steps for result in last.left] == [40]


def test_who_cannot_join_is_told():
    config = pack_of(1)[0]
    trainer = PackTrainer([config], "cpu")
    with pytest.raises(ConfigError, match="must agree with it on all shape fields"):
        trainer.put(MemberState(config=dataclasses.replace(config, n_neurons=13)))
    with pytest.raises(ConfigError, match="must have steps left; got step 40 of 40"):
        trainer.put(MemberState(config=dataclasses.replace(config, seed=9), step=40))
    solo, other = PackTrainer([config], "cpu", engine="solo"), MemberState(config=dataclasses.replace(config, seed=9))
    with pytest.raises(ConfigError, match="the solo engine trains one trial at a time"):
        solo.put(other)
    assert solo.members == solo.configs == (config,)
    solo.drop(config.trial_id)
    solo.put(other)
    assert finish(solo) == finish(PackTrainer([other.config], "cpu", engine="solo"))
    for call in (solo.take, solo.drop, solo.weights, lambda trial_id: stop(solo, trial_id, "why")):
        with pytest.raises(KeyError, match=f"no member '{config.trial_id}' is in training"):
            call(config.trial_id)


@pytest.mark.parametrize("engine", ["packed", "vmapped", "solo"])
def test_who_is_stopped_reports_what_it_is(engine):
    """At a step that is none to be recorded, and right after one that is; its neighbours go on."""
    config, *others = pack_of(1 if engine == "solo" else 4, n_steps=64)
    found = []
    for together in ([config], [*others, config]) if engine != "solo" else ([config],):
        for step in (5, 8):
            trainer = PackTrainer(together, "cpu", "log2", engine)
            while trainer.step < step:
                trainer.seats.engine.chunk = min(4, step - trainer.step)
                trainer.advance(0.0)
            result = stop(trainer, config.trial_id, "it is behind")
            assert (result.status, result.error, result.last_step) == (TrialStatus.STOPPED, "it is behind", step)
            assert list(result.curve["step"]) == [1, 2, 4, step]
            assert list(result.tables["neurons"]["step"]) == [s for s in (1, 2, 4, step) for _ in range(12)]
            losses = ENGINES[engine]([config]).advance(step)[:, 0]
            assert result.metrics["loss"] == result.curve["loss"][-1] == pytest.approx(losses[-1], rel=1e-5)
            assert result.metrics["min_loss"] == pytest.approx(
                losses.cumsum().min() if step < 1 else min(losses[:n].mean() for n in range(1, step + 1)), rel=1e-5
            )
            assert set(result.metrics) >= {"n_mono", "capacity_sum"} and result.wall_time_s > 0
            found.append((step, bits(result)))
            assert trainer.members == tuple(c for c in together if c != config)
            if others and len(together) > 1:
                assert finish(trainer).keys() == {c.trial_id for c in together}
    if engine == "packed":
        assert found[:2] == found[2:]


def test_who_is_stopped_with_others_reports_what_it_would_alone(monkeypatch):
    """One look at all of them, and one at whether they have overflowed."""
    configs, found = pack_of(6, n_steps=64), []
    for together in (False, True):
        trainer, looked = PackTrainer(configs, "cpu"), []
        while trainer.step < 8:
            trainer.advance()
        engine = trainer.seats.engine
        engine.params(4)["bias"][3] = np.inf
        overflowed = engine.overflowed
        monkeypatch.setattr(engine, "overflowed", lambda asked=overflowed, n=looked: n.append(1) or asked())
        why = {configs[i].trial_id: f"reason {i}" for i in (5, 1, 4)}
        left = trainer.stop_all(why) if together else [stop(trainer, *each) for each in why.items()]
        assert [(r.config, r.status, r.error[:8]) for r in left] == [
            (configs[5], TrialStatus.STOPPED, "reason 5"), (configs[1], TrialStatus.STOPPED, "reason 1"),
            (configs[4], TrialStatus.DIVERGED, "paramete"),
        ]  # fmt: skip
        assert len(looked) == (1 if together else 3)
        found.append([bits(result) for result in left])
        assert trainer.stop_all({}) == [] and trainer.members == (configs[0], configs[2], configs[3])
        with pytest.raises(KeyError, match="is in training"):
            trainer.stop_all({configs[0].trial_id: "why", configs[1].trial_id: "why"})
        assert configs[0] in trainer.members
    assert found[0] == found[1]


def test_who_has_trained_nothing_cannot_be_stopped_and_who_has_overflowed_diverged():
    config = pack_of(1)[0]
    trainer = PackTrainer([config], "cpu")
    with pytest.raises(ValueError, match="has not trained a step, and has nothing to report; drop it"):
        stop(trainer, config.trial_id, "why")
    trainer.advance()
    trainer.seats.engine.params(0)["bias"][3] = np.inf
    result = stop(trainer, config.trial_id, "why")
    assert result.status == TrialStatus.DIVERGED and "non-finite by step 1" in result.error and trainer.done


def test_who_has_left_leaves_nothing_in_memory():
    """A pack may live long, and see many seeds."""
    stays, *others = pack_of(9, connectivity=0.5)
    engine, masks = PackedEngine([stays, others[0]]), []
    for seed, config in enumerate(others, 10):
        engine.put(1, MemberState(config=dataclasses.replace(config, seed=seed)))
        masks.append(weakref.ref(engine._members[1].mask))
        engine.advance(1)
    engine.put(1, None)
    engine.advance(1)
    assert not [mask for mask in masks if mask() is not None]
    assert set(engine._maps) == {stays.seed} and len(engine._groups) == 1
    engine.put(1, MemberState(config=dataclasses.replace(others[0], seed=stays.seed)))
    assert engine._members[1].mask is engine._members[0].mask


ILL = TwoLayerConfig(**SHAPE, n_steps=300, lr=0.0123)


@pytest.fixture
def _ill_at_47(monkeypatch):
    """The GPU's engine finds no number for the loss of `ILL` from step 47 on."""
    run = StackedEngine._run

    def and_spoil(self, n_steps):
        chunk = run(self, n_steps)
        for row, (config, done) in self._there().items():
            if config == ILL:
                chunk.losses.host[max(0, 46 - done) :, row] = np.nan
        return chunk

    monkeypatch.setattr(StackedEngine, "_run", and_spoil)


@pytest.mark.usefixtures("_ill_at_47")
@pytest.mark.parametrize("happens", ["diverge", "drop", "stop", "join"])
def test_members_come_and_go_while_an_engine_is_ahead(happens, monkeypatch):
    """The GPU's engine trains on while its snapshots are looked at; nobody's bits know."""
    monkeypatch.setattr(gpu, "CHUNK_STEPS", 8)
    configs = pack_of(3, n_steps=300)
    configs[0] = dataclasses.replace(configs[0], n_steps=60)  # without it, the next look is later than was thought
    late = pack_of(4, n_steps=70)[3]
    ahead, plain = (trainer_of([*configs, *([ILL] * (happens == "diverge"))], "gpu") for _ in range(2))
    monkeypatch.setattr(plain.seats.engine, "_go_on", lambda: None)
    found, were_ahead = [], 0
    for trainer in (ahead, plain):
        rows = {}
        while not trainer.done:
            snapshot = trainer.advance()
            assert not trainer.seats.engine._next or trainer is ahead
            rows |= {r.config.trial_id: bits(r) for r in snapshot.left}
            state = from_bytes(trainer.to_bytes())[0]
            assert [member.step for member in state] == [s for s in trainer.seats.engine.steps if s]
            if trainer.step != 32 or happens == "diverge":
                continue
            were_ahead += trainer.seats.engine._next is not None
            if happens == "drop":
                trainer.drop(configs[0].trial_id)
            elif happens == "stop":
                rows[configs[0].trial_id] = bits(stop(trainer, configs[0].trial_id, "why"))
            else:
                trainer.put(MemberState(config=late))
        found.append(rows)
    if happens == "diverge":
        ended = [rows.pop(ILL.trial_id) for rows in found]
        assert [end[1:4] for end in ended] == [(TrialStatus.DIVERGED, "the loss became non-finite at step 47", 47)] * 2
        assert ended[0] == ended[1]
    else:
        assert were_ahead == 1
    assert found[0] == found[1] and len(found[0]) == {"drop": 2, "join": 4}.get(happens, 3)


def test_a_member_is_found_without_a_look_at_the_others(monkeypatch):
    """Else the end of a pack of a thousand short trials takes longer than their training."""
    configs = pack_of(5)
    seats = PackTrainer(configs, "cpu").seats
    monkeypatch.setattr(type(seats), "live", property(lambda self: pytest.fail("looked at all")))
    assert [seats.slot_of(config.trial_id) for config in configs] == [0, 1, 2, 3, 4]
    state = seats.take(1)
    seats.empty(1)
    with pytest.raises(KeyError, match="no member"):
        seats.slot_of(configs[1].trial_id)
    assert seats.slot_of(configs[4].trial_id) == 4
    monkeypatch.undo()
    seats.join(state)
    assert seats.slot_of(configs[1].trial_id) == 1

"""Superposition's engine on a CPU: equal to the solo engine, and a member's bits are its own."""

import dataclasses

import numpy as np
import pytest

from monosweep.model.config import ConfigError
from monosweep.model.data.stream import FeatureStream
from monosweep.model.engines import engine_name, make_engine
from monosweep.model.engines.cpu.superposition.engine import SuperpositionEngine, block_rows
from monosweep.model.families.superposition.config import SuperpositionConfig
from monosweep.model.families.superposition.network import stream_key
from monosweep.model.member import MemberState

RULES = {
    "Adam": {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "weight_decay": 0.1}, "AdamW": {"weight_decay": 0.3},
    "SGD": {"momentum": 0.9, "weight_decay": 0.1}, "Lamb": {},
}  # fmt: skip
MODELS = {
    "sparse": {}, "dense": {"feature_prob": 1.0}, "rare": {"feature_prob": 1e-3}, "linear": {"activation": "none"},
    "wide": {"n_features": 40, "d_hidden": 7, "batch_size": 3500}, "identity": {"hidden": "identity"},
    "apart": {"presence": "apart", "n_features": 6, "feature_prob": 0.2},
}  # fmt: skip


def pack(size, **knobs):
    """Trials of few seeds and probabilities, so that some share their samples; one diverges."""
    return [
        SuperpositionConfig(
            **{
                "n_steps": 80,
                "batch_size": 96,
                "seed": i % 5,
                "feature_prob": (0.05, 0.3)[i % 2],
                "importance": 0.9,
                "lr": 1e-3 * (1 + i),
                **knobs,
            }
        )
        for i in range(size)
    ]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("model", MODELS)
def test_it_equals_the_solo_engine(rule, model):
    knobs = {"optimizer": rule, "precision": "fp64", **RULES[rule], **MODELS[model]}
    configs = pack(3, **knobs)
    ours = make_engine(configs, "cpu")
    assert isinstance(ours, SuperpositionEngine) and ours.name == "packed"
    losses = ours.advance(60)
    for slot, config in enumerate(configs):
        solo = make_engine([config], "cpu", "solo")
        np.testing.assert_allclose(losses[:, slot], solo.advance(60)[:, 0], rtol=1e-9)
        for name, tensor in solo.params(0).items():
            np.testing.assert_allclose(ours.params(slot)[name], tensor, rtol=1e-6, atol=1e-9)
        assert {name: t.tolist() for name, t in ours.fixed(slot).items()} == {
            name: t.tolist() for name, t in solo.fixed(0).items()
        }


def test_some_cases_have_empty_samples_and_others_several_blocks():
    config = pack(1, **MODELS["wide"])[0]
    assert config.samples_per_step > block_rows(config)
    cells, _ = FeatureStream(stream_key(pack(1, feature_prob=1e-3)[0])).steps(1, 60)
    assert 0 < len(np.unique(cells // (96 * 5))) < 60  # some steps without any feature


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("size", [7, 64])
def test_bits_do_not_depend_on_the_pack(rule, size):
    configs = pack(size, optimizer=rule, **RULES[rule])
    configs[3] = dataclasses.replace(configs[3], lr=1e30)
    together = SuperpositionEngine(configs)
    losses = together.advance(80)
    backwards = SuperpositionEngine(configs[::-1]).advance(80)[:, ::-1]
    assert losses.tobytes() == np.ascontiguousarray(backwards).tobytes()
    assert [slot for slot, bad in enumerate(together.overflowed()) if bad] in ([3], [])
    assert not np.isfinite(losses[-1, 3]) or losses[-1, 3] > 1e6
    for slot in range(0, size, 1 + size // 7):
        assert SuperpositionEngine(configs[slot : slot + 1]).advance(80)[:, 0].tobytes() == losses[:, slot].tobytes()


@pytest.mark.parametrize("rule", RULES)
def test_members_come_go_and_return_without_losing_a_bit(rule):
    configs = pack(5, optimizer=rule, **RULES[rule])
    straight = SuperpositionEngine(configs[2:3]).advance(60)[:, 0]
    engine = SuperpositionEngine(configs)
    first = engine.advance(11)[:, 2]
    state = engine.take(2)
    engine.put(2, None)
    assert engine.steps == [11, 11, 0, 11, 11] and np.isnan(engine.advance(5)[:, 2]).all()
    engine.put(5, dataclasses.replace(state))
    engine.put(0, MemberState(config=dataclasses.replace(configs[2], lr=0.02)))  # it reads the same samples
    second = engine.advance(49)[:, 5]
    assert np.concatenate([first, second]).tobytes() == straight.tobytes()
    assert engine.steps == [49, 65, 0, 65, 65, 60]


@pytest.mark.parametrize("rule", RULES)
def test_a_member_goes_through_other_engines(rule):
    config = pack(1, optimizer=rule, precision="fp64", **RULES[rule])[0]
    straight = SuperpositionEngine([config]).advance(50)[:, 0]
    state, losses = MemberState(config=config), []
    for name in ("solo", "packed", "vmapped", "packed", "solo"):
        engine = make_engine([config], "cpu", name)
        engine.put(0, state)
        losses.append(engine.advance(10)[:, 0])
        state = engine.take(0)
    np.testing.assert_allclose(np.concatenate(losses), straight, rtol=1e-8)


@pytest.mark.parametrize(
    ("knobs", "use"),
    [({"precision": "bf16"}, "vmapped"), ({"hidden": "trained"}, "vmapped"), ({"optimizer": "Yogi"}, "solo")],
)
def test_what_it_does_not_train_another_engine_does(knobs, use):
    config = pack(1, **knobs)[0]
    assert engine_name(config, "cpu") == use
    with pytest.raises(ConfigError, match=f"no packed engine trains superposition with .* use the {use} engine"):
        make_engine([config], "cpu", "packed")

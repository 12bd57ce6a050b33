"""Batches: what the presets train is what figures and claims look for, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from monosweep.analysis.papers.jermyn2022.batches import BATCHES, PAPER, SCALES, SMALL, Scale
from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.sweep.spec.sweep_spec import expand, load_spec, preset_names

SHARED = {"RG1": ("LR3", "LR1")}
"""Batches whose preset also trains what they are compared with."""
EACH = [(scale, name) for scale in SCALES for name in BATCHES]


def rows_of(preset: str) -> list[dict[str, Any]]:
    return [config.to_dict() for config in expand(load_spec(preset))]


@pytest.mark.parametrize(("scale", "name"), EACH, ids=[f"{s.name}/{name}" for s, name in EACH])
def test_a_preset_trains_its_batch(scale: Scale, name: str) -> None:
    rows, batch = rows_of(f"{scale.name}/{name}"), scale.batches[name]
    mine = batch.pick(rows)
    others = [r for r in rows if not batch.holds(r)]
    assert all(any(scale.batches[other].holds(r) for other in SHARED.get(name, ())) for r in others)
    assert len(others) <= len(rows) // 9 + 1
    assert {batch.point(row) for row in mine} == batch.points({})
    assert [s for s in SCALES if any(map(s.holds, rows))] == [scale] and all(map(scale.holds, rows))


@pytest.mark.parametrize("scale", SCALES, ids=lambda s: s.name)
def test_all_of_a_size_is_the_union_of_its_batches(scale: Scale) -> None:
    together = {c.trial_id for c in expand(load_spec(scale.name))}
    each = {c.trial_id for name in BATCHES for c in expand(load_spec(f"{scale.name}/{name}"))}
    assert together == each
    assert {n for n in preset_names() if n.startswith(f"{scale.name}/")} == {f"{scale.name}/{n}" for n in BATCHES}


def test_the_papers_presets_are_its_table_1() -> None:
    lr1 = expand(load_spec("paper/LR1"))
    assert lr1[0] == TwoLayerConfig(lr=0.001) and [c.lr for c in lr1] == [0.001, 0.003, 0.005, 0.007, 0.01, 0.03]
    k0 = {c.n_neurons: c.batch_size for c in expand(load_spec("paper/K0"))}
    assert k0[16] == 2**19 and k0[384] == 2**14 and k0[2048] == 2**12 and len(k0) == 9
    assert {c.n_steps for c in expand(load_spec("paper/E3"))} == {2**20}
    assert [c.bias_decay for c in expand(load_spec("paper/E4"))] == [0.001] * 17
    abs_task = expand(load_spec("paper/LR5"))[0]
    assert (abs_task.task, abs_task.n_neurons, abs_task.batch_size) == ("abs", 2048, 4096)


def test_the_small_size_keeps_the_papers_proportions() -> None:
    for scale in SCALES:
        base = scale.base
        assert base["n_neurons"] == 2 * base["n_features"]
        assert base["n_features"] * base["feature_prob"] == base["d_embed"] / 8
        assert scale.bias_threshold(base["feature_prob"]) == -(1 / 64**0.5)
    steps = {PAPER: 2**17, SMALL: 15872}
    carried = {scale: steps[scale] * scale.batches["LR3"].base["bias_decay"] for scale in SCALES}
    assert carried[SMALL] == pytest.approx(carried[PAPER], rel=0.02)


def test_small_takes_at_most_its_budget_of_steps() -> None:
    """9 million steps of the usual shape are 90 minutes on two cores of 1.2 ms a step each."""
    unit = 256 * 512 * (32 + 128)
    costs = [
        c.n_steps * c.n_neurons * c.samples_per_step * (c.d_embed + (32 if c.task == "reprojector" else 128))
        * (1.6 if c.activation == "gelu" else 1)
        for c in expand(load_spec("small"))
    ]  # fmt: skip
    assert 5e6 < sum(costs) / unit < 9e6


def test_another_knob_or_size_is_no_batch() -> None:
    row = TwoLayerConfig(lr=0.01).to_dict()
    lr1 = PAPER.batches["LR1"]
    assert lr1.holds(row) and lr1.holds({**row, "precision": "bf16", "seed": 7})
    assert not any(batch.holds({**row, "l1": 1e-3, "lr": 0.02}) for batch in PAPER.batches.values())
    assert not lr1.holds({**row, "bias_reg": 0.1}) and not lr1.holds({**row, "n_steps": 100})
    assert not any(scale.holds({**row, "n_features": 64, "d_embed": 16}) for scale in SCALES)

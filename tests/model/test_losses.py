"""Windowed and least losses against brute force: members at any steps, who come, go and need more room than others."""

import itertools
import math

import numpy as np
import pytest

from monosweep.model.families.two_layer.config import TwoLayerConfig
from monosweep.model.losses import MIN_LOSS_STEPS, LossRecord
from monosweep.model.schedule import loss_window


def config(**knobs):
    return TwoLayerConfig(**{"n_features": 7, "d_embed": 3, "n_neurons": 9, "batch_size": 16, **knobs})


def brute_least(losses):
    return min(float(np.mean(losses[max(0, end - 16) : end])) for end in range(1, len(losses) + 1))


def brute_mean(trial, losses):
    return float(np.mean(losses[len(losses) - loss_window(trial, len(losses)) :]))


def says(record, configs, member, losses):
    """Whether a record knows of a member what its losses say, to the bit what one of it alone knows."""
    trial, alone = configs[member], LossRecord((configs[member],))
    alone.push(np.array(losses)[:, None])
    assert record.steps[member] == len(losses)
    said = record.losses(configs)[member]
    assert said == alone.losses((trial,))[0] == pytest.approx(brute_mean(trial, losses), rel=1e-12)
    assert record.least[member] == alone.least[0] == pytest.approx(brute_least(losses), rel=1e-12)


@pytest.mark.parametrize("chunks", [[1] * 90, [90], [7, 8, 1, 16, 58], [3] * 30])
def test_windowed_and_least_losses_by_brute_force(chunks):
    configs = (config(lr_period=4), config(lr_period=20))
    losses = np.random.default_rng(0).random((90, 2)) + np.linspace(1, 0, 90)[:, None]
    record, done = LossRecord(configs), 0
    for chunk in chunks:
        record.push(losses[done : done + chunk])
        done += chunk
        for member in range(2):
            says(record, configs, member, losses[:done, member])


def test_a_least_loss_never_rises():
    record, least = LossRecord((config(),)), []
    for loss in (1.0, 3.0, 2.0, *[4.0] * 20, *[0.5] * 20):
        record.push(np.array([[loss]]))
        least.append(record.least[0])
    assert least[:23] == [1.0] * 23 and least[-1] == 0.5
    assert all(later <= earlier for earlier, later in itertools.pairwise(least))


@pytest.mark.parametrize("chunk", [1, 5, 64])
@pytest.mark.parametrize("steps", [(1, 0, 15), (16, 3, 40), (200, 17, 0), (7, 300, 16)])
def test_members_that_join_at_steps_of_their_own(steps, chunk):
    """Each was recorded elsewhere before; windows of 16, 20 and 60 losses, the widest joining last or first."""
    rng = np.random.default_rng(sum(steps))
    periods = (4, 10, 500)
    configs = tuple(config(lr_period=period, n_steps=480) for period in periods)
    losses = [list(rng.random(step) + rng.random()) for step in steps]
    record = LossRecord(configs[:1])
    record.push(np.zeros((3, 1)))  # of somebody who was in the first one's place
    for member, (trial, before) in enumerate(zip(configs, losses, strict=True)):
        elsewhere = LossRecord((config(lr_period=3), trial))
        for loss in before:
            elsewhere.push(np.array([[7.0, loss]]))
        latest, least = elsewhere.take(1)
        assert len(latest) == min(len(before), max(MIN_LOSS_STEPS, loss_window(trial, 480)))
        record.put(member, trial, len(before), latest, least)
    for _ in range(120 // chunk):
        more = rng.random((chunk, 3)) * np.array([1, 0.5, 0.9])
        record.push(more)
        for member in range(3):
            losses[member] += list(more[:, member])
            says(record, configs, member, losses[member])


def test_a_record_widens_without_forgetting():
    narrow, wide = config(lr_period=4, n_steps=100), config(lr_period=400, n_steps=4000)
    losses = list(np.random.default_rng(3).random(50))
    record = LossRecord((narrow,))
    record.push(np.array(losses)[:, None])
    record.put(1, wide, 0, np.empty(0), math.inf)
    assert record.recent.shape == (2, 500)
    theirs = list(np.random.default_rng(4).random(3900))
    more = list(np.random.default_rng(5).random(3900))
    for done in range(0, 3900, 650):  # more than there is room for, at once
        record.push(np.array([more[done : done + 650], theirs[done : done + 650]]).T)
        says(record, (narrow, wide), 0, losses + more[: done + 650])
        says(record, (narrow, wide), 1, theirs[: done + 650])


def test_places_without_a_member_have_no_loss_and_go_to_others():
    configs = (config(lr_period=4), config(lr_period=4))
    record, losses = LossRecord(configs), np.random.default_rng(0).random((30, 2))
    losses[11:, 1] = np.nan
    record.push(losses[:20])
    record.push(losses[20:])
    says(record, configs, 0, losses[:, 0])
    record.put(1, configs[1], 0, np.empty(0), math.inf)
    record.push(np.array([[1.0, 5.0]]))
    says(record, configs, 1, [5.0])


def test_what_is_taken_goes_on_as_what_stays():
    trial, losses = config(lr_period=12, n_steps=200), list(np.random.default_rng(8).random(200))
    for step in (1, 2, 15, 16, 17, 24, 25, 130):
        stays = LossRecord((trial,))
        stays.push(np.array(losses[:step])[:, None])
        latest, least = stays.take(0)
        gone = LossRecord((config(lr_period=90, n_steps=2000),))
        gone.put(0, trial, step, latest, least)
        for loss in losses[step:]:
            stays.push(np.array([[loss]]))
            gone.push(np.array([[loss]]))
            assert gone.losses((trial,))[0] == stays.losses((trial,))[0] and gone.least[0] == stays.least[0]
        says(gone, (trial,), 0, losses)

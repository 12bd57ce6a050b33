"""How a sweep stands, from the tables and its driver's heartbeat."""

from __future__ import annotations

import io
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from monosweep.sweep.__main__ import main
from monosweep.sweep.plan.missing import resumable
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.spec.sweep_spec import SweepSpec, expand
from monosweep.sweep.store.root import Store, StoreError
from monosweep.sweep.view.counts import Counts
from monosweep.sweep.view.live import Progress
from monosweep.sweep.view.status import read_status
from monosweep.sweep.work.contract import PackProgress, Settings
from monosweep.sweep.work.pack import train_pack

_SPEC = SweepSpec(
    name="s", base={"n_features": 16, "d_embed": 4, "n_neurons": 32, "batch_size": 64, "n_steps": 64}, repeats=4
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.create(str(tmp_path))
    store.write_spec("s", _SPEC.to_json())
    return store


@pytest.fixture
def packs() -> tuple[Pack, Pack]:
    configs = tuple(expand(_SPEC))
    return Pack(configs[:2]), Pack(configs[2:])


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_status_follows_a_driver(store: Store, packs: tuple[Pack, Pack]) -> None:
    (before,) = read_status(store.root)
    assert (before.live, before.updated_at, before.counts) == (False, None, Counts(total=4))
    with Progress(store, "s", packs, Counts(total=4), quiet()):
        train_pack(store, "s", packs[0], Settings())
        (during,) = read_status(store.root, "s")
        assert during.live
        assert during.counts.completed == 2
    (after,) = read_status(store.root)
    assert not after.live
    assert after.updated_at is not None
    assert (after.counts.completed, after.counts.missing, after.n_hidden) == (2, 2, 0)


def test_the_best_so_far_is_that_of_the_launch_at_work(
    store: Store, packs: tuple[Pack, Pack], capsys: pytest.CaptureFixture[str]
) -> None:
    with Progress(store, "s", packs, Counts(total=4), quiet()) as progress:
        for pack, loss, mono in ((packs[0], 0.5, 0.25), (packs[1], 0.25, 0.125)):
            best = {"loss": loss, "mono_per_feature": mono}
            progress.update(PackProgress(pack_id=pack.pack_id, n_trials=2, model_steps=64, trained_steps=64, best=best))
        progress._beat("running")
        assert main(["status", store.root]) == 0
        assert " · best loss 0.25, mono per feature 0.25 " in capsys.readouterr().out
    assert main(["status", store.root]) == 0
    assert "best" not in capsys.readouterr().out


def test_status_and_list_agree(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Done is who is trained to the end, or stopped on purpose."""
    configs = [replace(config, n_steps=8, lr=lr) for config, lr in zip(expand(_SPEC), (0.01, 0.02, 1e30), strict=False)]
    train_pack(store, "s", Pack(tuple(configs)), Settings())
    store.ask("s", expand(_SPEC) + configs)
    assert main(["status", store.root]) == 0 and main(["list", store.root]) == 0
    status, heads, row = capsys.readouterr().out.splitlines()
    assert status == "s: 2/7 trials done · 1 diverged (unfinished)"
    listed = dict(zip(heads.split(), row.split(), strict=False))
    assert listed == {
        "sweep": "s", "state": "unfinished", "done": "2", "diverged": "1", "failed": "0", "running": "0", "of": "7",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "live"),
    [
        ({}, True),
        ({"state": "stopped"}, False),
        ({"pid": 2**22 + 1}, False),
        ({"host": "elsewhere", "pid": 2**22 + 1}, True),
        ({"updated_at": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}, False),
    ],
)
def test_a_heartbeat_counts_while_it_is_fresh(store: Store, fields: dict[str, Any], live: bool) -> None:
    beat = {
        "state": "running", "pid": os.getpid(), "host": socket.gethostname(), "running": 3,
        "updated_at": datetime.now(UTC).isoformat(),
        "speed": {"steps_per_s": 2.0, "trials_per_hour": 3.0, "seconds_left": 4.0},
    }  # fmt: skip
    store.write_heartbeat("s", {**beat, **fields})
    (status,) = read_status(store.root)
    assert (status.live, status.counts.running) == (live, 3 if live else 0)
    assert status.speed.steps_per_s == (2.0 if live else None)


def test_status_needs_a_sweep_that_is_there(store: Store) -> None:
    with pytest.raises(StoreError, match="no sweep 'quick'"):
        read_status(store.root, "quick")


@pytest.mark.parametrize(
    "odd", [b"", b"null", b"[1]", b"\xff\xfe", b'{"state": "running"}', b'{"pid": "x", "updated_at": 3}', b"{" * 99]
)
@pytest.mark.parametrize("name", ["s.json", "s.progress.json", "s.lease.json", "other.json", "._s.json", "a.b.json"])
def test_an_odd_file_takes_nothing_from_the_rest(
    store: Store, packs: tuple[Pack, Pack], name: str, odd: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    train_pack(store, "s", packs[0], Settings())
    store.ask("s", [config for pack in packs for config in pack.configs])
    (Path(store.root) / "sweeps" / name).write_bytes(odd)
    found = {status.sweep: status for status in read_status(store.root)}
    assert (found["s"].counts, found["s"].live) == (Counts(total=4, completed=2), False)
    for verb in ("status", "list"):
        assert main([verb, store.root]) == 0
        assert "Traceback" not in capsys.readouterr().err


def test_what_goes_between_two_looks_is_not_there(
    store: Store, packs: tuple[Pack, Pack], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launch elsewhere drops a checkpoint and replaces a heartbeat just after they were listed."""
    store.write_heartbeat("s", {"state": "running"})
    store.save_checkpoint("s", packs[0].pack_id, b"rubbish" * 9)
    names = store.names

    def listed(folder: str, suffix: str) -> list[str]:
        found = names(folder, suffix)
        for name in found:
            os.unlink(f"{store.root}/{name}")
        return found

    monkeypatch.setattr(type(store), "names", lambda self, folder, suffix: listed(folder, suffix))
    assert resumable(store, "s", packs[0].configs, [], pytest.fail, False) == []
    assert [status.counts for status in read_status(store.root)] == [Counts(total=0)]
    assert store.load_checkpoint("s", packs[0].pack_id) is None

"""Packs on Ray Tune: one Tune trial is one pack on one worker.

    connect.connected() -> Cluster -> execute(): Tuner <- _Packs (what comes next) <- sweep.work.queue
                                                   |  -> _PackTrainable on a worker -> sweep.work.pack.pack_slices
                                                   `--> _Watch (what has become of it) -> sweep.work.queue

Tune schedules; a pack that is taken up again is another Tune trial.  The results root holds all that counts: Tune's own
state is scratch.
"""

from __future__ import annotations

import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from monosweep.model.config import UserError
from monosweep.sweep.executors.connect import Cluster, waiting_for
from monosweep.sweep.executors.ray_private import dead_process, nothing_forwarded
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.plan.plan import needed_bytes
from monosweep.sweep.work.blame import Loss
from monosweep.sweep.work.contract import Left, Orders, PackProgress, Work
from monosweep.sweep.work.faults import Cause, MachineError, oom_kills
from monosweep.sweep.work.feed import Feed
from monosweep.sweep.work.pack import check_device, pack_slices
from monosweep.sweep.work.progress import Listener
from monosweep.sweep.work.queue import Queue
from monosweep.sweep.work.waits import Silences, Wait

_REPORT_S = 2.0
"""A step of the trainable lasts at least so long, so that short packs do not spend their time reporting."""
_SLICE_S = 2.0
_POLL_S = 0.2
_GRACE_S = 8.0
"""How long workers may take to checkpoint their packs when the sweep is told to stop."""
_OUT_OF_MEMORY = "running low on memory"
"""Ray's words when it ends a worker that takes too much."""
_ADDRESS = re.compile(r"\bip[:=] ?([0-9a-fA-F.:]+)")
"""Where a worker was, in Ray's words about its death."""
_BEFORE_IT_WAS, _RAISED = "raised in its creation task", "ray::_PackTrainable.train()"
"""Ray's words about a worker that could not be made, and about an exception that nobody has foreseen."""
_NODE = "ray.io/node-id"
_AS_MANY_AS_ASKED = -1
_MEMORY_UNIT = 256 * 2**20


def execute(
    cluster: Cluster, work: Work, feed: Feed, progress: Listener, should_stop: Callable[[], bool],
    packs_per_gpu: int = 1, hurried: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Train every pack of `feed` on a connected Ray; once `should_stop`, checkpoint those in training and return, or
    once `hurried` return.

    A worker that is told to go (SIGTERM, as before a pre-emption) checkpoints its pack first, and that is no death.

    Raises:
        StoreError: if the results root fails.
        UserError: if packs are left that no machine can train.
        RuntimeError: if a worker fails in a way that is neither a trial's nor a machine's.
    """
    work = replace(work, settings=replace(work.settings, slice_s=_SLICE_S))
    queue = Queue(work, feed, progress, lambda: _n_places(work.settings.device))
    bundle = resources(work.settings.device, packs_per_gpu)
    idle = Wait(lambda: waiting_for(bundle), progress.note)
    watch = _Watch(queue, Silences(work.patience_s, progress.note), idle, should_stop)
    try:
        with nothing_forwarded():
            _fit(work, queue, watch, cluster, bundle)
    except _Halt:
        if watch.error is not None:
            raise watch.error from None
        if should_stop():
            _release(watch.actors, hurried)
            return
    if queue.problem is not None:
        raise queue.problem


def resources(device: str, packs_per_gpu: int) -> dict[str, float]:
    """What Ray keeps for a pack: a core, and on GPUs an equal share of one, rounded down to Ray's unit of 1e-4."""
    return {"CPU": 1, "GPU": 10_000 // packs_per_gpu / 10_000 if device == "cuda" else 0}


def _fit(work: Work, queue: Queue, watch: _Watch, cluster: Cluster, bundle: Mapping[str, float]) -> None:
    packs = _Packs(work, queue, watch, partial(_memory, cluster, work.settings.device))
    tune.Tuner(
        tune.with_resources(_PackTrainable, lambda config: _placed(bundle, config)),
        tune_config=tune.TuneConfig(search_alg=packs, num_samples=_AS_MANY_AS_ASKED, reuse_actors=True),
        run_config=tune.RunConfig(
            name="packs",
            storage_path=str(cluster.scratch / "tune"),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[watch],
            verbose=0,
        ),
    ).fit()


def _placed(bundle: Mapping[str, float], config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
    """Where a pack may be trained: on any machine with so much memory but those that are left out."""
    needed = {**bundle, "memory": config["memory"]}
    if not (without := _nodes(config["left_out"])):
        return tune.PlacementGroupFactory([needed])
    return tune.PlacementGroupFactory([needed], bundle_label_selector=[{_NODE: f"!in({','.join(without)})"}])


def _memory(cluster: Cluster, device: str, pack: Pack) -> int:
    """What Ray keeps for a pack of a machine's memory; no more than the largest has, or it would wait for ever.  In few
    sizes, because a worker goes on with a pack only if that needs what the last one did."""
    if device != "cpu":  # the host's part of it is small, and not what was estimated
        return 0
    sizes = -(-needed_bytes(device, pack) // _MEMORY_UNIT)
    return min(sizes * _MEMORY_UNIT, cluster.largest_memory)


def _nodes(places: Sequence[str]) -> list[str]:
    """The Ray nodes that these places are, if they are whole machines."""
    return sorted(node["NodeID"] for node in _alive() if node["NodeManagerAddress"] in places)


def _n_places(device: str) -> int:
    """How many machines, or GPUs, there are to train on."""
    if device == "cuda":
        return int(sum(node["Resources"].get("GPU", 0) for node in _alive()))
    return len({node["NodeManagerAddress"] for node in _alive() if node["Resources"].get("CPU", 0)})


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _release(actors: Sequence[Any], hurried: Callable[[], bool]) -> None:
    """Have the packs in training checkpointed; what does not answer in time is at most a minute behind."""
    told, deadline = [actor.release.remote() for actor in actors], time.monotonic() + _GRACE_S
    while told and time.monotonic() < deadline and not hurried():
        _, told = ray.wait(told, num_returns=len(told), timeout=_POLL_S)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Report:
    """What a worker tells after each step; exactly one field is set."""

    began: tuple[str, str, int] | None = None
    """Where it is, that place's device and what the kernel there has killed so far."""
    progress: PackProgress | None = None
    fault: Loss | None = None
    """Why it ends now."""
    refused: bool = False
    """The pack is not to be trained here."""
    error: Exception | None = None
    """Why the sweep cannot go on."""


class _Parcel:
    """What goes through Tune from driver to worker and back, and is taken out once.

    Tune copies the config of each of its trials, sends it along with every result, and pickles it and the latest result
    again and again for a restart of its own, which we never use: of large packs that takes seconds.
    """

    def __init__(self, content: Any) -> None:
        self._pickled = ray.cloudpickle.dumps(content)

    def __deepcopy__(self, memo: object) -> _Parcel:
        return self

    def take(self) -> Any:
        """What is in it; it is empty then, here."""
        content = ray.cloudpickle.loads(self._pickled)
        self.empty()
        return content

    def empty(self) -> None:
        """It has been taken elsewhere."""
        self._pickled = b""


class _PackTrainable(tune.Trainable):  # type: ignore[misc]
    """One pack on one worker.

    All comes with the Tune config and nothing through the object store: a driver that has something there is ended by
    Ray, without a word of ours, as soon as the raylet has gone.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._leaving, self._ending = False, False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._leave)
        self.reset_config(config)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        self._leaving = True

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._given, (self._pack, self._work) = new_config, new_config["pack"].take()
        self._slices: Iterator[PackProgress] = iter(())
        self._orders = Orders()
        self._has_begun = False
        return True

    def step(self) -> dict[str, Any]:
        """Train for a while.  Whatever happens is told; after a fault the process ends when it is asked again."""
        if self._ending:
            ray.actor.exit_actor()
        try:
            report = self._report()
        except MachineError as error:
            report = _Report(fault=Loss(error.cause, error.text, _here(self._work.settings.device)))
        except UserError as error:
            report = _Report(error=error)
        except Exception:
            report = _Report(error=RuntimeError(f"a worker failed:\n{traceback.format_exc()}"))
        self._ending = report.fault is not None
        return {"report": _Parcel(report), "done": self._is_done(report)}

    def _is_done(self, report: _Report) -> bool:
        keeps_place = _here(self._work.settings.device) in self._given["left_out"]
        finished = report.progress is not None and (report.progress.finished or report.progress.released)
        return finished or report.error is not None or (report.refused and not keeps_place)

    def _report(self) -> _Report:
        if not self._has_begun:
            return self._begin()
        progress = self._advance()
        if progress.stopped:
            return _Report(fault=Loss(Cause.GONE, "told to go"))
        return _Report(progress=progress)

    def _begin(self) -> _Report:
        """Whether a pack can be trained here at all; until then a death is none of the trials' doing."""
        work, given, here = self._work, self._given, _here(self._work.settings.device)
        if self._leaving:
            return _Report(fault=Loss(Cause.GONE, "told to go"))
        if here in given["left_out"]:
            time.sleep(_REPORT_S)
        if here in given["left_out"] or here in given["avoid"]:
            return _Report(refused=True)
        name = check_device(work.settings.device, self._pack)
        self._slices = pack_slices(
            work.store, work.sweep, self._pack, work.settings, lambda: self._leaving, self._ordered
        )
        self._has_begun = True
        return _Report(began=(here, name, oom_kills()))

    def order(self, orders: Orders) -> None:
        """What to do before the next step; Ray calls it between two."""
        self._orders = orders

    def _ordered(self) -> Orders:
        orders, self._orders = self._orders, Orders()
        return orders

    def release(self) -> None:
        """Checkpoint the pack and train it no further; Ray calls it between two steps."""
        self._leaving = True
        if self._has_begun and not self._ending:
            self._advance()

    def _advance(self) -> PackProgress:
        start = time.monotonic()
        warnings: list[str] = []
        left: list[Left] = []
        for progress in self._slices:
            warnings += progress.warnings
            left += progress.left
            if (progress.seen or time.monotonic() - start > _REPORT_S) and not self._leaving:
                break
        return replace(progress, warnings=tuple(warnings), left=tuple(left))


def _here(device: str) -> str:
    """The place of this worker: a machine, or the GPUs of it that the worker was given."""
    address = ray.util.get_node_ip_address()
    gpus = ray.get_runtime_context().get_accelerator_ids().get("GPU", []) if device == "cuda" else []
    return f"GPU {' '.join(gpus)} of {address}" if gpus else address


class _Packs(Searcher):  # type: ignore[misc]
    """What Tune is to train next."""

    def __init__(self, work: Work, queue: Queue, watch: _Watch, memory: Callable[[Pack], int]) -> None:
        super().__init__()
        self._work, self._queue, self._watch, self._memory = work, queue, watch, memory

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searchers for a restart of its own, which we never use."""
        return {}

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: Mapping[str, Any], **spec: Any
    ) -> bool:
        """There is nothing to be found: packs are given."""
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of a Tune trial; None if there is no pack now, FINISHED if there will be none."""
        self._watch.check()
        if self._queue.over:
            return Searcher.FINISHED  # type: ignore[no-any-return]
        order = self._queue.take()
        if order is None:
            return None
        self._watch.given[trial_id] = order.pack.pack_id
        return {
            "pack": _Parcel((order.pack, self._work)), "left_out": [*order.left_out], "avoid": [*order.avoid],
            "memory": self._memory(order.pack),
        }  # fmt: skip

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """What has become of it, `_Watch` hears."""

    def save(self, checkpoint_path: str) -> None:
        """For a restart of Tune's own, which we never use."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Never."""


class _Halt(BaseException):
    """Leaves Tune's loop at once; on an Exception Tune would wait for workers that are about to be ended."""


class _Watch(tune.Callback):  # type: ignore[misc]
    """What Tune tells the driver, on its way to the queue."""

    def __init__(self, queue: Queue, silences: Silences, idle: Wait, should_stop: Callable[[], bool]) -> None:
        self._queue, self._silences, self._idle, self._should_stop = queue, silences, idle, should_stop
        self._trials: Sequence[Any] = ()
        self._faults: dict[str, Loss] = {}
        """By Tune trial: what its worker has said of its end."""
        self.given: dict[str, str] = {}
        """By Tune trial: the pack that it trains."""
        self.error: Exception | None = None
        """Why the sweep cannot go on."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks for a restart of its own, which we never use."""
        return {}

    @property
    def actors(self) -> list[Any]:
        """The workers in training."""
        return list(self._running().values())

    def _running(self) -> dict[str, Any]:
        """By Tune trial, the workers that have a pack."""
        found = {t.trial_id: t.temporary_state.ray_actor for t in self._trials if t.status == t.RUNNING}
        return {name: actor for name, actor in found.items() if actor is not None and name in self.given}

    def check(self) -> None:
        """Leave Tune's loop if there is a reason."""
        if dead := dead_process():
            self.error = UserError(
                f"a sweep on this machine needs Ray's {dead}, which has died (killed, or out of memory); what is "
                f"finished is kept; launch the same command again to go on"
            )
        if self.error is not None or self._should_stop() or self._is_left_over():
            raise _Halt

    def _is_left_over(self) -> bool:
        """Whether Tune waits only for those that keep a place, or for one that does not come."""
        return self._queue.over and any(trial.status in (trial.PENDING, trial.RUNNING) for trial in self._trials)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._trials = trials
        self.check()
        self._end_hung()
        if self._running() or not self.given:
            self._idle.over()
        else:
            self._idle.look()

    def _end_hung(self) -> None:
        """Tune sees them die."""
        training = {self.given[name]: (name, actor) for name, actor in self._running().items()}
        for pack_id, reason in self._silences.hung(training).items():
            name, actor = training[pack_id]
            self._faults[name] = Loss(Cause.MACHINE, reason)
            ray.kill(actor)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        if trial.trial_id in self.given:
            self._silences.heard(self.given[trial.trial_id])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        report: _Report = result["report"].take()
        if trial.trial_id in self.given:
            self._silences.heard(self.given[trial.trial_id])
        if report.error is not None:
            self.error = report.error
        elif report.began is not None:
            trial.config["pack"].empty()
            self._queue.began(self.given[trial.trial_id], *report.began)
        elif report.fault is not None:
            self._faults[trial.trial_id] = report.fault
        elif report.progress is not None:
            orders = self._queue.heard(report.progress)
            if orders != Orders():
                trial.temporary_state.ray_actor.order.remote(orders)
        elif trial.trial_id in self.given:
            self._queue.refused(self.given.pop(trial.trial_id))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        text, told = Path(trial.error_file).read_text(), self._faults.pop(trial.trial_id, None)
        if told is None and _RAISED in text and _BEFORE_IT_WAS not in text:
            self.error = RuntimeError(f"a worker cannot go on:\n{text}")
        elif trial.trial_id in self.given:
            self._queue.lost(self.given.pop(trial.trial_id), told or _loss(text))


def _loss(text: str) -> Loss:
    """Why a worker is gone that has not said so itself, in Ray's words."""
    found = _ADDRESS.search(text)
    place = found[1] if found else ""
    if _OUT_OF_MEMORY in text:
        return Loss(Cause.MEMORY, "out of memory", place)
    if _BEFORE_IT_WAS in text:
        return Loss(Cause.MACHINE, text.strip().splitlines()[-1], place)
    return Loss(Cause.DIED, "killed or crashed", place)

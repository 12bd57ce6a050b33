"""Packs on Ray Tune: one Tune trial trains one pack.

    connect.connected() -> Cluster -> execute(): Tuner -> _PackTrainable on a worker -> sweep.work.pack.pack_slices

Tune schedules and restarts; the results root holds all that counts.  Tune's own state is scratch.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError

from monosweep.model.config import DeviceError, UserError
from monosweep.sweep.executors.connect import Cluster, waiting_for
from monosweep.sweep.executors.ray_private import dead_process, nothing_forwarded
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.work.contract import MAX_RETRIES, PackProgress, Work
from monosweep.sweep.work.failures import after_losses, settled_progress
from monosweep.sweep.work.pack import pack_slices
from monosweep.sweep.work.progress import Listener
from monosweep.sweep.work.waits import Silences, Wait

_REPORT_S = 2.0
"""A step of the trainable lasts at least so long, so that short packs do not spend their time reporting."""
_SLICE_S = 2.0
_POLL_S = 0.5
_GRACE_S = 8.0
"""How long workers may take to checkpoint their packs when the sweep is told to stop."""
_TOLD_TO_GO = "told to go"
_OUT_OF_MEMORY = "running low on memory"
"""Ray's words when it ends a worker that takes too much."""


def execute(
    cluster: Cluster, work: Work, progress: Listener, should_stop: Callable[[], bool], packs_per_gpu: int = 1
) -> None:
    """Train every pack of `work` on a connected Ray; once `should_stop`, checkpoint those in training and return.

    A pack whose worker dies is taken up again from its checkpoint; after too many deaths its halves are
    trained, and a single trial that keeps killing its worker gets a `failed` row.  A worker that is told to
    go (SIGTERM, as before a pre-emption) checkpoints its pack first, and that is no death.

    Raises:
        StoreError: if the results root fails.
        RuntimeError: if a worker fails in a way that is not the trial's.
    """
    work = replace(work, settings=replace(work.settings, slice_s=_SLICE_S))
    while work.packs:
        watch = _Watch(work, progress, should_stop, resources(work.settings.device, packs_per_gpu))
        try:
            with nothing_forwarded():
                _fit(work, watch, cluster.scratch / "tune", packs_per_gpu)
        except _Halt:
            if watch.error is not None:
                raise watch.error from None
            _release(watch.actors)
            return
        work = replace(work, packs=tuple(_rest(work, watch.lost, progress)))


def _rest(work: Work, lost: Mapping[int, str], progress: Listener) -> Iterator[Pack]:
    """What to train instead of the packs that Tune has given up."""
    for place, reason in lost.items():
        pack = work.packs[place]
        rest = (pack,) if reason == _TOLD_TO_GO else after_losses(work, pack, reason)
        progress.forget(pack)
        if not rest:
            progress.update(settled_progress(work, pack))
        yield from rest


def resources(device: str, packs_per_gpu: int) -> dict[str, float]:
    """What Ray keeps for a pack: a core, and on GPUs an equal share of one, rounded down to Ray's unit of 1e-4."""
    return {"cpu": 1, "gpu": 10_000 // packs_per_gpu / 10_000 if device == "cuda" else 0}


def _fit(work: Work, watch: _Watch, folder: Path, packs_per_gpu: int) -> None:
    trainable = tune.with_parameters(_PackTrainable, work=work)
    tune.Tuner(
        tune.with_resources(trainable, resources(work.settings.device, packs_per_gpu)),
        param_space={"pack": tune.grid_search(list(range(len(work.packs))))},
        tune_config=tune.TuneConfig(reuse_actors=True, max_concurrent_trials=work.n_workers),
        run_config=tune.RunConfig(
            name="packs",
            storage_path=str(folder),
            failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            callbacks=[watch],
            verbose=0,
        ),
    ).fit()


def _release(actors: Sequence[Any]) -> None:
    """Have the packs in training checkpointed; what does not answer in time is at most a minute behind."""
    told = [actor.release.remote() for actor in actors]
    if told:
        ray.wait(told, num_returns=len(told), timeout=_GRACE_S)


class _Evicted(Exception):
    """The worker was told to go, and has checkpointed its pack."""


class _PackTrainable(tune.Trainable):  # type: ignore[misc]
    """One pack on one worker.  `work` comes through the object store, the Tune config holds a place in it."""

    def setup(self, config: dict[str, Any], work: Work) -> None:
        self._work, self._leaving = work, False
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._leave)
        self.reset_config(config)

    def _leave(self, number: int, frame: FrameType | None) -> None:
        self._leaving = True

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        work, pack = self._work, self._work.packs[new_config["pack"]]
        self._slices = pack_slices(work.store, work.sweep, pack, work.settings, lambda: self._leaving)
        return True

    def release(self) -> None:
        """Checkpoint the pack and train it no further; Ray calls it between two steps."""
        self._leaving = True
        self._advance()

    def step(self) -> dict[str, Any]:
        """Train for a while.  Only the death of the process, or of its device, is an error to Tune, everything else is
        told."""
        try:
            progress = self._advance()
        except DeviceError:
            raise
        except UserError as error:
            return {"error": error, "done": True}
        except Exception:
            return {"error": RuntimeError(f"a worker failed:\n{traceback.format_exc()}"), "done": True}
        if progress.stopped:
            raise _Evicted(_TOLD_TO_GO)
        return {"progress": progress, "done": progress.finished}

    def _advance(self) -> PackProgress:
        start = time.monotonic()
        warnings: list[str] = []
        for progress in self._slices:
            warnings += progress.warnings
            if time.monotonic() - start > _REPORT_S and not self._leaving:
                break
        return replace(progress, warnings=tuple(warnings))


class _Halt(BaseException):
    """Leaves Tune's loop at once; on an Exception Tune would wait for workers that are about to be ended."""


class _Watch(tune.Callback):  # type: ignore[misc]
    """What Tune tells the driver, on its way to who listens."""

    def __init__(
        self, work: Work, progress: Listener, should_stop: Callable[[], bool], needs: Mapping[str, float]
    ) -> None:
        self._needs = needs
        self._work, self._progress, self._should_stop = work, progress, should_stop
        self.lost: dict[int, str] = {}
        """Packs that Tune has given up, by place, and why."""
        self.error: Exception | None = None
        """Why the sweep cannot go on."""
        self.actors: list[Any] = []
        """The workers in training when the sweep was told to stop."""
        self._silences = Silences(work.patience_s, progress.note)
        self._hung: dict[str, str] = {}
        self._idle = Wait(self._nobody_trains, progress.note)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks for a restart of its own, which we never use."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        if dead := dead_process():
            self.error = UserError(
                f"a sweep on this machine needs Ray's {dead}, which has died (killed, or out of memory); what is "
                f"finished is kept; launch the same command again to go on"
            )
        running = {
            self._pack(trial).pack_id: trial.temporary_state.ray_actor
            for trial in trials if trial.status == trial.RUNNING and trial.temporary_state.ray_actor is not None
        }  # fmt: skip
        if self.error is not None or self._should_stop():
            self.actors = [*running.values()]
            raise _Halt
        self._end_hung(running)
        if running:
            self._idle.over()
        else:
            self._idle.look()

    def _nobody_trains(self) -> str:
        return waiting_for({kind.upper(): amount for kind, amount in self._needs.items()})

    def _end_hung(self, running: Mapping[str, Any]) -> None:
        """Tune sees them die, and has their packs taken up again."""
        for pack_id, reason in self._silences.hung(running).items():
            self._hung[pack_id] = reason
            ray.kill(running[pack_id])

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._silences.heard(self._pack(trial).pack_id)
        self._progress.started(self._pack(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._silences.heard(self._pack(trial).pack_id)
        if "error" in result:
            self.error = result["error"]
        else:
            self._progress.update(result["progress"])

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        reason = self._reason(trial)
        if reason == _TOLD_TO_GO:
            trial.run_metadata.num_failures -= 1
        what = "died" if reason != _TOLD_TO_GO else "has gone"
        self._progress.note(f"a worker {what} ({reason}); pack {self._pack(trial).pack_id} is taken up again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.lost[trial.config["pack"]] = self._reason(trial)

    def _pack(self, trial: Any) -> Pack:
        pack: Pack = self._work.packs[trial.config["pack"]]
        return pack

    def _reason(self, trial: Any) -> str:
        """Why a worker died; if it did not, but could not even begin, the sweep cannot go on."""
        if hung := self._hung.pop(self._pack(trial).pack_id, None):
            return hung
        text = Path(trial.error_file).read_text().strip()
        error = _pickled(trial.pickled_error_file)
        if isinstance(error, _Evicted):
            return _TOLD_TO_GO
        died = isinstance(error, RayActorError) and not error.actor_init_failed
        if not died and _OUT_OF_MEMORY not in text:
            self.error = RuntimeError(f"a worker cannot go on:\n{text}")
        return "out of memory" if _OUT_OF_MEMORY in text else "killed or crashed"


def _pickled(path: str | None) -> Any:
    """The exception that Tune has put aside in the driver's scratch folder."""
    if path is None or not Path(path).exists():
        return None
    return ray.cloudpickle.loads(Path(path).read_bytes())

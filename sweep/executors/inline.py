"""Packs one after another in this process, or in a few processes of its own.  No Ray here.

One worker is plain Python that a debugger can step through.  More are spawned processes of one thread each, on GPUs
each with one of them; a process that dies costs its pack the steps since its last checkpoint.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from monosweep.model.config import UserError
from monosweep.sweep.plan.machine import n_gpus
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.work.blame import Loss
from monosweep.sweep.work.contract import Orders, PackProgress, Work
from monosweep.sweep.work.faults import Cause, MachineError, oom_kills
from monosweep.sweep.work.feed import Feed
from monosweep.sweep.work.pack import check_device, pack_slices
from monosweep.sweep.work.progress import Listener
from monosweep.sweep.work.queue import Queue
from monosweep.sweep.work.waits import Silences

_SLICE_S = 1.0
"""Ctrl-C is heard between slices."""
_GRACE_S = 8.0
"""How long a process may take to checkpoint its pack when it is told to stop."""
_POLL_S = 0.2
_HERE = "this machine"
_WORKER, _NO_GUARD = "monosweep-worker", 97
"""How our processes are called, and how one ends that was to launch the very launch that has started it."""
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def execute(
    work: Work, feed: Feed, progress: Listener, should_stop: Callable[[], bool],
    hurried: Callable[[], bool] = lambda: False,
) -> None:  # fmt: skip
    """Train every pack of `feed`; once `should_stop`, checkpoint those in training and return, once `hurried` return.

    Raises:
        StoreError: if the results root fails.
        UserError: if packs are left that this machine cannot train.
    """
    work = replace(work, settings=replace(work.settings, slice_s=_SLICE_S))
    places = _places(work)
    queue = Queue(work, feed, progress, lambda: len(set(places)))
    if work.n_workers == 1:
        _one_after_another(work, queue, should_stop)
    else:
        with _Processes(work, queue, Silences(work.patience_s, progress.note), places, hurried) as processes:
            processes.train(should_stop)
    if queue.problem is not None and not should_stop():
        raise queue.problem


def leave_if_worker() -> None:
    """End this process if it is a worker that imports the script which has started it, and so would start it again."""
    if mp.current_process().name == _WORKER:
        sys.exit(_NO_GUARD)


def _places(work: Work) -> list[str]:
    """Where each worker is: on GPUs, one after another on each."""
    if work.settings.device != "cuda" or work.n_workers == 1:
        return [_HERE] * work.n_workers
    gpus = _gpus()
    return [f"GPU {gpus[i % len(gpus)]}" for i in range(work.n_workers)]


def _gpus() -> list[str]:
    """The GPUs that this process may use, as a worker is told which is its own."""
    if named := os.environ.get(_VISIBLE):
        return named.split(",")
    return [str(gpu) for gpu in range(max(1, n_gpus()))]


def _one_after_another(work: Work, queue: Queue, should_stop: Callable[[], bool]) -> None:
    while not queue.over and not should_stop():
        if order := queue.take():
            _train_here(work, queue, order.pack, should_stop)
        else:
            time.sleep(_POLL_S)


def _train_here(work: Work, queue: Queue, pack: Pack, should_stop: Callable[[], bool]) -> None:
    orders = [Orders()]
    try:
        queue.began(pack.pack_id, _HERE, check_device(work.settings.device, pack), oom_kills())
        for progress in pack_slices(work.store, work.sweep, pack, work.settings, should_stop, orders.pop):
            orders[:] = [queue.heard(progress)]
    except MachineError as error:
        queue.lost(pack.pack_id, Loss(error.cause, error.text, _HERE))


@dataclass(frozen=True, slots=True)
class _Process:
    """A worker's process and the way to it."""

    process: BaseProcess
    pipe: Connection

    def end(self, grace_s: float) -> None:
        """It ends by itself in time, or is killed."""
        self.process.join(grace_s)
        self.process.kill()
        self.process.join()
        self.pipe.close()


@dataclass
class _Worker:
    """A process at a time, once there is a pack for it."""

    place: str
    running: _Process | None = None
    pack: Pack | None = None


@dataclass(frozen=True, slots=True)
class _Began:
    """What a process says before it trains a pack."""

    device_name: str
    kills: int


class _Processes:
    """The spawned workers; none is left behind when the block ends."""

    def __init__(
        self, work: Work, queue: Queue, silences: Silences, places: list[str], hurried: Callable[[], bool]
    ) -> None:
        self._work, self._queue, self._silences, self._hurried = work, queue, silences, hurried
        self._workers = [_Worker(place) for place in places]

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *_: object) -> None:
        running = [worker.running for worker in self._workers if worker.running]
        for each in running:
            with suppress(OSError):
                each.pipe.send(None)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline and not self._hurried() and any(e.process.is_alive() for e in running):
            time.sleep(_POLL_S / 4)
        for each in running:
            each.end(0.0)

    def train(self, should_stop: Callable[[], bool]) -> None:
        while not self._queue.over and not should_stop():
            self._give()
            workers = {worker.running.pipe: worker for worker in self._workers if worker.running}
            for pipe in wait(list(workers), timeout=_POLL_S):
                self._hear(workers[pipe])  # type: ignore[index]
            self._end_hung()

    def _end_hung(self) -> None:
        training = {worker.pack.pack_id: worker for worker in self._workers if worker.pack}
        for pack_id, reason in self._silences.hung(training).items():
            self._lose(training[pack_id], Loss(Cause.MACHINE, reason, training[pack_id].place), grace_s=0.0)

    def _give(self) -> None:
        # Who has trained before goes first: a new process may find a machine that cannot.
        for worker in sorted(self._workers, key=lambda worker: worker.running is None):
            if worker.pack is None and worker.place not in self._queue.left_out:
                if (order := self._queue.take()) is None:
                    return
                worker.pack = order.pack
                self._silences.heard(order.pack.pack_id)
                worker.running = worker.running or self._spawn(worker.place)
                with suppress(OSError):  # a dead worker is noticed when its pipe is read
                    worker.running.pipe.send(order.pack)

    def _spawn(self, place: str) -> _Process:
        context = mp.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, self._work, place)
        process = context.Process(target=_serve, args=arguments, name=_WORKER, daemon=True)
        process.start()
        theirs.close()  # so that the worker's death is the end of the pipe
        return _Process(process, ours)

    def _hear(self, worker: _Worker) -> None:
        assert worker.running is not None
        message: object = None
        with suppress(EOFError, OSError):
            message = worker.running.pipe.recv()
        if message is None:
            message = _death(worker.running.process, worker.place)
        if isinstance(message, Exception):
            raise message
        if isinstance(message, Loss):
            self._lose(worker, message)
            return
        if worker.pack is not None:
            self._silences.heard(worker.pack.pack_id)
        if isinstance(message, _Began):
            assert worker.pack is not None
            self._queue.began(worker.pack.pack_id, worker.place, message.device_name, message.kills)
        else:
            assert isinstance(message, PackProgress)
            orders = self._queue.heard(message)
            if message.finished or message.released:
                worker.pack = None
            elif self._work.settings.rungs is not None and not message.stopped:
                with suppress(OSError):  # a dead worker is noticed when its pipe is read
                    worker.running.pipe.send(orders)

    def _lose(self, worker: _Worker, loss: Loss, grace_s: float = _GRACE_S) -> None:
        """The process is gone, or about to; another one comes with the next pack."""
        assert worker.running is not None
        worker.running.end(grace_s)
        worker.running, pack, worker.pack = None, worker.pack, None
        if pack is not None:
            self._queue.lost(pack.pack_id, loss)


def _death(process: BaseProcess, place: str) -> Loss:
    """What to think of a process that has closed its pipe.

    Raises:
        UserError: if it was to launch the launch that has started it.
    """
    process.join()
    if process.exitcode == _NO_GUARD:
        raise UserError(
            f'a script that launches several workers must do so under if __name__ == "__main__": each of them imports '
            f"it first; got a launch outside it in {sys.argv[0]}; put it there, or use one worker"
        )
    return Loss(Cause.DIED, f"exit code {process.exitcode}", place)


def _serve(pipe: Connection, work: Work, place: str) -> None:
    """A worker process: packs come through the pipe, reports go back, None ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # so does a terminal that closes
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if place != _HERE:
        os.environ[_VISIBLE] = place.removeprefix("GPU ")
    try:
        while (pack := pipe.recv()) is not None:
            pipe.send(_Began(check_device(work.settings.device, pack), oom_kills()))
            told = _Told(pipe)
            for progress in pack_slices(work.store, work.sweep, pack, work.settings, told.to_stop, told.orders):
                pipe.send(progress)
            if told.over:
                return
    except (EOFError, BrokenPipeError):
        return
    except MachineError as error:
        pipe.send(Loss(error.cause, error.text, place))
    except UserError as error:
        pipe.send(error)
    except Exception:
        pipe.send(RuntimeError(f"a worker failed:\n{traceback.format_exc()}"))


@dataclass
class _Told:
    """What comes through the pipe while a pack trains: orders, one after each report, or None, the call to stop."""

    pipe: Connection
    over: bool = False

    def to_stop(self) -> bool:
        """Without orders under way, whatever comes is the call."""
        self.over = self.over or self.pipe.poll()
        return self.over

    def orders(self) -> Orders:
        """Waits for them."""
        found = None if self.over else self.pipe.recv()
        self.over = found is None
        return found if isinstance(found, Orders) else Orders()


def _die_with_parent() -> None:
    parent = mp.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

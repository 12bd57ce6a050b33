"""Packs one after another in this process, or in a few processes of its own.  No Ray here.

One worker is plain Python that a debugger can step through.  More are spawned processes of one thread each;
a process that dies costs its pack the steps since its last checkpoint.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from monosweep.model.config import DeviceError, UserError
from monosweep.sweep.plan.packs import Pack
from monosweep.sweep.work.contract import MAX_RETRIES, PackProgress, Work
from monosweep.sweep.work.failures import after_losses, settled_progress
from monosweep.sweep.work.pack import pack_slices, train_pack
from monosweep.sweep.work.progress import Listener
from monosweep.sweep.work.waits import Silences

_SLICE_S = 1.0
"""Ctrl-C is heard between slices."""
_GRACE_S = 8.0
"""How long a process may take to checkpoint its pack when it is told to stop."""
_POLL_S = 0.2


def execute(work: Work, progress: Listener, should_stop: Callable[[], bool]) -> None:
    """Train every pack of `work`; once `should_stop`, checkpoint those in training and return.

    Raises:
        StoreError: if the results root fails.
    """
    work = replace(work, settings=replace(work.settings, slice_s=_SLICE_S))
    if work.n_workers == 1:
        _one_after_another(work, progress, should_stop)
    else:
        with _Processes(work, progress) as processes:
            processes.train(should_stop)


def _one_after_another(work: Work, progress: Listener, should_stop: Callable[[], bool]) -> None:
    for pack in work.packs:
        if should_stop():
            return
        progress.started(pack)
        train_pack(work.store, work.sweep, pack, work.settings, progress.update, should_stop)


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    pack: Pack | None = None


class _Processes:
    """The spawned workers; none is left behind when the block ends."""

    def __init__(self, work: Work, progress: Listener) -> None:
        self._work, self._progress = work, progress
        self._waiting = deque(work.packs)
        self._losses: Counter[str] = Counter()
        self._workers: list[_Worker] = []
        self._silences = Silences(work.patience_s, progress.note)

    def __enter__(self) -> _Processes:
        for _ in range(min(self._work.n_workers, len(self._waiting))):
            self._workers.append(self._spawn())
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            with suppress(OSError):
                worker.pipe.send(None)
        deadline = time.monotonic() + _GRACE_S
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()

    def train(self, should_stop: Callable[[], bool]) -> None:
        while (self._waiting or self._busy()) and not should_stop():
            for worker in self._workers:
                if worker.pack is None and self._waiting:
                    self._give(worker, self._waiting.popleft())
            for pipe in wait([worker.pipe for worker in self._workers], timeout=_POLL_S):
                self._hear(next(worker for worker in self._workers if worker.pipe is pipe))
            self._end_hung()

    def _end_hung(self) -> None:
        training = {worker.pack.pack_id: worker for worker in self._workers if worker.pack is not None}
        for pack_id, reason in self._silences.hung(training).items():
            training[pack_id].process.kill()
            self._replace(training[pack_id], reason)

    def _busy(self) -> bool:
        return any(worker.pack is not None for worker in self._workers)

    def _spawn(self) -> _Worker:
        context = mp.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, replace(self._work, packs=())), daemon=True)
        process.start()
        theirs.close()  # so that the worker's death is the end of the pipe
        return _Worker(process, ours)

    def _give(self, worker: _Worker, pack: Pack) -> None:
        worker.pack = pack
        self._silences.heard(pack.pack_id)
        self._progress.started(pack)
        with suppress(OSError):  # a dead worker is noticed when its pipe is read
            worker.pipe.send(pack)

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if isinstance(message, Exception):
            raise message
        assert isinstance(message, PackProgress)
        self._silences.heard(message.pack_id)
        self._progress.update(message)
        if message.finished:
            worker.pack = None

    def _replace(self, worker: _Worker, reason: str | None = None) -> None:
        """Spawn another worker; its pack is taken up again, or given up."""
        worker.process.join()
        worker.pipe.close()
        self._workers[self._workers.index(worker)] = self._spawn()
        if worker.pack is None:
            return
        reason = reason or f"exit code {worker.process.exitcode}"
        self._losses[worker.pack.pack_id] += 1
        if self._losses[worker.pack.pack_id] <= MAX_RETRIES:
            self._progress.note(f"a worker died ({reason}); pack {worker.pack.pack_id} is taken up again")
            self._waiting.appendleft(worker.pack)
            return
        rest = after_losses(self._work, worker.pack, reason)
        self._progress.forget(worker.pack)
        if not rest:
            self._progress.update(settled_progress(self._work, worker.pack))
        self._waiting.extendleft(reversed(rest))


def _serve(pipe: Connection, work: Work) -> None:
    """A worker process: packs come through the pipe, reports go back, None ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the driver decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        while (pack := pipe.recv()) is not None:
            # Whatever comes while a pack trains is the call to stop.
            for progress in pack_slices(work.store, work.sweep, pack, work.settings, pipe.poll):
                pipe.send(progress)
    except (EOFError, BrokenPipeError):
        return
    except UserError as error:
        pipe.send(error)
    except DeviceError as error:
        sys.exit(f"a worker ends: {error}")
    except Exception:
        pipe.send(RuntimeError(f"a worker failed:\n{traceback.format_exc()}"))


def _die_with_parent() -> None:
    parent = mp.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

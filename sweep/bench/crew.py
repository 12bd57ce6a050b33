"""One benchmark process per core, all busy with the same load at the same time: what the whole machine does.

A core that works alone is faster than one among busy neighbours, so nothing is measured on one core and
multiplied.
"""

from __future__ import annotations

import multiprocessing as mp
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from monosweep.model.bench.loads import Burst, Load, kernels, one_thread

_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Member:
    process: BaseProcess
    pipe: Connection


class Crew:
    """Spawned processes of one thread each; none is left behind when the block ends.

    Args:
        n_workers: how many.
    """

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers
        self._members: list[_Member] = []

    def __enter__(self) -> Crew:
        context = mp.get_context("spawn")
        for _ in range(self.n_workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()  # so that the process's death is the end of the pipe
            self._members.append(_Member(process, ours))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self._members:
            if kind is not None:
                member.process.terminate()
            with suppress(OSError):
                member.pipe.send(None)
            member.process.join(_GRACE_S)
            member.process.kill()
            member.process.join()
            member.pipe.close()

    def rate(self, load: Load, seconds: float) -> float:
        """Work per second of all processes together, over about `seconds`; preparing is not counted.

        Raises:
            RuntimeError: if a process fails or dies.
        """
        self._tell((load, seconds))
        self._hear()  # all are prepared and warm
        self._tell("go")
        rates: list[float] = [done / elapsed for done, elapsed in self._hear()]
        return sum(rates)

    def kernels(self) -> str:
        """What multiplies NumPy's matrices in these processes."""
        self._tell("kernels")
        kernels: str = self._hear()[0]
        return kernels

    def _tell(self, message: object) -> None:
        for member in self._members:
            with suppress(OSError):  # a dead process is noticed when its pipe is read
                member.pipe.send(message)

    def _hear(self) -> list[Any]:
        return [_receive(member) for member in self._members]


def _receive(member: _Member) -> object:
    try:
        answer = member.pipe.recv()
    except (EOFError, OSError):
        member.process.join()
        raise RuntimeError(f"a benchmark process died (exit code {member.process.exitcode})") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(pipe: Connection) -> None:
    """A process: loads come through the pipe, what was done goes back, None ends it."""
    bursts: dict[Load, Burst] = {}
    try:
        with one_thread():
            while (message := pipe.recv()) is not None:
                if message == "kernels":
                    pipe.send(kernels())
                    continue
                load, seconds = message
                if load not in bursts:
                    bursts[load] = load.prepare()
                bursts[load]()
                pipe.send("ready")
                pipe.recv()
                pipe.send(_repeat(bursts[load], seconds))
    except EOFError:
        return
    except KeyboardInterrupt:  # the driver says so
        return
    except Exception:
        pipe.send(RuntimeError(f"a benchmark process failed:\n{traceback.format_exc()}"))


def _repeat(burst: Burst, seconds: float) -> tuple[float, float]:
    """Work done, and the seconds that it took."""
    done, start = 0.0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        done += burst()
    return done, elapsed

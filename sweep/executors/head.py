"""Whether the head of a cluster answers: told within seconds, and the launch ends before Ray ends it without a word.

    connect.connected(address) -> Head.knock_at -> watched(tune.execute)

Ray gives a head a minute to come back, then it ends the driver's process from below; and what the driver is doing by
then may wait for Ray.  So who has not ended shortly before is ended here, with the line.  Ray-free.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from monosweep.model.config import UserError
from monosweep.sweep.text import duration
from monosweep.sweep.work.contract import Work
from monosweep.sweep.work.feed import Feed
from monosweep.sweep.work.progress import Listener
from monosweep.sweep.work.waits import Say

Execute = Callable[[Work, Feed, Listener, Callable[[], bool]], None]
"""Trains all packs of a feed and tells of them; once the last says so, checkpoints those in training and returns."""
_ASK_EVERY_S = 2.0
_ANSWER_S = 5.0
_TOLD_S = 5.0
_RAY_ENDS_US_S = float(os.environ.get("RAY_gcs_rpc_server_reconnect_timeout_s", 60))  # noqa: SIM112 (Ray spells it so)
PATIENCE_S = 0.5 * _RAY_ENDS_US_S
_LAST_S = 0.85 * _RAY_ENDS_US_S
_USER_ERROR = 2
"""As the command line has it."""


class Head:
    """A thread that knocks at the head; a context manager, around all that may wait for Ray.

    Args:
        say: is told if it does not answer, and when it does again.
    """

    def __init__(self, say: Say) -> None:
        self._address, self._say = "", say
        self._answered_at, self._told = time.monotonic(), False
        self._gone: UserError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._knock, name="monosweep-head", daemon=True)

    def __enter__(self) -> Head:
        return self

    def knock_at(self, address: str) -> None:
        """From now on, at a head's control service (GCS), HOST:PORT."""
        self._address, self._answered_at = address, time.monotonic()
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def gone(self) -> UserError | None:
        """Why the sweep cannot go on, once the head has been silent for too long."""
        silent_s = time.monotonic() - self._answered_at
        if self._gone is None and self._told and silent_s >= PATIENCE_S:
            self._gone = UserError(
                f"a sweep needs the head of its cluster; that at {self._address} has not answered for "
                f"{duration(silent_s)}; what is finished is kept; launch the same command again once it is back"
            )
        return self._gone

    def watched(self, execute: Execute) -> Execute:
        """The same, which ends with an error once the head has gone."""

        def train(work: Work, feed: Feed, progress: Listener, should_stop: Callable[[], bool]) -> None:
            execute(work, feed, progress, lambda: should_stop() or self.gone is not None)
            if self.gone is not None:
                raise self.gone

        return train

    def _knock(self) -> None:
        host, _, port = self._address.rpartition(":")
        while not self._ended.wait(_ASK_EVERY_S):
            try:
                socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
            except OSError as error:
                self._silent(error)
                self._end_if_stuck()
            else:
                self._answered()

    def _silent(self, error: OSError) -> None:
        if not self._told and time.monotonic() - self._answered_at >= _TOLD_S:
            self._told = True
            problem = error.strerror or str(error)
            self._say(
                f"the head of the cluster at {self._address} does not answer ({problem}); waiting for it for up to "
                f"{duration(PATIENCE_S)}"
            )

    def _end_if_stuck(self) -> None:
        if self.gone is not None and time.monotonic() - self._answered_at >= _LAST_S:
            self._say(f"monosweep: {self.gone}")
            os._exit(_USER_ERROR)

    def _answered(self) -> None:
        if self._told:
            self._say(f"the head of the cluster at {self._address} answers again")
        self._answered_at, self._told = time.monotonic(), False

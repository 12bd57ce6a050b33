"""A storage that is away for a while is waited for; what cannot pass is said at once."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from monosweep.sweep.store.retrying import may_pass, pauses
from monosweep.sweep.store.root import Store, StoreError


class Gate:
    """A TCP port that leads to a server, and that can be shut: then connections are refused or cut."""

    def __init__(self, port: int) -> None:
        self._target, self._links = port, list[socket.socket]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for link in self._links:
            link.close()
        self._links.clear()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _ = listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._target))
            self._links += [here, there]
            for source, sink in ((here, there), (there, here)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def gate() -> Iterator[Gate]:
    """The way to a real S3 server with one bucket."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    gate = Gate(server.get_host_and_port()[1])
    _filesystem(gate).create_dir("bucket")
    yield gate
    gate.shut()
    server.stop()


def _filesystem(gate: Gate) -> pafs.S3FileSystem:
    """pyarrow's own three tries take six seconds; without them, the waiting is ours."""
    return pafs.S3FileSystem(
        access_key="key", secret_key="secret", scheme="http", region="us-east-1",
        endpoint_override=f"127.0.0.1:{gate.port}", allow_bucket_creation=True,
        retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=1),
    )  # fmt: skip


def _store(gate: Gate) -> Store:
    return Store("s3://bucket/away", _filesystem(gate), "bucket/away")


def test_a_server_that_comes_back_costs_nothing_but_time(gate: Gate) -> None:
    store = _store(gate)
    store.write_spec("s", "{}")
    gate.shut()
    threading.Timer(1.5, gate.open).start()
    start = time.monotonic()
    store.save_checkpoint("s", "p", b"state")
    assert time.monotonic() - start > 1
    assert store.load_checkpoint("s", "p") == b"state"
    (note,) = store.notes()
    assert note.startswith("cannot write bucket/away/checkpoints/sweep=s/p.safetensors: ")
    assert note.endswith("; trying again for up to 60 s")
    assert store.notes() == []


def test_a_server_that_stays_away_ends_in_one_line(gate: Gate) -> None:
    store = _store(gate)
    gate.shut()
    store.patience_s = 1
    with pytest.raises(StoreError, match=r"^cannot list bucket/away/sweeps: .*another --out$") as error:
        store.sweeps()
    assert "\n" not in str(error.value)
    gate.open()


def test_what_cannot_pass_is_said_at_once(gate: Gate, small_disk: Path) -> None:
    start = time.monotonic()
    with pytest.raises(StoreError, match="cannot write absent/x"):
        Store("s3://absent", _filesystem(gate), "absent").put("x", b"data")
    local = Store.create(str(small_disk / "out"))
    with pytest.raises(StoreError, match="no space left"):
        local.save_checkpoint("s", "p", os.urandom(400_000))
    assert time.monotonic() - start < local.patience_s / 2
    assert local.notes() == []


def test_which_errors_may_pass() -> None:
    passing = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ECONNREFUSED, errno.ECONNRESET)
    assert all(may_pass(OSError(code, os.strerror(code))) for code in passing)
    lasting = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
    assert not any(may_pass(OSError(code, os.strerror(code))) for code in lasting)
    s3 = "When getting information for key 'a' in bucket 'b': AWS Error {} during HeadObject operation: why"
    for words, may in (
        ("NETWORK_CONNECTION", True), ("SLOW_DOWN", True), ("UNKNOWN (HTTP status 503)", True),
        ("UNKNOWN (HTTP status 500)", True), ("ACCESS_DENIED", False), ("NO_SUCH_BUCKET", False),
        ("UNKNOWN (HTTP status 301)", False),
    ):  # fmt: skip
        assert may_pass(OSError(s3.format(words))) is may
    assert not may_pass(ValueError("curlCode: 7"))


def test_pauses_grow_and_differ() -> None:
    several = [[pause for pause, _ in zip(pauses(), range(12), strict=False)] for _ in range(8)]
    assert all(0.1 <= first[0] <= 0.2 and 2.5 <= first[-1] <= 5 for first in several)
    assert len({round(first[-1], 6) for first in several}) > 1

"""The scrape endpoint: who may ask, how it is answered, and what ends it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loader.errors import UserError
from modfs.export.listen import Address, Listener, Reader, parse_address
from tests.recordings import SEEDS

REPORT = (SEEDS / "255-vcpu-without-early-check.stats").read_text()


@contextmanager
def listening(source: Path, told: list[str] | None = None) -> Iterator[Address]:
    reader = Reader(source, 3, (told if told is not None else []).append)
    with Listener(Address("127.0.0.1", 0), reader.read) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield listener.address
        finally:
            listener.shutdown()
            thread.join()


def get(address: Address, accept: str = "*/*", method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=20)
    connection.request(method, "/metrics", headers={"Accept": accept})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, answer.getheader("Content-Type") or "", body


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    (tmp_path / "stats").write_text(REPORT)
    return tmp_path


def test_a_scrape(kernel: Path) -> None:
    with listening(kernel) as address:
        status, kind, body = get(address)
        assert status == 200 and kind.startswith("text/plain; version=")
        assert "modfs_modules_loaded_total 67.0\n" in body and "python_info" not in body
        (kernel / "stats").write_text(REPORT.replace("ever loaded\t67", "ever loaded\t68"))
        assert "modfs_modules_loaded_total 68.0\n" in get(address)[2]  # read anew
        _, kind, body = get(address, "application/openmetrics-text; version=1.0.0")
        assert kind.startswith("application/openmetrics-text") and body.endswith("# EOF\n")


def test_a_source_that_cannot_be_read(kernel: Path) -> None:
    told: list[str] = []
    with listening(kernel, told) as address:
        (kernel / "stats").write_text("nonsense\n")
        for _ in range(3):
            status, _, body = get(address)
            assert status == 200 and "modfs_source_up 0.0\n" in body
            assert "modfs_modules_loaded" not in body
        assert len(told) == 1 and "stats, line 1: " in told[0]
        (kernel / "stats").write_text(REPORT)
        assert "modfs_source_up 1.0\n" in get(address)[2]


def test_clients_that_say_nothing_hold_nobody_up(kernel: Path) -> None:
    """All places but one are taken by clients that are silent; one more is turned away at once."""
    with listening(kernel) as address:
        silent = [socket.create_connection((address.host, address.port)) for _ in range(15)]
        assert get(address)[0] == 200
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            for _ in range(3):  # the place of who was answered may not be free at once
                silent.append(socket.create_connection((address.host, address.port)))
                get(address)
        for one in silent:
            one.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9101", "127.0.0.1:9101"),
        (":9101", "127.0.0.1:9101"),
        ("localhost:1", "127.0.0.1:1"),
        ("0.0.0.0:9101", "0.0.0.0:9101"),
        ("[::1]:9101", "[::1]:9101"),
    ],
)
def test_addresses(text: str, address: str) -> None:
    assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    "text", ["", "x", "70000", "1.2.3:1", "host:1", "[::1:9]", "1.2.3.4", "-1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UserError):
        parse_address(text)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_command(
    environment: dict[str, str], kernel: Path, number: signal.Signals, status: int
) -> None:
    command = ["modfs", "export", str(kernel), "--listen", "0"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        where = process.stdout.readline().strip()
        assert where.startswith("http://127.0.0.1:") and where.endswith("/metrics")
        port = int(where.removesuffix("/metrics").rpartition(":")[2])
        assert "modfs_source_up 1.0" in get(Address("127.0.0.1", port))[2]
        os.kill(process.pid, number)
        assert process.wait(20) == status


def test_a_place_that_is_taken(environment: dict[str, str], kernel: Path) -> None:
    with listening(kernel) as address:
        command = ["modfs", "export", str(kernel), "--listen", str(address)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"modfs export: {address}: Address already in use\n"

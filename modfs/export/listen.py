"""A scrape endpoint: measures read anew for each who asks, over HTTP.

prometheus_client speaks the formats; here is how many may ask at a time, how long they may take,
and what they get while the source cannot be read: modfs_source_up 0.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from loader.errors import UserError
from loader.words import shown
from modfs.export import measures
from modfs.export.measures import Measured
from modfs.export.read import measure
from modfs.export.write import registry
from modfs.sources.source import is_folder

_ADDRESS = re.compile(r"(?:(\[[0-9A-Fa-f:.]+\]|[0-9.]+|localhost)?:)?(\d{1,5})")
_LOOPBACK = "127.0.0.1"
_AT_ONCE = 16
_SECONDS = 10.0  # that a client may take with each part of its question


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def parse_address(text: str) -> Address:
    """PORT, :PORT or ADDRESS:PORT; without an address this machine alone can ask. UserError."""
    found = _ADDRESS.fullmatch(text)
    if not found or int(found[2]) > 65535:
        raise UserError(f"a port, or ADDRESS:PORT as 127.0.0.1:9101, is needed, not {shown(text)}")
    host = (found[1] or _LOOPBACK).strip("[]")
    if host == "localhost":
        host = _LOOPBACK
    try:
        return Address(str(ipaddress.ip_address(host)), int(found[2]))
    except ValueError:
        raise UserError(f"no address: {shown(host)}") from None


class Reader:
    """Reads the source when it is asked for; of a file only what has changed since."""

    def __init__(self, source: Path, top: int, complain: Callable[[str], None]) -> None:
        self._source = source
        self._top = top
        self._complain = complain
        self._lock = threading.Lock()
        self._last_trouble = ""
        self._known: tuple[tuple[int, int, int], Measured] | None = None

    def read(self) -> Measured:
        """The measures; if the source cannot be read, that it is not up."""
        with self._lock:
            try:
                measured = self._fresh()
                self._last_trouble = ""
                return measured
            except (OSError, UserError) as error:
                self._tell(error)
        measured = Measured(self._top)
        measured.set(measures.UP, 0)
        return measured

    def _fresh(self) -> Measured:
        if is_folder(self._source):
            return measure(self._source, self._top)
        found = self._source.stat()
        version = found.st_mtime_ns, found.st_size, found.st_ino
        if self._known is None or self._known[0] != version:
            self._known = version, measure(self._source, self._top)
        return self._known[1]

    def _tell(self, error: OSError | UserError) -> None:
        text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        told = text if isinstance(error, UserError) else f"{self._source}: {text}"
        if told != self._last_trouble:  # once, not at each scrape
            self._last_trouble = told
            self._complain(told)


class _Handler(WSGIRequestHandler):
    timeout = _SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """Who scrapes is no news."""


class Listener(ThreadingMixIn, WSGIServer):
    """Serves /metrics until it is told to end."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: Address, read: Callable[[], Measured]) -> None:
        """OSError: cannot listen there. UserError: prometheus_client is missing."""
        collected = registry(read)
        from prometheus_client import make_wsgi_app

        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__((address.host, address.port), _Handler)
        self.set_app(make_wsgi_app(collected))

    def server_bind(self) -> None:
        """Without a question to the name service, which socketserver's has."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    @property
    def address(self) -> Address:
        """Where it listens, with the port that it was given."""
        return Address(self.server_name, self.server_port)

    def process_request(self, request: object, client_address: object) -> None:
        """One more thread, if there is a place; else who asks is turned away."""
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[arg-type]
            return
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        """Answer, and give the place back."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Whoever hung up, or was too slow, is no trouble of ours."""

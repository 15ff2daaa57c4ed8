"""The process that serves a mount: what it leaves of who started it, and where it logs."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from loader.errors import UserError
from modfs.mount.background import READY, Order
from modfs.mount.descriptors import close_descriptors, open_descriptors
from modfs.mount.log_file import set_up_log
from modfs.mount.notify import notify
from modfs.mount.pid_file import pid_file
from modfs.mount.stderr import CapturedStderr, reason

log = logging.getLogger("modfs")


def serve_in_background(order: Order, status: int) -> NoReturn:
    """The server's process: a session of its own, which tells ``status`` how the start went."""
    code = 1
    try:
        inherited = open_descriptors() - {status}
        _leave_the_caller()

        def made() -> Any:
            live = order.make()  # which may read what the caller has open, as /dev/fd/63
            close_descriptors(inherited, keep=(0, 1, 2))
            return live

        def ready() -> None:
            os.write(status, READY)
            os.close(status)

        code = serve_logged(order._replace(make=made), ready)
    except UserError as error:
        os.write(status, str(error).encode())
    except BaseException as error:
        log.exception("the server failed")
        os.write(status, f"{order.mountpoint}: {error or type(error).__name__}".encode())
    finally:
        os._exit(code)


def _leave_the_caller() -> None:
    """Nothing of the caller's is left but its limits and its OOM score."""
    os.setsid()
    os.chdir("/")
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def serve_logged(order: Order, ready: Callable[[], None]) -> int:
    """Serve with the log set up; what is said while it mounts becomes a UserError."""
    make, mountpoint, options, kind, manner = order
    reopen = set_up_log(manner.log_file, manner.verbose)
    live = make()
    if manner.verbose:
        kind.listen(live, _forward_kernel_log())
    mounted = threading.Event()
    with pid_file(manner.pid_file), CapturedStderr() as said:

        def ready_and_heard() -> None:
            said.restore()
            mounted.set()
            log.info("mounted on %s, process %d", mountpoint, os.getpid())
            ready()
            notify("READY=1", f"STATUS={kind.title(live)} on {mountpoint}")

        status: int = kind.serve(live, mountpoint, options, ready_and_heard, reopen)
    log.info("unmounted %s", mountpoint)
    if not mounted.is_set():
        raise UserError(f"{mountpoint}: {reason(said.text)}")
    return status


def _forward_kernel_log() -> Callable[[str], None]:
    """A listener that leaves the writing to a thread: it is called with the kernel's lock held."""
    import queue

    lines: queue.Queue[str] = queue.Queue(maxsize=10_000)
    kernel = logging.getLogger("kernel")

    def write() -> None:
        while True:
            kernel.info("%s", lines.get())

    def listen(line: str) -> None:
        with suppress(queue.Full):  # the ring in kmsg still has it
            lines.put_nowait(line)

    threading.Thread(target=write, daemon=True).start()
    return listen

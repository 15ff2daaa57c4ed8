"""modfs run: three processes, and those that keep the sandbox.

The one that the user started waits for the command and passes its exit status on. A server, in a
session of its own, holds the engine, serves the file systems and answers the command's module
calls. A keeper, which the server starts, makes the namespaces and their mounts, which the server
itself never sees (modfs.run.keeper), and has a watchdog. The command itself enters the namespaces,
has its calls caught, and starts. The server and the keeper end with the last program in there.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from contextlib import suppress

from loader.errors import UserError, in_words
from modfs.run import sandbox, seccomp
from modfs.run.server import BUSY, DONE, EXITED, MESSAGE_MAX, READY, Plan, serve_and_exit

_NAMESPACES_MAX = 2


def run(plan: Plan) -> int:
    """Run the command; its exit status, or minus the signal that ended it. UserError."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sys.stdout.flush()
    sys.stderr.flush()
    server = os.fork()
    if server == 0:
        ours.close()
        serve_and_exit(plan, theirs)
    theirs.close()
    said, namespaces, _, _ = socket.recv_fds(ours, MESSAGE_MAX, _NAMESPACES_MAX)
    if said != READY:
        raise UserError(said.decode(errors="replace") or "the server ended early")
    command = os.fork()
    if command == 0:
        _become(plan.command, namespaces, ours)
    for namespace in namespaces:
        os.close(namespace)
    status = _wait(command)
    said = b""
    with suppress(ConnectionError):  # it may have ended in between, and said so before
        ours.send(EXITED)
    with suppress(ConnectionError):
        said = ours.recv(MESSAGE_MAX)  # until all is gone, or the server knows that programs go on
    if said in (DONE, BUSY):
        return status
    why = said.decode(errors="replace") or "its server did not answer, or was ended"
    print(f"modfs run: {why}", file=sys.stderr)
    return status or bool(said)  # a report that was asked for is not there


def _wait(command: int) -> int:
    """Wait for the command. Signals that somebody sends are passed on; those of the terminal the
    command gets by itself."""
    passed_on = {
        getattr(signal, f"SIG{name}")
        for name in ("INT", "QUIT", "TERM", "HUP", "USR1", "USR2", "ALRM")
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, {*passed_on, signal.SIGCHLD})
    while True:
        done, status = os.waitpid(command, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        found = signal.sigwaitinfo({*passed_on, signal.SIGCHLD})
        if found.si_signo in passed_on and found.si_code <= 0:  # not the kernel's
            os.kill(command, found.si_signo)


# -- the command's process ------------------------------------------------------------------------


def _become(command: tuple[str, ...], namespaces: list[int], channel: socket.socket) -> None:
    """Enter the namespaces, have calls caught, and become the command. Never returns."""
    status = 126
    try:
        sandbox.join(namespaces)
        listener = _catch_calls()
        socket.send_fds(channel, [b"listener"], [listener])
        os.close(listener)
        channel.recv(MESSAGE_MAX)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)
    except FileNotFoundError:
        status = 127
        print(f"modfs run: {command[0]}: there is no such command", file=sys.stderr)
    except OSError as error:
        print(f"modfs run: {command[0]}: {in_words(error)}", file=sys.stderr)
    except UserError as error:
        print(f"modfs run: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _catch_calls() -> int:
    try:
        return seccomp.install()
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise UserError(sandbox.NESTED) from None
        raise UserError(f"its calls cannot be caught: {in_words(error)}") from None

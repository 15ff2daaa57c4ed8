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
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

from loader.errors import UserError, in_words
from modfs.run import device_places, sandbox, seccomp
from modfs.run.caught import Rules
from modfs.run.server import BUSY, DONE, EXITED, MESSAGE_MAX, READY, Plan, serve_and_exit

_PLACES_MAX = 4  # three namespaces and a root


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
    said, places, _, _ = socket.recv_fds(ours, MESSAGE_MAX, _PLACES_MAX)
    if said != READY:
        raise UserError(said.decode(errors="replace") or "the server ended early")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {*_passed_on(), signal.SIGCHLD})
    command = os.fork()
    if command == 0:
        _become(plan, places, ours, blocked)
    _pass_on_early_ones(command)
    for place in places:
        os.close(place)
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


def _passed_on() -> set[signal.Signals]:
    """What ends a program, or is meant for it: if somebody sends it, the command gets it."""
    names = ("INT", "QUIT", "TERM", "HUP", "USR1", "USR2", "ALRM")
    return {getattr(signal, f"SIG{name}") for name in names}


def _pass_on_early_ones(command: int) -> None:
    """Those that came before there was a command to get them, also from the terminal."""
    while found := signal.sigtimedwait(_passed_on(), 0):
        os.kill(command, found.si_signo)


def _wait(command: int) -> int:
    """Wait for the command, with all signals blocked that it might get. Those that somebody sends
    are passed on; those of the terminal the command gets by itself."""
    while True:
        done, status = os.waitpid(command, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        found = signal.sigwaitinfo({*_passed_on(), signal.SIGCHLD})
        if found.si_signo != signal.SIGCHLD and found.si_code <= 0:  # not the kernel's
            os.kill(command, found.si_signo)


# -- the command's process ------------------------------------------------------------------------


def _become(
    plan: Plan, places: list[int], channel: socket.socket, blocked: Iterable[int]
) -> NoReturn:
    """Enter the namespaces, have calls caught, and become the command. ``blocked``: the signals
    that it is to have blocked."""
    status = 126
    command = plan.command
    try:
        sandbox.join(places[:-1], places[-1])
        if plan.devices:
            os.environ.update(device_places.ENVIRONMENT)
        listener = _catch_calls(plan.caught())
        socket.send_fds(channel, [b"listener"], [listener])
        os.close(listener)
        channel.recv(MESSAGE_MAX)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # it would be forgotten by execve
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
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


def _catch_calls(caught: Rules | None) -> int:
    try:
        return seccomp.install(caught)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise UserError(sandbox.NESTED) from None
        raise UserError(f"its calls cannot be caught: {in_words(error)}") from None

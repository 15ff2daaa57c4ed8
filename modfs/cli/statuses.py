"""How the command ends: its exit statuses, and what each exception comes to.

Verbs raise. What a person did wrong is a UserError, or click's own for what is wrong with the
options; an OSError is what the system refused. Anything else is a mistake in modfs, and is left to
show itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from loader.errors import UserError, in_words
from loader.words import printable

if TYPE_CHECKING:
    import click

DONE, FAILED, MISUSED, NOT_STARTED, NOT_EXECUTED, NOT_FOUND = 0, 1, 2, 125, 126, 127
ABOVE = 3
BUSY = 32  # as umount(8)
INTERRUPTED, BROKEN_PIPE = 130, 141  # as a shell tells of SIGINT and of SIGPIPE

STATUSES: tuple[tuple[int, str], ...] = (
    (DONE, "done"),
    (
        FAILED,
        "not done; verify: a step differs; inspect: a file is no module for a kernel;"
        " record, replay: not all was seen",
    ),
    (MISUSED, "the command line, or a file that it names, is wrong"),
    (ABOVE, "blame --fail-above: more was wasted"),
    (BUSY, "umount: somebody uses it"),
    (NOT_STARTED, "modfs run could not start; else its status is the command's"),
    (NOT_EXECUTED, "modfs run: the command cannot be executed"),
    (NOT_FOUND, "modfs run: there is no such command"),
    (INTERRUPTED, "Ctrl-C"),
    (BROKEN_PIPE, "whoever read the output has gone"),
)


@contextmanager
def ending_with(status: int) -> Iterator[None]:
    """What goes wrong in this block ends the command with ``status``."""
    try:
        yield
    except OSError as error:
        raise UserError(told(error), status=status) from None
    except UserError as error:
        raise UserError(str(error), status=status) from None


def told(error: OSError) -> str:
    """FILE: why."""
    text = in_words(error)
    return text if error.filename is None else f"{error.filename}: {text}"


def end(error: BaseException, command: str) -> int:
    """Tell in one line why ``command`` (such as "modfs mount") ends; its exit status.

    Raises the error if it is a mistake in modfs.
    """
    import click  # not needed where all goes well

    match error:
        case KeyboardInterrupt():
            print(file=sys.stderr)  # the terminal has shown ^C
            return INTERRUPTED
        case BrokenPipeError():
            return BROKEN_PIPE
        case UserError():
            status, message = error.status, str(error)
        case OSError():
            status, message = FAILED, told(error)
        case ModuleNotFoundError(name="simpy"):
            status, message = FAILED, "the package simpy is missing: pip install 'simpy>=4.1'"
        case click.UsageError():
            status, message = error.exit_code, _usage(error, command)
        case click.ClickException():
            status, message = error.exit_code, error.format_message()
        case _:
            raise error
    complain(message, command)
    return status


def _usage(error: click.UsageError, command: str) -> str:
    """What is wrong with the command line, and where all that is right is told."""
    import click

    message = error.format_message()
    if isinstance(error, click.NoSuchOption):
        near = f"; did you mean {error.possibilities[0]}?" if error.possibilities else ""
        message = f"there is no option {error.option_name}{near}"
    return f"{message.rstrip('.')}{' ' if message.endswith('?') else '; '}try {command} --help"


def _command() -> str:
    import click

    return click.get_current_context().command_path


def complain(message: str, command: str | None = None) -> None:
    """One line on standard error. ``command``: which says it, if not the verb that runs."""
    words = (line.strip() for line in message.splitlines())
    line = printable(" ".join(word for word in words if word))
    command = command or _command()
    try:
        print(f"{command}: {line}", file=sys.stderr, flush=True)
    except OSError:  # who hears nothing still has the status: Python's at its end would be 120
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115

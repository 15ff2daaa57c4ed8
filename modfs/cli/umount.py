"""modfs umount: end mounts."""

from __future__ import annotations

from collections.abc import Callable

import click

from loader.errors import UserError
from modfs.cli.options import mountpoints_argument
from modfs.cli.statuses import BUSY, DONE, FAILED, complain, told
from modfs.mount.umount import BusyError, umount, umount_at_once, umount_by_force

_EXAMPLE = """
\b
Examples:
  modfs umount /tmp/m
  modfs umount --force /tmp/m /tmp/n
"""


@click.command(epilog=_EXAMPLE)
@mountpoints_argument(required=True)
@click.option("--lazy", "-l", "how", flag_value="lazy",
    help="Take it out of the tree now; the server ends with the last use.")  # fmt: skip
@click.option("--force", "-f", "how", flag_value="force",
    help="End the server: whoever waits in a request is let go.")  # fmt: skip
def command(mountpoints: tuple[str, ...], how: str | None) -> int:
    """Unmount each MOUNTPOINT that nobody uses, also one whose server has died.

    If one is in use it stays: modfs says by whom, and the exit status is 32. With --force a server
    that is stuck is ended too; it says what it did then.
    """
    end = {"lazy": umount_at_once, "force": umount_by_force}.get(how or "", umount)
    return max(_end(mountpoint, end) for mountpoint in mountpoints)


def _end(mountpoint: str, end: Callable[[str], str]) -> int:
    """Its part of the exit status."""
    try:
        done = end(mountpoint)
    except BusyError as error:
        complain(str(error))
        return BUSY
    except (UserError, OSError) as error:
        complain(told(error) if isinstance(error, OSError) else str(error))
        return FAILED
    if done:
        complain(done)
    return DONE

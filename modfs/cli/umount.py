"""modfs umount: end a mount; who waits in a request is let go."""

from __future__ import annotations

import click

from modfs.cli.statuses import FAILED, complain, ending_with
from modfs.mount.umount import umount


@click.command(epilog="\b\nExample:\n  modfs umount /tmp/m")
@click.argument("mountpoint", type=click.Path())
def command(mountpoint: str) -> None:
    """Unmount MOUNTPOINT, also one whose server has died or is stuck: it says what it did then."""
    with ending_with(FAILED):
        if done := umount(mountpoint):
            complain(done)

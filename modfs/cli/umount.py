"""modfs umount: end a mount; who waits in a request is let go."""

from __future__ import annotations

import sys

import click

from modfs.mount.options import MountError
from modfs.mount.umount import umount


@click.command(epilog="\b\nExample:\n  modfs umount /tmp/m")
@click.argument("mountpoint", type=click.Path())
def command(mountpoint: str) -> None:
    """Unmount MOUNTPOINT, also one whose server has died."""
    try:
        umount(mountpoint)
    except MountError as error:
        print(f"modfs umount: {error}", file=sys.stderr)
        sys.exit(1)

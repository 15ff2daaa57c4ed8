"""modfs mount: the file system with the live statistics."""

from __future__ import annotations

from typing import Any

import click

from modfs.cli.options import NAMES, EngineOptions, engine_options
from modfs.cli.statuses import FAILED, ending_with
from modfs.mount.background import mount
from modfs.mount.options import MountOptions

_OWN = NAMES | {"log"}


@click.command(
    epilog="""\b
Example:
  modfs mount --kernel 6.4 /tmp/m
  echo 'modprobe xfs' > /tmp/m/control; cat /tmp/m/stats
In /etc/fstab (mount.fuse of the package fuse runs modfs, which must be in its PATH):
  modfs  /mnt/m  fuse.modfs  kernel=6.12,allow_other  0 0
"""
)
@click.argument("mountpoint", type=click.Path())
@click.option("-o", "options", multiple=True, metavar="OPTS", help="As for mount(8): allow_other,"
    " ro, ...; control_mode=0660 for who may write requests; kernel=6.4 and the like.")  # fmt: skip
@click.option("-t", "_type", hidden=True)  # mount.fuse passes it on
@click.option("--foreground", "-f", is_flag=True, help="Stay, until unmounted or Ctrl-C.")
@click.option("--log", type=click.Path(dir_okay=False), metavar="FILE", help="The server's log.")
@click.option("-v", "--verbose", is_flag=True, help="Also log what the kernel would log.")
@engine_options
def command(**values: Any) -> int:
    """Mount a kernel's module statistics on MOUNTPOINT and serve them.

    Returns when the mount answers. Requests written to MOUNTPOINT/control load and remove modules;
    reading control shows how.
    """
    parsed = MountOptions.parse(values.pop("options"), _OWN)
    for name, text in parsed.own:
        _override(values, name, text)
    engine = EngineOptions.pop(values)
    engine.check()  # told here, not by the server
    with ending_with(FAILED):
        return mount(
            engine.live,
            values["mountpoint"],
            parsed,
            foreground=values["foreground"],
            log_file=values["log"],
            verbose=values["verbose"],
        )


def _override(values: dict[str, Any], name: str, text: str) -> None:
    """An option of the command that came with -o, as from /etc/fstab."""
    key = {"key": "keys"}.get(name, name.replace("-", "_"))
    if key in ("keys", "without", "blacklist"):
        values[key] = (*values[key], *text.split(":"))
    else:
        values[key] = True if key in ("sig_enforce", "autoload_dups") else text

"""modfs machine: the machine file of a machine that is there."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from loader.errors import UserError
from modfs.cli.options import FOLDER, SOURCE, modules_option
from modfs.cli.statuses import DONE, MISUSED, ending_with
from modfs.machine.look import machine_text

_EXAMPLE = """
\b
Examples:
  modfs machine > this.toml && modfs simulate this.toml --kernel 6.4
  modfs machine --root sosreport-web7 > web7.toml
  modfs machine boot.txt.zst --modules lib/modules/6.12.117 > guest.toml
"""


@click.command(epilog=_EXAMPLE)
@click.argument("source", type=SOURCE, required=False, metavar="[SOURCE]")
@click.option(
    "--root", type=FOLDER, metavar="DIR", help="Look there instead of in /: an sosreport."
)
@click.option("--sysfs", type=FOLDER, metavar="DIR", help="Look at this copy of /sys for devices.")
@modules_option("The tree that modaliases are looked up in. Default: the machine's own.")
@click.option("--no-tree", is_flag=True, help="Leave modaliases: modfs simulate --modules does it.")
def command(
    source: Path | None,
    root: Path | None,
    sysfs: Path | None,
    modules: Path | None,
    no_tree: bool,
) -> int:
    """Write the machine file of this machine, or of another that files tell of.

    It has the processors, the memory, the kernel, all devices in the order of udev's coldplug with
    the modules that they ask for, what these take, and udev's limits. modfs simulate takes it as it
    is. What could not be seen stands in it as a comment.

    SOURCE is a recording: how long the inits of modules took, and which failed, is taken from it,
    and the machine itself if it tells of that (a recorded boot with a section @MACHINE). --root may
    be a folder of a stranger's: nothing in it leads out of it.
    """
    if modules is not None and no_tree:
        raise UserError("--modules and --no-tree exclude each other")
    with ending_with(MISUSED):
        text = machine_text(source, root, sysfs, modules, with_tree=not no_tree)
    sys.stdout.write(text)
    return DONE

"""modfs run: a program in a kernel that loads modules."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import click

from modfs.cli.engine import EngineOptions
from modfs.cli.options import FOLDER, engine_options
from modfs.cli.statuses import NOT_STARTED, ending_with


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="""\b
Example:
  modfs run --modules tree -- sh -c \\
      'modprobe xfs; lsmod | head -3; cat /sys/kernel/debug/modules/stats'
""",
)
@click.argument("command_line", nargs=-1, metavar="[-- COMMAND [ARGUMENT...]]")
@click.option(
    "--stats", type=click.Path(dir_okay=False), metavar="FILE", help="Write the final stats."
)
@click.option(
    "--mount",
    type=FOLDER,
    metavar="DIR",
    help="Join the engine that modfs mount serves there.",
)
@click.option(
    "--autoload",
    is_flag=True,
    help="Have calls that miss something, such as mount(2), request modules, as the kernel does.",
)
@click.option(
    "--devices",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Have /sys show the devices in FILE, as umockdev-record prints them, with their events.",
)
@engine_options
def command(**values: Any) -> int:
    """Run COMMAND, unchanged, and let it find a kernel that loads modules.

    The module calls of it and all it starts are answered by an engine; /proc/modules, /sys/module,
    /lib/modules and /sys/kernel/debug/modules are that engine's. Nothing of the host changes. With
    no command, $SHELL. The exit status is the command's.
    """
    engine = EngineOptions.pop(values)
    engine.check()  # told here, not by the server
    words = values["command_line"] or (os.environ.get("SHELL", "/bin/sh"),)
    with ending_with(NOT_STARTED):
        status = _run(engine, tuple(words), values)
    if status < 0:
        _die_of(-status)
    return status


def _run(engine: EngineOptions, words: tuple[str, ...], values: dict[str, Any]) -> int:
    """The command's exit status, or minus the signal that ended it. UserError, OSError."""
    from modfs.devices.description import read_devices
    from modfs.run.run import run
    from modfs.run.server import Plan

    file, mount, autoload = values["stats"], values["mount"], values["autoload"]
    stats = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666) if file else None
    joined = mount.absolute() if mount else None
    # Which kernel a joined mount is, it does not tell.
    formats = autoload and not joined and not engine.release().no_binfmt_autoload
    release = None if joined else engine.uname_release()
    tree = engine.root() if release else engine.modules
    devices = read_devices(values["devices"]) if values["devices"] else ()
    return run(Plan(words, engine.live, tree, joined, stats, autoload, formats, release, devices))


def _die_of(number: int) -> None:
    """End as the command ended, by the signal ``number``."""
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)

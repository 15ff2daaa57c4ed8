"""modfs run: a program in a kernel that loads modules."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import click

from modfs.cli.options import EngineOptions, engine_options


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
    type=click.Path(exists=True, file_okay=False),
    metavar="DIR",
    help="Join the engine that modfs mount serves there.",
)
@engine_options
def command(**values: Any) -> None:
    """Run COMMAND, unchanged, and let it find a kernel that loads modules.

    The module calls of it and all it starts are answered by an engine; /proc/modules, /sys/module,
    /lib/modules and /sys/kernel/debug/modules are that engine's. Nothing of the host changes. With
    no command, $SHELL. The exit status is the command's.
    """
    from modfs.run.run import Plan, RunError, run

    engine = EngineOptions.pop(values)
    engine.check()
    words = values["command_line"] or (os.environ.get("SHELL", "/bin/sh"),)
    mount = values["mount"]
    try:
        stats = None
        if values["stats"]:
            stats = os.open(values["stats"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        plan = Plan(
            tuple(words),
            engine.live,
            engine.modules,
            Path(mount).absolute() if mount else None,
            stats,
        )
        status = run(plan)
    except RunError as error:
        print(f"modfs run: {error}", file=sys.stderr)
        status = 125
    except OSError as error:
        print(f"modfs run: {error.filename or 'run'}: {error.strerror}", file=sys.stderr)
        status = 125
    if status < 0:  # die as the command died
        if -status not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-status, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-status})
        os.kill(os.getpid(), -status)
    sys.exit(status)

"""modfs mount: the file system with the live statistics."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import click

from loader.errors import UserError
from modfs.cli.buffer import buffer_option, parse_buffer
from modfs.cli.engine import EngineOptions
from modfs.cli.options import NAMES, engine_options, tell_nearest
from modfs.cli.statuses import FAILED, MISUSED, ending_with
from modfs.mount.background import ENGINE, Kind, Manner, mount
from modfs.mount.options import MountOptions

_OF_HOST = {"log", "pid-file", "buffer"}
_OWN = NAMES | _OF_HOST


@click.command(
    epilog="""\b
Example:
  modfs mount --kernel 6.4 /tmp/m
  echo 'modprobe xfs' > /tmp/m/control; cat /tmp/m/stats
  modfs mount --host /mnt/m; udevadm trigger -c add --settle; cat /mnt/m/stats
In /etc/fstab (mount.fuse of the package fuse runs modfs, which must be in its PATH):
  modfs  /mnt/m  fuse.modfs  kernel=6.12,allow_other  0 0
"""
)
@click.argument("mountpoint", type=click.Path())
@click.option("-o", "options", multiple=True, metavar="OPTS", help="As for mount(8): allow_other,"
    " ro, ...; control_mode=0660 for who may write requests; events=N that are kept (10000);"
    " kernel=6.4 and the like.")  # fmt: skip
@click.option("-t", "_type", hidden=True)  # mount.fuse passes it on
@click.option("--foreground", "-f", is_flag=True, help="Stay, until unmounted or Ctrl-C.")
@click.option("--host", is_flag=True, help="This machine's own kernel, as it is seen; as root.")
@buffer_option("With --host. ")
@click.option("--log", type=click.Path(dir_okay=False), metavar="FILE",
    help="The server's log; SIGHUP has it go on in a new file of that name.")  # fmt: skip
@click.option("--pid-file", type=click.Path(dir_okay=False), metavar="FILE",
    help="Holds the server's process number as long as it serves.")  # fmt: skip
@click.option("--events", type=click.Path(dir_okay=False), metavar="FILE",
    help="Appends all events, as a recording; one of 64 MiB goes to FILE.1.")  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Also log what the kernel would log.")
@engine_options
def command(**values: Any) -> int:
    """Mount a kernel's module statistics on MOUNTPOINT and serve them.

    Returns when the mount answers. Requests written to MOUNTPOINT/control load and remove modules;
    reading control shows how.

    With --host no kernel is simulated: MOUNTPOINT shows what this machine's own kernel has loaded
    since then, by its event tracing. It has no control; losses tells what was not seen.
    """
    parsed = MountOptions.parse(values.pop("options"), _OWN)
    file = values.pop("events")
    parsed = parsed._replace(events_file=file and os.path.abspath(file))
    if values.pop("host"):
        others = dict(parsed.own).keys() - _OF_HOST
        if EngineOptions.pop(values) != EngineOptions() or others or file:
            raise UserError("--host is this machine's kernel: it is as it is", status=MISUSED)
        for name, text in parsed.own:
            values[name.replace("-", "_")] = text
        return _mount_host(values, parsed)
    for name, text in parsed.own:
        _override(values, name, text)
    if values.pop("buffer") is not None:
        raise UserError("--buffer is for --host", status=MISUSED)
    engine = EngineOptions.pop(values)
    engine.check()  # told here, not by the server
    taken = _kernel_taken(engine) if engine.kernel is None else ""
    if values["foreground"]:
        print(end=taken, flush=True)
    status = _mounted(engine.live, ENGINE, values, parsed)
    if not values["foreground"]:
        print(end=taken)
    return status


def _kernel_taken(engine: EngineOptions) -> str:
    """Which kernel it is where nobody has named one: a line, if there was anything to go by."""
    with ending_with(MISUSED):
        _, why = engine.release_found()
        return f"kernel {engine.release().title}, {why}\n" if why else ""


def _mounted(make: Callable[[], Any], kind: Kind[Any], values: Any, options: MountOptions) -> int:
    with ending_with(FAILED):
        return mount(
            make,
            values["mountpoint"],
            options,
            kind=kind,
            foreground=values["foreground"],
            manner=Manner(values["log"], values["pid_file"], values["verbose"]),
        )


def _mount_host(values: Any, options: MountOptions) -> int:
    """Mount what this machine's kernel does."""
    from modfs.host.kernel import HostKernel
    from modfs.host.serve import HOST
    from modfs.tracing.tracefs import check

    buffer = parse_buffer(values.pop("buffer"))
    with ending_with(FAILED):
        check()  # told here, not by the server
    return _mounted(partial(HostKernel, buffer), HOST, values, options)


def _override(values: dict[str, Any], name: str, text: str) -> None:
    """An option of the command that came with -o, as from /etc/fstab."""
    key = {"key": "keys", "config": "config_file"}.get(name, name.replace("-", "_"))
    context = click.get_current_context()
    option = next(one for one in context.command.params if one.name == key)
    try:
        if key in ("keys", "without", "blacklist"):
            more = (option.type(word, option, context) for word in text.split(":"))
            values[key] = (*values[key], *more)
        elif key in ("sig_enforce", "autoload_dups"):
            values[key] = True
        else:
            values[key] = option.type(text, option, context)
    except click.BadParameter as error:
        raise UserError(f"-o {name}={text}: {error.message}") from None
    if key == "kernel":
        tell_nearest(text, context.command_path)

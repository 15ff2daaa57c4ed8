"""modfs machine: the machine file of a machine that is there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from loader.errors import UserError
from loader.tree.modprobe_config import files_beside
from modfs.cli.options import FOLDER, SOURCE, modules_option
from modfs.cli.statuses import DONE, MISUSED, complain, ending_with
from modfs.machine.folder import Folder
from modfs.machine.recorded import inits, loads, look_at_boot
from modfs.machine.root import MODINFO, MODINFO_MOST, command_line, look_at_root, look_at_sysfs
from modfs.machine.seen import Seen
from modfs.machine.settings import blacklisted_at_boot
from modfs.machine.speed import speed
from modfs.machine.stage import Stage, tree_below
from modfs.machine.text import MachineText
from modfs.machine.tree import Lookup
from modfs.sources.source import read_source

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
        seen, top = _seen(source, root, sysfs)
        if source is not None:
            _take_inits(seen, source)
        with _lookup(seen, top, modules, no_tree) as lookup:
            sys.stdout.write(MachineText(seen, lookup).text())
    return DONE


def _take_inits(seen: Seen, source: Path) -> None:
    """OSError; UserError: it is no recording."""
    try:
        recording = read_source(source)
        seen.inits, seen.loads = inits(recording), loads(recording)
    except UserError as error:
        if not seen.passes:
            raise
        seen.notes.append(f"inits: {error}")


def _seen(source: Path | None, root: Path | None, sysfs: Path | None) -> tuple[Seen, Path | None]:
    """What was seen, and the folder that has the machine's tree. OSError; UserError."""
    if source is not None and (boot := look_at_boot(source, f"The boot in {source.name}")):
        if sysfs is not None:
            raise UserError(f"{source} has a machine of its own: no --sysfs with it")
        return boot, root
    if sysfs is not None:
        with Folder(sysfs) as folder:
            seen = look_at_sysfs(folder, f"The devices in {sysfs.name}")
        if not seen.passes:
            raise UserError(f"{sysfs}: no device is in there: is it a copy of /sys?")
        if root is not None:
            with Folder(root) as folder:
                _complete(seen, look_at_root(folder, ""))
        return seen, root
    top = root or Path("/")
    with Folder(top) as folder:
        seen = look_at_root(folder, f"The machine in {root.name}" if root else "This machine")
        for path in folder.cut:
            complain(f"{top / path}: only its first part was read")
    if root is None:
        seen.speed = speed()
    elif not any((seen.processors, seen.memory, seen.release, seen.passes)):
        raise UserError(f"{root}: nothing of a machine is in there")
    return seen, top


def _complete(seen: Seen, other: Seen) -> None:
    """What a copy of /sys does not tell."""
    seen.processors = seen.processors or other.processors
    seen.memory, seen.workers, seen.core = other.memory, other.workers, other.core
    seen.release, seen.architecture = other.release, other.architecture


@contextmanager
def _lookup(
    seen: Seen, top: Path | None, modules: Path | None, no_tree: bool
) -> Iterator[Lookup | None]:
    """The tree to look modaliases up in, if there is one."""
    if modules is not None and not (modules / "modules.dep").exists():
        yield Lookup(modules, Path.exists)  # a folder of modules that has no index
        return
    if no_tree or (modules is None and (top is None or seen.release is None)):
        yield None
        return
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory(prefix="modfs-")))
        root = stack.enter_context(Folder(top)) if top is not None else None
        if modules is not None:
            tree = stack.enter_context(Folder(modules))
            stage = Stage(modules.resolve().name, place, tree, ".")
        else:
            assert root is not None and seen.release is not None
            stage = Stage(seen.release, place, root, tree_below(root, seen.release))
        _take_settings(stage, seen, root, modules)
        yield Lookup(stage.folder, stage.fetch) if stage.has_indexes else None


def _take_settings(stage: Stage, seen: Seen, root: Folder | None, modules: Path | None) -> None:
    """What the machine says about modules besides its tree."""
    if root is None:
        if modules is not None:
            stage.take_modprobe(files_beside(modules.resolve(), "modprobe.d"))
        stage.blacklist(seen.blacklist)
        return
    stage.take_settings(root)
    at_boot, refused = blacklisted_at_boot(command_line(root))
    stage.blacklist(seen.blacklist + at_boot + refused)
    if refused:
        seen.notes.append(f"module_blacklist={','.join(refused)}: taken as modprobe.blacklist")
    modinfo = root.read(MODINFO, MODINFO_MOST)
    if modinfo is not None and not stage.has_indexes:
        stage.add_aliases(modinfo)
        seen.notes.append(f"tree: aliases are those of {MODINFO}: of modules that were there")

"""Where a machine is looked at, and what its file says of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from loader.errors import UserError
from loader.tree.modprobe_config import files_beside
from modfs.machine.folder import Folder
from modfs.machine.recorded import inits, loads, look_at_boot
from modfs.machine.root import MODINFO, MODINFO_MOST, command_line, look_at_root, look_at_sysfs
from modfs.machine.seen import Seen
from modfs.machine.settings import blacklisted_at_boot
from modfs.machine.speed import speed
from modfs.machine.stage import Stage, tree_below
from modfs.machine.text import MachineText
from modfs.machine.tree import Lookup
from modfs.sources.source import is_folder, read_source


def machine_text(
    source: Path | None = None,
    root: Path | None = None,
    sysfs: Path | None = None,
    modules: Path | None = None,
    *,
    with_tree: bool = True,
) -> str:
    """The machine file of what is there: see modfs machine --help. OSError; UserError."""
    seen, top = _seen(source, root, sysfs)
    if source is not None:
        _take_inits(seen, source)
    with _lookup(seen, top, modules, not with_tree) as lookup:
        return MachineText(seen, lookup).text()


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
    boot = None
    if source is not None and not is_folder(source):
        boot = look_at_boot(source, f"The boot in {source.name}")
    if boot is not None:
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
        _note_cut(seen, folder)
    if root is None:
        seen.speed = speed()
    elif not any((seen.processors, seen.memory, seen.release, seen.passes)):
        raise UserError(f"{root}: nothing of a machine is in there")
    return seen, top


def _note_cut(seen: Seen, folder: Folder) -> None:
    """Files that were too long, and those of which the report itself has only the end."""
    seen.notes += [f"{path}: only its first part was read" for path in folder.cut]
    seen.notes += [f"{path}: only its end is there" for path in folder.tails]
    folder.cut.clear()
    folder.tails.clear()


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
        tree = stack.enter_context(Folder(modules)) if modules is not None else None
        if modules is not None and tree is not None:
            stage = Stage(modules.resolve().name, place, tree, ".")
        else:
            assert root is not None and seen.release is not None
            stage = Stage(seen.release, place, root, tree_below(root, seen.release))
        _take_settings(stage, seen, root, modules)
        for folder in filter(None, (root, tree)):
            _note_cut(seen, folder)
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
        if stage.has_indexes:
            seen.notes.append(f"tree: aliases are those of {MODINFO}: of modules that were there")

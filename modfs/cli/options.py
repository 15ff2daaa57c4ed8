"""The options that several verbs have, and the kernel that these describe."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader import packings
from loader.errors import UserError
from modfs.cli.statuses import MISUSED, complain, ending_with

if TYPE_CHECKING:
    from loader.config import BuiltFor, Config
    from loader.engine.init_routines import InitRoutines
    from loader.engine.threads import LiveKernel
    from loader.image.contents import Export
    from loader.kconfig import Kconfig
    from loader.release import Release
    from loader.tree.tree import Tree


F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """A kernel as the command line describes it. Paths are absolute."""

    kernel: str | None = None
    without: tuple[str, ...] = ()
    config_file: Path | None = None
    symbols: Path | None = None
    compression: str | None = None
    modules: Path | None = None
    environment: Path | None = None
    keys: tuple[Path, ...] = ()
    sig_enforce: bool = False
    blacklist: tuple[str, ...] = ()
    autoload_dups: bool = False

    def tree(self) -> Tree | None:
        """The module tree: the one given, else the running kernel's if it exists."""
        from loader.tree.tree import Tree

        root = self.root()
        return None if root is None else Tree.open(root)

    def root(self) -> Path | None:
        """The folder of ``tree``."""
        root = self.modules or Path("/lib/modules", os.uname().release)
        return root if self.modules or root.is_dir() else None

    def config(self, tree: Tree | None = None) -> Config:
        """The kernel's settings. UserError, OSError: an option that cannot be followed."""
        from loader.config import HOST_MACHINE, BuiltFor, Config
        from loader.image.built_for import learn_built_for
        from loader.kconfig import as_distributed
        from loader.keyring import Keyring

        built_for = learn_built_for(tree.sample()) if tree else BuiltFor()
        if tree and built_for.machine is None:
            _check_machine(tree)
        config = Config(
            release=self.release(built_for),
            compression=_compression_of(tree),
            built_for=built_for,
            keyring=Keyring.load(*self.keys) if self.keys else None,
            sig_enforce=self.sig_enforce,
            blacklist=blacklisted(self.blacklist),
            machine=built_for.machine or HOST_MACHINE,
        )
        kconfig = self.kconfig()
        if kconfig is None:
            config = as_distributed(config)
        else:
            of = str(tree.root) if tree and built_for.machine else "this machine"
            kconfig.check_machine(config.machine, of)
            config = kconfig.applied(config)
        return replace(
            config,
            compression=self.compression or config.compression,
            autoload_dups=self.autoload_dups or config.autoload_dups,
        )

    def kconfig(self) -> Kconfig | None:
        """The configuration that is given, or else the tree's own. UserError."""
        from loader.kconfig import find_kconfig, read_kconfig

        if self.config_file is not None:
            return read_kconfig(self.config_file)
        root = self.root()
        path = find_kconfig(root.resolve()) if root else None
        try:
            return read_kconfig(path) if path else None
        except (UserError, OSError):  # nobody has said that it is one
            return None

    def init_routines(self) -> InitRoutines:
        """How init routines behave."""
        from loader.engine.init_routines import InitRoutines

        if self.environment is None:
            return InitRoutines()
        from loader.engine.init_routines_file import read_init_routines

        return read_init_routines(self.environment)

    def live(self) -> LiveKernel:
        """An engine on threads. UserError: an option that cannot be followed."""
        from loader.engine.threads import LiveKernel

        with ending_with(MISUSED):
            tree = self.tree()
            config, exports = self.config(tree), self.kernel_exports()
            layout = (exports or {}).get("module_layout")
            if layout and layout.crc:
                built_for = replace(config.built_for, module_layout_crc=layout.crc)
                config = replace(config, built_for=built_for)
            live = LiveKernel(config, tree=tree, init_routines=self.init_routines())
            live.kernel.export_kernels(exports)
            return live

    def kernel_exports(self) -> dict[str, Export] | None:
        """What --symbols says the kernel image exports; None without. UserError."""
        from loader.image.symvers import read_kernel_exports

        return read_kernel_exports(self.symbols) if self.symbols else None

    def check(self) -> None:
        """What can be said before there is an engine. UserError."""
        from loader.release import taken_as

        with ending_with(MISUSED):
            self.release()
            if self.kernel is None and (told := taken_as(self.release_found()[0])) is not None:
                complain(told)
            self.kernel_exports()
            for line in kconfig.unfollowed() if (kconfig := self.kconfig()) else ():
                complain(line)
            if self.modules is not None and (tree := self.tree()):
                _check_machine(tree, 1)
                if not any(tree.names()):
                    complain(f"{self.modules}: there is no module in this tree")
            if self.environment is not None:  # else it would take the engine to say nothing
                self.init_routines()

    def release(self, built_for: BuiltFor | None = None) -> Release:
        """Which kernel it is. ``built_for``: what is known of the tree already. UserError."""
        from loader.release import nearest, parse_release

        if self.kernel is not None:
            return parse_release(self.kernel, self.without)
        return parse_release(nearest(self.release_found(built_for)[0]), self.without)

    def release_found(self, built_for: BuiltFor | None = None) -> tuple[str, str]:
        """Which kernel it is if none is named, and who says so: the configuration, else the
        modules of the tree; "" where neither is there. UserError, OSError."""
        from loader.release import DEFAULT

        if kconfig := self.kconfig():
            return kconfig.release, "as its configuration says"
        if built_for is None and (tree := self.tree()):
            from loader.image.built_for import learn_built_for

            built_for = learn_built_for(tree.sample(1))
        release = (built_for.vermagic if built_for else None) or ""
        if release[:1].isdigit():
            return release.split()[0], "as the tree's modules say"
        return DEFAULT, ""

    def uname_release(self) -> str | None:
        """What uname -r is to say of a kernel that was named: a whole one, as the tree's modules
        have it if they are of that release. None: none was named. UserError, OSError."""
        if self.kernel is None:
            return None
        from loader.image.built_for import learn_built_for

        release = self.release().name
        tree = self.tree()
        magic = learn_built_for(tree.sample(1)).vermagic if tree else None
        if magic and re.match(rf"{re.escape(release)}(?![0-9])", magic):
            return magic.split()[0]
        named = self.kernel.split()[0]
        return f"{named}.0" if re.fullmatch(r"[0-9]+\.[0-9]+", named) else named

    @classmethod
    def pop(cls, values: dict[str, Any]) -> EngineOptions:
        """Take the values of these options out of a command's."""
        taken = {name: values.pop(name) for name in cls.__dataclass_fields__}
        for name in ("modules", "environment", "config_file", "symbols"):
            if taken[name] is not None:
                taken[name] = Path(taken[name]).absolute()
        taken["keys"] = tuple(Path(key).absolute() for key in taken["keys"])
        return cls(**taken)


def _check_machine(tree: Tree, count: int = 5) -> None:
    """UserError: its modules, of which ``count`` are looked at, are for another architecture."""
    from loader.image.built_for import foreign_machine
    from loader.kconfig import KNOWN_MACHINES

    if other := foreign_machine(tree.sample(count)):
        raise UserError(f"{tree.root}: its modules are for {other}; modfs knows {KNOWN_MACHINES}")


def _compression_of(tree: Tree | None) -> str:
    """What a kernel with this tree was built for: the format of its files."""
    path = tree.path(next(iter(tree.names()), "")) if tree else None
    packing = packings.by_suffix(path) if path else None
    return (packing or packings.ZSTD).name


def configuration(path: Path | None) -> Kconfig | None:
    """The one that --config names; what of it is not followed is told. UserError."""
    from loader.kconfig import read_kconfig

    with ending_with(MISUSED):
        kconfig = read_kconfig(path) if path else None
    for line in kconfig.unfollowed() if kconfig else ():
        complain(line)
    return kconfig


def blacklisted(texts: Iterable[str]) -> frozenset[str]:
    """The names in --blacklist NAME[,NAME...]."""
    return frozenset(name for text in texts for name in text.split(","))


# -- options, each described once -----------------------------------------------------------------

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SOURCE = click.Path(path_type=Path)
"""It may be a mount whose server does not answer: modfs.sources looks whether it is there."""
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


_KERNEL = '6.4 or later; uname -r or "6.4 without early-check" will do.'


def _releases(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    from loader.release import RELEASES

    return [name for name in RELEASES if name.startswith(begun)]


def _tell_nearest(context: click.Context, parameter: click.Parameter, given: Any) -> Any:
    """Tell of releases that no row stands for as which they are taken."""
    for text in (given,) if isinstance(given, str) else given or ():
        tell_nearest(text, context.command_path)
    return given


def tell_nearest(release: str, command: str) -> None:
    """See loader.release.taken_as. What is none, or has no statistics, is refused later."""
    from loader.release import has_statistics, taken_as

    with suppress(UserError):
        if has_statistics(release) and (told := taken_as(release)) is not None:
            complain(told, command)


def _features(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    from loader.release import FEATURES

    return [name for name in FEATURES if name.startswith(begun)]


def mountpoints_argument(required: bool) -> Callable[[F], F]:
    """MOUNTPOINT...: where a modfs is mounted."""
    shown = "MOUNTPOINT..." if required else "[MOUNTPOINT...]"
    return click.argument(
        "mountpoints",
        nargs=-1,
        required=required,
        type=click.Path(),
        metavar=shown,
        shell_complete=_mounts,
    )


def _mounts(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    from modfs.mount.status import places

    return [place for place in places() if place.startswith(begun)]


def kernel_option(default: str | None = None, default_told: str = "") -> Callable[[F], F]:
    """--kernel. ``default`` None: the file that the verb is given says which."""
    text = f"{_KERNEL} Default: {default_told}" if default_told else _KERNEL
    return click.option(
        "--kernel",
        metavar="RELEASE",
        default=default,
        show_default=True,
        help=text,
        shell_complete=_releases,
        callback=_tell_nearest,
    )


def kernels_option() -> Callable[[F], F]:
    """--kernel, of which there may be several."""
    text = f"{_KERNEL} May be repeated."
    return click.option(
        "--kernel",
        "kernels",
        multiple=True,
        metavar="RELEASE",
        help=text,
        shell_complete=_releases,
        callback=_tell_nearest,
    )


def without_option() -> Callable[[F], F]:
    """--without: means the same in all verbs, see loader.release.choose_release."""
    text = "Take idempotent or early-check away from the kernel. May be repeated."
    return click.option(
        "--without", multiple=True, metavar="FEATURE", help=text, shell_complete=_features
    )


def compression_option(text: str) -> Callable[[F], F]:
    """--compression: what the kernel unpacks."""
    return click.option("--compression", type=click.Choice(packings.NAMES), help=text)


def compress_option(text: str) -> Callable[[F], F]:
    """--compress: how files are packed, by the end of their names."""
    choice = click.Choice(packings.SUFFIXES)
    return click.option("--compress", "compression", type=choice, help=text)


def events_option(text: str) -> Callable[[F], F]:
    """--events: where what happens is written."""
    return click.option(
        "--events",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help=f"Write a recording, as modfs record does. {text}",
    )


def modules_option(text: str, kind: click.Path = FOLDER, metavar: str = "DIR") -> Callable[[F], F]:
    """--modules: a tree of modules."""
    return click.option("--modules", type=kind, metavar=metavar, help=text)


def environment_option() -> Callable[[F], F]:
    """--environment: init routines."""
    text = "How init routines behave: seconds, results (JSON)."
    return click.option("--environment", type=FILE, metavar="FILE", help=text)


def config_option(text: str) -> Callable[[F], F]:
    """--config: the kernel's configuration."""
    text = f"The kernel's configuration: /boot/config-RELEASE, /proc/config.gz. {text}"
    return click.option("--config", "config_file", type=FILE, metavar="FILE", help=text)


def blacklist_option() -> Callable[[F], F]:
    """--blacklist: the boot option module_blacklist."""
    text = "Refuse these modules: EPERM."
    return click.option("--blacklist", multiple=True, metavar="NAME[,NAME...]", help=text)


def keys_option(text: str) -> Callable[[F], F]:
    """--key: certificates."""
    return click.option("--key", "keys", multiple=True, type=FILE, metavar="CERT", help=text)


_ENGINE: dict[str, Callable[[Any], Any]] = {
    "kernel": kernel_option(default_told="the configuration's, else the tree's, else 6.12."),
    "without": without_option(),
    "config": config_option("Default: the tree's own, if it is there."),
    "symbols": click.option(
        "--symbols",
        type=FILE,
        metavar="FILE",
        help="What the kernel exports: Module.symvers, System.map, kallsyms. Default: whatever no"
        " module of the tree does.",
    ),
    "compression": compression_option(
        "What this kernel unpacks itself. Default: the configuration's, the tree's, else zstd."
    ),
    "modules": modules_option(
        "A /lib/modules/RELEASE tree. Default: the running kernel's, if it is there."
    ),
    "environment": environment_option(),
    "key": keys_option("Verify signatures with this X.509 certificate. May be repeated."),
    "sig-enforce": click.option(
        "--sig-enforce", is_flag=True, help="Refuse modules without a good signature."
    ),
    "blacklist": blacklist_option(),
    "autoload-dups": click.option(
        "--autoload-dups",
        is_flag=True,
        help="Answer requests for one string together (CONFIG_MODULE_DEBUG_AUTOLOAD_DUPS).",
    ),
}

NAMES = frozenset(_ENGINE)
"""Of the options that describe an engine."""


def engine_options(command: F) -> F:
    """Add the options to a click command; EngineOptions.pop takes their values."""
    for option in reversed(_ENGINE.values()):
        command = option(command)
    return command

"""The options that several verbs have, and the kernel that these describe."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from loader import packings
from modfs.cli.statuses import MISUSED, ending_with

if TYPE_CHECKING:
    from loader.config import Config
    from loader.engine.init_routines import InitRoutines
    from loader.engine.threads import LiveKernel
    from loader.release import Release
    from loader.tree.tree import Tree


F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """A kernel as the command line describes it. Paths are absolute."""

    kernel: str = "6.12"
    without: tuple[str, ...] = ()
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

        root = self.modules or Path("/lib/modules", os.uname().release)
        if self.modules is None and not root.is_dir():
            return None
        return Tree.open(root)

    def config(self, tree: Tree | None = None) -> Config:
        """The kernel's settings. UserError, OSError: an option that cannot be followed."""
        from loader.config import BuiltFor, Config
        from loader.image.built_for import learn_built_for
        from loader.keyring import Keyring

        return Config(
            release=self.release(),
            compression=self.compression or _compression_of(tree),
            built_for=learn_built_for(tree.sample()) if tree else BuiltFor(),
            keyring=Keyring.load(*self.keys) if self.keys else None,
            sig_enforce=self.sig_enforce,
            blacklist=frozenset(name for text in self.blacklist for name in text.split(",")),
            autoload_dups=self.autoload_dups,
        )

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
            return LiveKernel(self.config(tree), tree=tree, init_routines=self.init_routines())

    def check(self) -> None:
        """What can be said before there is an engine. UserError."""
        with ending_with(MISUSED):
            self.release()
            if self.environment is not None:  # else it would take the engine to say nothing
                self.init_routines()

    def release(self) -> Release:
        """Which kernel it is. UserError."""
        from loader.release import parse_release

        return parse_release(self.kernel, self.without)

    @classmethod
    def pop(cls, values: dict[str, Any]) -> EngineOptions:
        """Take the values of these options out of a command's."""
        taken = {name: values.pop(name) for name in cls.__dataclass_fields__}
        for name in ("modules", "environment"):
            if taken[name] is not None:
                taken[name] = Path(taken[name]).absolute()
        taken["keys"] = tuple(Path(key).absolute() for key in taken["keys"])
        return cls(**taken)


def _compression_of(tree: Tree | None) -> str:
    """What a kernel with this tree was built for: the format of its files."""
    path = tree.path(next(iter(tree.names()), "")) if tree else None
    packing = packings.by_suffix(path) if path else None
    return (packing or packings.ZSTD).name


# -- options, each described once -----------------------------------------------------------------

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


_KERNEL = '6.4 or later; uname -r or "6.4 without early-check" will do.'


def kernel_option(default: str | None = None) -> Callable[[F], F]:
    """--kernel. ``default`` None: the file that the verb is given says which."""
    return click.option(
        "--kernel", metavar="RELEASE", default=default, show_default=True, help=_KERNEL
    )


def kernels_option() -> Callable[[F], F]:
    """--kernel, of which there may be several."""
    text = f"{_KERNEL} May be repeated."
    return click.option("--kernel", "kernels", multiple=True, metavar="RELEASE", help=text)


def without_option() -> Callable[[F], F]:
    """--without: means the same in all verbs, see loader.release.choose_release."""
    text = "Take idempotent or early-check away from the kernel. May be repeated."
    return click.option("--without", multiple=True, metavar="FEATURE", help=text)


def compression_option(text: str) -> Callable[[F], F]:
    """--compression: what the kernel unpacks."""
    return click.option("--compression", type=click.Choice(packings.NAMES), help=text)


def compress_option(text: str) -> Callable[[F], F]:
    """--compress: how files are packed, by the end of their names."""
    choice = click.Choice(packings.SUFFIXES)
    return click.option("--compress", "compression", type=choice, help=text)


def modules_option(text: str, kind: click.Path = FOLDER, metavar: str = "DIR") -> Callable[[F], F]:
    """--modules: a tree of modules."""
    return click.option("--modules", type=kind, metavar=metavar, help=text)


def environment_option() -> Callable[[F], F]:
    """--environment: init routines."""
    text = "How init routines behave: seconds, results (JSON)."
    return click.option("--environment", type=FILE, metavar="FILE", help=text)


def keys_option(text: str) -> Callable[[F], F]:
    """--key: certificates."""
    return click.option("--key", "keys", multiple=True, type=FILE, metavar="CERT", help=text)


_ENGINE: dict[str, Callable[[Any], Any]] = {
    "kernel": kernel_option("6.12"),
    "without": without_option(),
    "compression": compression_option(
        "What this kernel unpacks itself. Default: the tree's, else zstd."
    ),
    "modules": modules_option(
        "A /lib/modules/RELEASE tree. Default: the running kernel's, if it is there."
    ),
    "environment": environment_option(),
    "key": keys_option("Verify signatures with this X.509 certificate. May be repeated."),
    "sig-enforce": click.option(
        "--sig-enforce", is_flag=True, help="Refuse modules without a good signature."
    ),
    "blacklist": click.option(
        "--blacklist",
        multiple=True,
        metavar="NAME[,NAME...]",
        help="Refuse these modules: EPERM.",
    ),
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

"""Which libfuse there is, 2 or 3, and which of Python's packages knows its structures.

fusepy knows libfuse 2 alone, mfusepy both. Only their structures are used: what is called is in
``libfuse2`` and ``libfuse3``, which are alike from outside.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

from loader.errors import UserError
from modfs.fuse.missing import install_fuse, install_libfuse2
from modfs.fuse.server import LIBRARY
from modfs.installed import version

_LIBRARIES = ("libfuse.so.2", "libfuse3.so.4", "libfuse3.so.3")
# Modules by what libfuse they know. Debian's python3-fusepy calls its module fusepy.
_MODULES: dict[int, tuple[str, ...]] = {2: ("fuse", "fusepy", "mfusepy"), 3: ("mfusepy",)}
_PACKAGES: dict[str, str] = {"fuse": "fusepy", "fusepy": "fusepy", "mfusepy": "mfusepy"}


class Libfuse(Protocol):
    """One libfuse. ``module``: the structures; ``extra``: what it gives operations besides, at the
    end; ``filler``: the function that readdir calls for each name, and ``add`` to call it."""

    module: Any
    extra: dict[str, tuple[Any, ...]]
    filler: Any
    filler_more: tuple[int, ...]

    def prepare(self, operations: Any) -> None:
        """Have no paths computed for open files, as far as the operations themselves say that."""

    def configure(self, config: int) -> None:
        """The same, and the options, in what init is given last."""

    def run(self, options: Iterable[str], operations: Any, mountpoint: str) -> int:
        """Mount and serve until the end; not 0: it could not be mounted."""

    def serve(self, options: Iterable[str], operations: Any, descriptor: int) -> bool:
        """Serve what is mounted already until the end. False: it cannot be served."""

    def descriptor(self, session: int) -> int:
        """/dev/fuse of a struct fuse that runs."""


class Found(NamedTuple):
    """A library, and the name of a module that knows it, None if there is none."""

    path: str
    number: int
    module: str | None

    @property
    def major(self) -> int:
        """2 or 3."""
        return int(self.version[0])

    @property
    def version(self) -> str:
        """Such as "2.9" and "3.14" (fuse_version)."""
        return f"{str(self.number)[0]}.{str(self.number)[1:]}"


def load() -> Libfuse:
    """The first library that a module here knows. UserError: there is none."""
    found = _find()
    if found is None:
        raise UserError(f"libfuse is missing: {install_fuse()}")
    if found.module is None:
        raise UserError(_without_module(found))
    # Left to themselves they look for a library by running ldconfig, which takes longer than a
    # mount.
    os.environ[LIBRARY] = found.path
    return _classes()[found.major](importlib.import_module(found.module))


def _classes() -> dict[int, Callable[[Any], Libfuse]]:
    from modfs.fuse.libfuse2 import Libfuse2
    from modfs.fuse.libfuse3 import Libfuse3

    return {2: Libfuse2, 3: Libfuse3}


def described() -> str:
    """Such as "libfuse 2.9 by fusepy 3.0.1"; what is missing, if there is none.

    Without the module itself: its imports take longer than all that --version does.
    """
    found = _find()
    if found is None:
        return f"libfuse is missing: {install_fuse()}"
    if found.module is None:
        return f"libfuse {found.version} and no Python package that knows it"
    package = _PACKAGES[found.module]
    number = version(package)
    return f"libfuse {found.version} by {package}{f' {number}' if number else ''}"


def _find() -> Found | None:
    """The first library that a module knows; else the first that is there."""
    chosen = os.environ.get(LIBRARY)
    found = [one for path in ([chosen] if chosen else _LIBRARIES) if (one := _library(path))]
    return next((one for one in found if one.module), found[0] if found else None)


def _library(path: str) -> Found | None:
    try:
        number: int = ctypes.CDLL(path).fuse_version()
    except (OSError, AttributeError):
        return None
    names = _MODULES.get(int(str(number)[0]), ())
    return Found(path, number, next(filter(_knows_libfuse, names), None))


def _knows_libfuse(module: str) -> bool:
    """Is it there, and not another one of that name? fuse-python's is a package, fuse is a file."""
    spec = find_spec(module)
    return spec is not None and not (module == "fuse" and _is_fuse_python())


def _is_fuse_python() -> bool:
    return find_spec("fuseparts") is not None


def _without_module(found: Found) -> str:
    """What to do about a library that no module here knows."""
    if found.major == 3 and (find_spec("fusepy") or find_spec("fuse")):
        return (
            f"libfuse {found.version} needs mfusepy: pip install mfusepy;"
            f" or, for the fusepy that is here: {install_libfuse2()}"
        )
    other = " (the module fuse that is here is fuse-python's)" if _is_fuse_python() else ""
    return f"mfusepy is missing{other}: pip install mfusepy"

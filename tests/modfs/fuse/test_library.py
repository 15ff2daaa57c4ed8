"""Which libfuse is taken, and what is told where none can be."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import sys
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest

from loader.errors import UserError
from modfs.fuse import library, missing
from modfs.fuse.library import described, load
from modfs.fuse.server import LIBRARY

# fuse_version() of each: fuse_common.h says how it is made of the version.
NUMBERS = {"libfuse.so.2": 29, "libfuse3.so.3": 314, "libfuse3.so.4": 317}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with these libraries and these of Python's modules, and this os-release."""

    def make(libraries: Iterable[str], modules: Iterable[str], **system: str) -> None:
        def load_library(path: str) -> SimpleNamespace:
            if path not in libraries:
                raise OSError(f"{path}: cannot open shared object file")
            return SimpleNamespace(fuse_version=lambda: NUMBERS[path])

        def find(name: str) -> ModuleSpec | None:
            return ModuleSpec(name, None) if name in modules else None

        monkeypatch.delenv(LIBRARY, raising=False)
        monkeypatch.setattr(library, "ctypes", SimpleNamespace(CDLL=load_library))
        monkeypatch.setattr(library, "find_spec", find)
        monkeypatch.setattr(platform, "freedesktop_os_release", lambda: system)

    return make


@pytest.mark.parametrize(
    ("libraries", "modules", "taken"),
    [
        (["libfuse.so.2"], ["fuse"], "libfuse 2.9 by fusepy"),
        (["libfuse.so.2"], ["fusepy"], "libfuse 2.9 by fusepy"),
        (["libfuse.so.2"], ["mfusepy"], "libfuse 2.9 by mfusepy"),
        (["libfuse.so.2", "libfuse3.so.4"], ["fuse", "mfusepy"], "libfuse 2.9 by fusepy"),
        (["libfuse3.so.4"], ["fuse", "mfusepy"], "libfuse 3.17 by mfusepy"),
        (["libfuse3.so.3"], ["mfusepy"], "libfuse 3.14 by mfusepy"),
        # fuse-python's module is called fuse as well.
        (["libfuse.so.2"], ["fuse", "fuseparts", "fusepy"], "libfuse 2.9 by fusepy"),
        (["libfuse.so.2", "libfuse3.so.3"], ["fuse", "fuseparts"], "libfuse 2.9 and no Python"),
    ],
)
def test_taken(
    machine: Callable[..., None], libraries: list[str], modules: list[str], taken: str
) -> None:
    machine(libraries, modules)
    assert described().startswith(taken)


DEBIAN_12 = {"ID": "debian", "VERSION_ID": "12"}
DEBIAN_13 = {"ID": "debian", "VERSION_ID": "13"}
MINT = {"ID": "linuxmint", "ID_LIKE": "ubuntu debian", "VERSION_ID": "22"}


@pytest.mark.parametrize(
    ("libraries", "modules", "system", "told"),
    [
        ([], ["fuse"], DEBIAN_12, "libfuse is missing: install it with: apt-get install fuse3"),
        ([], ["fuse"], DEBIAN_13, "libfuse is missing: install it with: apt-get install fuse3"),
        ([], ["fuse"], MINT, "libfuse is missing: install it with: apt-get install fuse3"),
        ([], [], {"ID": "fedora"}, "libfuse is missing: install it with: dnf install fuse3"),
        ([], [], {}, "libfuse is missing: install the package fuse3"),
        (
            ["libfuse3.so.3"],
            ["fusepy"],
            DEBIAN_12,
            "libfuse 3.14 needs mfusepy: pip install mfusepy; or, for the fusepy that is here:"
            " apt-get install libfuse2",
        ),
        (
            ["libfuse3.so.4"],
            ["fusepy"],
            DEBIAN_13,
            "libfuse 3.17 needs mfusepy: pip install mfusepy; or, for the fusepy that is here:"
            " apt-get install libfuse2t64",
        ),
        (["libfuse.so.2"], [], DEBIAN_12, "mfusepy is missing: pip install mfusepy"),
        (
            ["libfuse.so.2"],
            ["fuse", "fuseparts"],
            DEBIAN_12,
            "mfusepy is missing (the module fuse that is here is fuse-python's): pip install"
            " mfusepy",
        ),
    ],
)
def test_what_is_missing(
    machine: Callable[..., None],
    libraries: list[str],
    modules: list[str],
    system: dict[str, str],
    told: str,
) -> None:
    machine(libraries, modules, **system)
    with pytest.raises(UserError) as caught:
        load()
    assert str(caught.value) == told


def test_another_library(machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    machine(["libfuse.so.2", "libfuse3.so.3"], ["fuse", "mfusepy"])
    monkeypatch.setenv(LIBRARY, "libfuse3.so.3")
    assert described().startswith("libfuse 3.14 by mfusepy")


def test_debians_name_for_libfuse_2(monkeypatch: pytest.MonkeyPatch) -> None:
    for system, package in (
        (DEBIAN_12, "libfuse2"),
        (DEBIAN_13, "libfuse2t64"),
        ({"ID": "ubuntu", "VERSION_ID": "22.04"}, "libfuse2"),
        ({"ID": "ubuntu", "VERSION_ID": "24.04"}, "libfuse2t64"),
        ({"ID": "debian"}, "libfuse2t64"),  # sid says no number
    ):
        monkeypatch.setattr(platform, "freedesktop_os_release", lambda found=system: found)
        assert missing.install_libfuse2() == f"apt-get install {package}"


def test_the_structures_of_this_machine() -> None:
    """mfusepy's, for the libfuse 3 that is here: the offsets are those of its headers."""
    path = next((path for path in NUMBERS if "3" in path and _there(path)), None)
    assert path is not None and importlib.util.find_spec("mfusepy")
    program = (
        "import mfusepy as m; c = m.fuse_config; print(c.intr.offset, c.use_ino.offset,"
        " c.direct_io.offset, c.nullpath_ok.offset, m.fuse_file_info.fh.offset)"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={LIBRARY: path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["48", "64", "72", "104", "16"]


def _there(path: str) -> bool:
    try:
        ctypes.CDLL(path)
    except OSError:
        return False
    return True

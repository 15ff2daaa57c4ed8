"""The harmless part of the scenarios, on the kernel that runs here: modfs record --conformance."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from loader.calls import MANGLED
from loader.errors import UserError
from loader.kconfig import find_kconfig, kconfig_text, read_kconfig
from loader.tree.tree import Tree
from modfs import linux
from modfs.conformance.abi import abi_of
from modfs.conformance.files import NEEDED, Files, make_files
from modfs.conformance.folder import Recorded, header, write_folder
from modfs.conformance.perform import Here
from modfs.conformance.scenario import Scenario, Step, expanded, scenarios

_TREE = Path("/lib/modules")
_OWN_CONFIG = Path("/proc/config.gz")

# Flags of each call that leave taint F or R behind, where the kernel was built to be forced.
_FORCING = {"finit_module": MANGLED, "delete_module": os.O_TRUNC}

# Modules that leave more taints behind than those that any unsigned one does.
_TAINTING = frozenset(
    ("ok_c", "proprietary", "staging", "testing", "importer_nongpl", "importer_gpl_nongpl")
)


def check() -> None:
    """What forbids it, before anything is tried. UserError."""
    if not linux.effective_capabilities(0) >> linux.CAP_SYS_MODULE & 1:
        raise UserError("needs root: only who has CAP_SYS_MODULE may load modules")
    if not os.path.exists("/proc/modules"):
        raise UserError("this kernel loads no modules (no CONFIG_MODULES): it cannot be asked")
    if _said("/proc/sys/kernel/modules_disabled") == "1":
        raise UserError("kernel.modules_disabled is 1: no module can be loaded until the next boot")
    lockdown = _said("/sys/kernel/security/lockdown")
    if _said("/sys/module/module/parameters/sig_enforce") == "Y" or (
        lockdown and "[none]" not in lockdown
    ):
        raise UserError("this kernel loads only modules that are signed with a key of its own")


def _said(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def record_here(folder: Path) -> None:
    """Ask this kernel and write ``folder``. OSError; UserError says what forbids it."""
    check()
    release = os.uname().release
    root = _TREE / release
    if not root.is_dir():
        raise UserError(f"there is no {root}: its modules tell how those of this kernel must be")
    abi = abi_of(Tree.open(root), NEEDED)
    if abi.release != release:
        raise UserError(f"the modules in {root} are for {abi.release}, not for this kernel")
    files = make_files(abi)
    ours = frozenset(name.partition(".")[0].replace("-", "_") for name in files.contents)
    if there := ours & _loaded():
        raise UserError(f"these modules are loaded, as the scenarios call theirs: {_few(there)}")
    config = _OWN_CONFIG if _OWN_CONFIG.exists() else find_kconfig(root)
    kconfig = read_kconfig(config) if config else None
    recorded = Recorded(abi, files, header(abi, kconfig, _blacklist(), False))
    recorded.about = f"Recorded by modfs record --conformance on {release}\n"
    recorded.config = kconfig_text(config) if config else ""
    recorded.symbols = _exports()
    _perform(recorded, ours)
    write_folder(folder, recorded)


def _few(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)[:3])


def _loaded() -> frozenset[str]:
    return frozenset(line.split(" ")[0] for line in _said("/proc/modules").splitlines())


def _perform(recorded: Recorded, ours: frozenset[str]) -> None:
    """Every harmless scenario; whatever stays loaded is removed after each."""
    with tempfile.TemporaryDirectory(prefix="modfs-conformance-") as name:
        _lay_out(Path(name), recorded.files)
        here = Here(Path(name), ours)
        for scenario in filter(lambda one: one.harmless, scenarios()):
            steps = harmless_steps(scenario, recorded.files.kinds)
            try:
                recorded.performed.append(here.perform(scenario.name, steps))
            finally:
                _remove(here, ours)


def _lay_out(root: Path, files: Files) -> None:
    (root / "t").mkdir()  # a folder, which scenarios try to load
    (root / "files").mkdir()
    for name, data in files.contents.items():
        (root / "files" / name).write_bytes(data)


def _remove(here: Here, ours: frozenset[str]) -> None:
    """The modules that are still there; users first, as often as that takes."""
    for _ in ours:
        left = ours & _loaded()
        if not left:
            return
        for name in left:
            here.answer({"op": "delete_module", "name": name, "flags": os.O_NONBLOCK})


def harmless_steps(scenario: Scenario, kinds: Mapping[str, Sequence[str]]) -> list[Step]:
    """Its steps without modules that would taint the kernel for more than being unsigned."""
    return [step for step in expanded(scenario, kinds, False) if not _taints(step)]


def _taints(step: Step) -> bool:
    if step.get("flags", 0) & _FORCING.get(step.get("op", ""), 0):
        return True
    files = [step.get("file") or "", *step.get("files", ())]
    return any(file.rpartition("/")[2].removesuffix(".ko") in _TAINTING for file in files)


def _exports() -> str:
    """The lines of /proc/kallsyms that tell what the kernel itself exports."""
    lines = _said("/proc/kallsyms").splitlines(keepends=True)
    return "".join(line for line in lines if "__ksymtab" in line and "[" not in line)


def _blacklist() -> list[str]:
    """The boot option module_blacklist."""
    found = re.search(r"(?:^|\s)module_blacklist=(\S*)", _said("/proc/cmdline"))
    return found[1].split(",") if found else []

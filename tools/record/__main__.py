"""python -m tools.record [--out FOLDER] [--seeds '1 2'] KERNEL: see README.md."""

from __future__ import annotations

import argparse
import os
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from loader.calls import MODULE_INIT_COMPRESSED_FILE
from loader.errors import UserError
from loader.kconfig import Kconfig, kconfig_text, read_kconfig
from loader.packings import NOT_PACKED, by_suffix, read_module
from loader.tree.tree import Tree
from modfs.conformance.abi import Abi, abi_of, learn_abi
from modfs.conformance.answers import Answered, result_name
from modfs.conformance.files import NEEDED, make_files
from modfs.conformance.folder import Recorded, header, packed_text, write_folder
from modfs.conformance.scenario import Scenario, Step, expanded, random_scenario, scenarios
from tools.record.debian import Kernel
from tools.record.guest import BLACKLIST, Guest
from tools.record.image import abi_of_image, btf_of
from tools.record.kernels import built, kernel, symvers
from tools.record.sizes import all_modules, refused, seen
from tools.record.sizes import steps as sizes_steps
from tools.record.sizes import table as sizes_table

_REAL = 30  # of the kernel's own that are loaded
_MOST_NEEDED = 4
_SAMPLE = 100
_LARGEST = 400_000  # bytes
_REQUESTS = (b"__request_module", b"load_nls", b"__symbol_get")
_REGISTERS = b"crypto_register_"


def main() -> int:
    """The exit status: 0 all was recorded, 1 a scenario was not, 2 none can be."""
    options = _options()
    try:
        found, config = (
            (built(options.built), options.built / ".config")
            if options.built
            else kernel(options.kernel, options.jobs)
        )
        return (_record_sizes if options.sizes else _record)(found, config, options)
    except (UserError, RuntimeError, OSError) as error:
        print(f"make record: {error}", file=sys.stderr)
        return 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools.record", description=__doc__)
    parser.add_argument("kernel", nargs="?", default="6.12")
    parser.add_argument("--out", type=Path, help="the folder that is written")
    parser.add_argument("--seeds", default="", help="of scenarios by chance")
    parser.add_argument("--steps", type=int, default=120, help="of each scenario by chance")
    parser.add_argument("--scenarios", help="which of them, else all")
    parser.add_argument("--together", action="store_true", help="all of them in one boot")
    parser.add_argument("--built", type=Path, help="a folder where a kernel was built")
    parser.add_argument("--sizes", action="store_true", help="of all modules, and nothing else")
    parser.add_argument("--real", type=int, default=_REAL, help="the kernel's own modules loaded")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="of make")
    return parser.parse_args()


def _record(found: Kernel, config: Path | None, options: argparse.Namespace) -> int:
    tree = Tree.open(found.modules) if found.modules.is_dir() else None
    exports = symvers(found)
    abi = _abi(found, tree, exports)
    kconfig = read_kconfig(config) if config else None
    files = make_files(abi)
    real = own_modules(tree, options.real, _restless(kconfig)) if tree else {}
    statistics = kconfig is not None and kconfig.is_on("MODULE_STATS")
    recorded = Recorded(abi, files, header(abi, kconfig, BLACKLIST, statistics), real)
    recorded.config = kconfig_text(config) if config else ""
    recorded.about = _about(found, abi)
    out = options.out or Path("recordings") / found.release
    kinds = {**files.kinds, "real": [f"modules/{name}" for name in real]}
    with tempfile.TemporaryDirectory(prefix="modfs-record-") as name:
        contents = {"files": files.contents, "modules": real}
        guest = Guest(found.image, abi.machine, Path(name) / "guest", contents)
        missed = 0
        for name, steps in _boots(options, kinds, statistics):
            missed += not _performed(guest, name, steps, recorded)
            recorded.symbols = exports or guest.symbols.strip()
            if not kconfig and (packing := unpacks(recorded.performed)):
                recorded.header["compression"] = packing
            write_folder(out, recorded)
    print(f"{out}: {len(recorded.performed)} transcripts; modfs verify {out}")
    return 1 if missed else 0


def _record_sizes(found: Kernel, config: Path | None, options: argparse.Namespace) -> int:
    """modules.tsv of all modules that the kernel loads."""
    tree = Tree.open(found.modules)
    machine = learn_abi(tree.sample(_SAMPLE)).machine
    files = all_modules(tree)
    out = options.out or Path("recordings") / f"{found.release}-sizes"
    with tempfile.TemporaryDirectory(prefix="modfs-record-") as name:
        guest = Guest(found.image, machine, Path(name) / "guest", {"modules": files})
        steps = sizes_steps([*files], btf_of(found.image))
        answered = guest.perform("sizes", steps)
        if len(answered.steps) < len(steps):
            end = guest.console("sizes")
            raise UserError(f"the kernel ended at {steps[len(answered.steps)]}:\n{end}")
    if failed := [answer.results[0] for answer in answered.answers[:3] if any(answer.results)]:
        raise UserError(f"no probe can be set there: {result_name(failed[0])}")
    layouts = seen(answered)
    for file, errno in refused(answered):
        print(f"{file}: {errno}", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    (out / "modules.tsv").write_text(sizes_table(files, layouts), "utf-8")
    if config:
        (out / "kernel.config.gz").write_bytes(packed_text(kconfig_text(config)))
    seen_of = f"{len(layouts)} of {len(files)} modules"
    print(f"{out}: {seen_of}; modfs verify --modules {found.modules} {out}")
    return 0


def _abi(found: Kernel, tree: Tree | None, exports: str) -> Abi:
    if tree is None:
        print(f"{found.release}: its modules are not there; its BTF tells what they must be like")
        return abi_of_image(found.image, found.release, "x86_64")
    versions = {row.split("\t")[1]: int(row.split("\t")[0], 16) for row in exports.splitlines()}
    abi = abi_of(tree, NEEDED - versions.keys())
    abi.crcs.update(versions)
    return abi


def unpacks(performed: Iterable[Answered]) -> str | None:
    """The format that the kernel was seen to unpack; None: it was not asked."""
    packed = False
    for step in (step for answered in performed for step in answered.lines()):
        packing = by_suffix(str(step.get("file") or ""))
        if packing and step.get("flags", 0) & MODULE_INIT_COMPRESSED_FILE:
            packed = True
            if step.get("result") == "OK":
                return packing.name
    return NOT_PACKED if packed else None


def _boots(
    options: argparse.Namespace, kinds: Mapping[str, Sequence[str]], statistics: bool
) -> Iterator[tuple[str, list[Step]]]:
    """What each boot is to do: a scenario, or all of them one after the other."""
    steps = {one.name: list(expanded(one, kinds, statistics)) for one in _chosen(options, kinds)}
    if options.together:
        yield "all", [step for part in steps.values() for step in part]
    else:
        yield from steps.items()


def _performed(guest: Guest, name: str, steps: Sequence[Step], recorded: Recorded) -> bool:
    """Boot for one transcript; a line tells how it went."""
    begun = time.monotonic()
    try:
        answered = guest.perform(name, steps)
    except UserError as error:
        print(f"make record: {error}", file=sys.stderr, flush=True)
        return False
    recorded.performed.append(answered)
    if len(answered.steps) < len(steps):
        at = steps[len(answered.steps)]
        print(f"make record: {name}: the kernel ended at {at}:\n{guest.console(name)}", flush=True)
        return False
    print(f"{name}: {len(steps)} steps, {time.monotonic() - begun:.0f} s", flush=True)
    return True


def _chosen(options: argparse.Namespace, kinds: Mapping[str, Sequence[str]]) -> list[Scenario]:
    wanted = None if options.scenarios is None else options.scenarios.split()
    found = [one for one in scenarios() if wanted is None or one.name in wanted]
    seeds = map(int, options.seeds.split())
    return [*found, *(random_scenario(seed, kinds, options.steps) for seed in seeds)]


def _restless(kconfig: Kconfig | None) -> tuple[bytes, ...]:
    """Symbols of modules after whose init others go on: they ask for modules, or what they register
    is tested in the background, which holds references meanwhile."""
    off = "CRYPTO_MANAGER_DISABLE_TESTS"  # until 6.15
    tested = kconfig and (
        kconfig.is_on("CRYPTO_SELFTESTS") or (off in kconfig.options and not kconfig.is_on(off))
    )
    return (*_REQUESTS, _REGISTERS) if tested else _REQUESTS


def own_modules(tree: Tree, count: int, restless: Sequence[bytes] = ()) -> dict[str, bytes]:
    """Some of the kernel's own, unpacked, each after those that it needs; always the same ones.

    ``restless``: beginnings of symbols that none of them has.
    """
    names = sorted(tree.names())
    random.Random(0).shuffle(names)
    chosen: dict[str, bytes] = {}
    for name in names:
        if len(chosen) >= count:
            break
        needed = tree.dependencies(name)
        path = tree.path(name)
        if path is None or len(needed) > _MOST_NEEDED:
            continue
        group = {
            file.name.partition(".ko")[0] + ".ko": read_module(file) for file in (*needed, path)
        }
        if all(
            len(data) <= _LARGEST and not any(b"\0" + symbol in data for symbol in restless)
            for data in group.values()
        ):
            chosen |= {file: data for file, data in group.items() if file not in chosen}
    return chosen


def _about(found: Kernel, abi: Abi) -> str:
    return (
        f"Recorded by modfs: python -m tools.record {shlex.join(sys.argv[1:])}\n"
        f"{found.release} ({abi.vermagic.strip()}), {abi.machine}, QEMU (TCG)\n"
        "modules.tar.zst holds the kernel's own modules without their code and data.\n"
    )


if __name__ == "__main__":
    sys.exit(main())

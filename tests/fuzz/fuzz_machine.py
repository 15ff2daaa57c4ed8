"""What a machine tells of itself: a udev database, modinfo's text, small files, a recorded boot."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

from loader.errors import UserError
from loader.simulate.machine import check_names
from loader.simulate.machine_file import machine_from
from modfs.machine.look import machine_text
from tests.fuzz.mutate import Chance, damaged_text
from tests.fuzz.target import Target
from tests.modfs.machine.test_sosreport import FILES

_VALUES = (
    *("\n\n", "P: ", "P: /devices/../../x", "E: ", "E: MODALIAS=", "E: SUBSYSTEM=cpu\n", "\0"),
    *("=", ":", '"', "\\", "'''", "[[coldplug]]", "\x1b[31m", "é", "-1", "9" * 40, "a" * 300),
    *("@MACHINE\n", "@END\n", "/sys/devices/a b:c\n", "uevent begin 9 add /devices/x\n"),
    *("alias: *\n", "alias: acpi:[\n", "filename: /x/a-b.ko\n", "softdep: pre: a post: b\n"),
    *("MemTotal: 0 kB\n", "../", "\udcff", "#", "\t"),
)
_BOOT = (
    '@HEAD\n{"children_max": 8, "blacklist": "a b"}\n@END\n@MACHINE\n2\n'
    "Linux (none) 6.12.1-x #1 SMP x86_64 GNU/Linux\nMemTotal: 2048 kB\n@END\n@BEFORE\n"
    "/sys/devices/a acpi:ACPI0007:\n/sys/devices/system/cpu/cpu0 cpu:type:x86\n@END\n@TRACE\n"
    "  x-1  [000] .....  1.000000: tracing_mark_write: uevent begin 7 add /devices/a\n"
    "  x-1  [000] .....  1.500000: module_load: some_module O\n@END\n"
)


def make(chance: Chance) -> bytes:
    """The name of a file of a report, or "boot", and its damaged text."""
    name = chance.choice(("boot", *sorted(FILES)))
    return f"{name}\n{damaged_text(chance, FILES.get(name, _BOOT), _VALUES)}".encode(
        "utf-8", "surrogateescape"
    )


def check(given: bytes) -> str:
    """The machine file is one, whatever it was made of."""
    first, _, content = given.partition(b"\n")
    name = first.decode("utf-8", "replace")
    with tempfile.TemporaryDirectory(prefix="modfs-fuzz-") as place:
        root, boot = Path(place, "root"), Path(place, "boot.txt")
        for file, text in FILES.items():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_bytes(content if file == name else text.encode())
        boot.write_bytes(content)
        try:
            text = machine_text(boot if name == "boot" else None, root=root)
        except UserError as error:
            assert len(str(error).splitlines()) == 1, "a message is one line"
            return "UserError"
        check_names(machine_from(tomllib.loads(text)))
    return "ok"


TARGETS = (Target("machine-seen", make, check, 60),)

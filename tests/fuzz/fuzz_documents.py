"""What people write: machines, scenarios, environments, transcripts, module specs, devices."""

from __future__ import annotations

import functools
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from loader.engine.init_routines_file import read_init_routines
from loader.errors import UserError
from loader.simulate.machine_file import read_machine
from loader.simulate.scenario import Scenario
from loader.synthesize.spec_file import read_specs
from modfs.devices.description import read_devices
from modfs.devices.view import DeviceView
from modfs.verify.transcript import Transcript
from tests.fuzz.mutate import Chance, damaged_text
from tests.fuzz.seeds import DATA, PROJECT
from tests.fuzz.target import Target

_VALUES = (
    *("0", "-1", "1e309", "1e3", "18446744073709551616", "0.5", "true", "null", "nan", "inf", "[]"),
    *("{}", '""', '"20 MB"', '"2 ms"', '"a"', '"\\ud800"', '"\\u0000"', "[[", "{", "]", "}", ","),
    *("\n", '"', "'", "=", ":", "#", "[[module]]\n", "\udcff", "é", "\x85", "1979-05-27", "0x10"),
    *("P: /devices/a\n", "E: SUBSYSTEM=a\n", "A: b=\\n\n", "L: b/c=d\n", "H: b=0", "..", "/"),
    *('{"at": 1, "load": "x", "times": 3}\n', '"EIO"', '"OK"', "9" * 50, "'''", '"""', "[1,"),
)


class Reader(NamedTuple):
    """How one kind of file is read, and files of that kind."""

    read: Callable[[Path], Any]
    seeds: tuple[Path, ...]


def _devices(path: Path) -> None:
    """Every file that is listed is there."""
    view = DeviceView(read_devices(path), lambda device, event: None)
    left = [b"/"]
    while left:
        folder = left.pop()
        for name in view.names(folder):
            found = folder.rstrip(b"/") + b"/" + name
            mode = view.getattr(found).mode
            if stat.S_ISDIR(mode):
                left.append(found)
            elif stat.S_ISLNK(mode):
                view.readlink(found)
            else:
                view.open_file(found).read(4096, 0)


def _scenario(path: Path) -> Any:
    scenario = Scenario.read(path)
    return scenario.config, scenario.init_routines, scenario.by_actor()


READERS: dict[str, Reader] = {
    "machine": Reader(read_machine, tuple(PROJECT.glob("examples/*.toml"))),
    "scenario": Reader(_scenario, tuple(PROJECT.glob("examples/*.jsonl"))),
    "environment": Reader(read_init_routines, (DATA / "environment.json",)),
    "transcript": Reader(Transcript.load, tuple(DATA.glob("transcripts/*/*.jsonl"))),
    "devices": Reader(_devices, (PROJECT / "tests/modfs/devices/laptop.umockdev",)),
    "modules": Reader(read_specs, (PROJECT / "loader/synthesize/demo_tree.toml",)),
}


class Written(NamedTuple):
    """A file of one kind."""

    kind: str
    data: bytes


@functools.cache
def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def make(kind: str, chance: Chance) -> Written:
    lines = _lines(chance.choice(READERS[kind].seeds))
    start = chance.choice((0, 0, chance.randrange(len(lines))))
    count = chance.choice((3, 12, 40, len(lines)))
    text = damaged_text(chance, "".join(lines[start : start + count])[:20_000], _VALUES)
    return Written(kind, text.encode("utf-8", "surrogateescape"))


def check(written: Written) -> str:
    with tempfile.NamedTemporaryFile(prefix="modfs-fuzz-") as file:
        file.write(written.data)
        file.flush()
        try:
            READERS[written.kind].read(Path(file.name))
        except UserError as error:
            assert len(str(error).splitlines()) == 1, "a message is one line"
            return "UserError"
    return "ok"


TARGETS = tuple(Target(kind, functools.partial(make, kind), check, 200) for kind in READERS)

"""Debian's own kernels under QEMU, watched by modfs: does it tell what was done there?

Each kernel boots once. What was done is known from the script, and the sizes from the files and
from that kernel's own /proc/modules; no time is looked at.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from loader.config import Config
from loader.image.module_image import ModuleImage, read_image
from loader.observe.call import ObservedCall
from loader.observe.recording import Recording
from loader.observe.replay import account, rules
from modfs.texts import stats
from modfs.tracing.hook import hook
from modfs.tracing.record import recording_of
from tests.kernels.guest import Guest
from tools.record.debian import fetch

VERSIONS = os.environ.get("MODFS_TEST_KERNELS", "").split()
MODULES = ("dummy", "loop", "acpi-cpufreq")
STORM = 16

# busybox's cat asks for sendfile, which gives nothing of a file that says it is empty: head reads.
_SCRIPT = r"""
mkdir /tmp/m /tmp/tmp
shown() {
    for name in "$@"; do echo "@""FILE $name"; head -n 9999 /tmp/m/$name; echo "@""END"; done
}
storm() { for i in $(seq STORM); do insmod $1 2>/dev/null & pids="$pids $!"; done; wait $pids; }
cp /m/dummy.ko /tmp/copy.ko
head -c 5000 /m/loop.ko > /tmp/bad.ko
: > /tmp/empty.ko

python3 -m modfs record -o /tmp/killed.jsonl & killed=$!
while ! [ -s /tmp/killed.jsonl ]; do sleep 1; done
kill -9 $killed

python3 -m modfs mount --host --log /tmp/log /tmp/m
python3 -m modfs record -o /tmp/r.jsonl & recorder=$!
while ! [ -s /tmp/r.jsonl ]; do sleep 1; done
sleep 1
insmod /m/dummy.ko
insmod /m/dummy.ko
insmod /tmp/copy.ko
insmod /tmp/bad.ko
insmod /tmp/empty.ko
insmod /m/acpi-cpufreq.ko
storm /m/loop.ko
mount -t nosuchfs x /tmp/tmp
rmmod dummy
insmod /m/dummy.ko
shown stats losses failed_inits calls kmsg
echo "@""FILE mounted"; modfs status /tmp/m; modfs status --json /tmp/m; echo "@""END"
echo "@""FILE modes"; ls -l /tmp/m; echo "@""END"
echo "@""FILE proc_modules"; cat /proc/modules; echo "@""END"
kill -TERM $recorder; wait $recorder; echo "@""FILE status"; echo $?; echo "@""END"
python3 -m modfs umount /tmp/m
python3 -m modfs mount --host -f /tmp/m & server=$!
while ! [ -e /tmp/m/stats ]; do sleep 1; done
kill -TERM $server; wait $server; echo "@""FILE served"; echo $?; echo "@""END"
echo "@""FILE log"; cat /tmp/log; echo "@""END"
echo "@""FILE recording"; cat /tmp/r.jsonl; echo "@""END"
echo "@""FILE left"; ls /sys/kernel/tracing/instances; cat /sys/kernel/tracing/dynamic_events
echo "@""END"

rmmod loop
sh /hook.sh
insmod /m/loop.ko
insmod /m/loop.ko
echo "@""FILE hooked"; ls /sys/kernel/tracing/instances; echo "@""END"
echo "@""FILE text"; cat /sys/kernel/tracing/instances/modfs_boot/trace; echo "@""END"
python3 -m modfs record --seconds 0.1 -o /tmp/boot.jsonl
echo "@""FILE boot"; cat /tmp/boot.jsonl; echo "@""END"
echo "@""FILE left_of_hook"; ls /sys/kernel/tracing/instances /run
cat /sys/kernel/tracing/dynamic_events; echo "@""END"
"""


class Boot(NamedTuple):
    """What a boot printed, by file, and what it was asked with."""

    guest: Guest
    files: dict[str, str]

    @property
    def counters(self) -> dict[str, int]:
        rows = re.findall(r"^ *([A-Z][A-Za-z ]+)\t(\d+)$", self.files["stats"], re.MULTILINE)
        return {label: int(number) for label, number in rows}

    def image(self, name: str) -> ModuleImage:
        """What the engine's reader says of a module."""
        config = Config(release=rules(self.guest.kernel.release))
        found = read_image(self.guest.modules[name].read_bytes(), 0, config)
        assert isinstance(found, ModuleImage)
        return found


@pytest.fixture(scope="module", params=VERSIONS)
def boot(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Boot:
    guest = Guest(fetch(request.param), MODULES, tmp_path_factory.mktemp(request.param))
    (guest.root / "hook.sh").write_text(hook())
    printed = guest.run(_SCRIPT.replace("STORM", str(STORM)))
    seen = request.config.rootpath / f"tests/kernels/.cache/{request.param}.txt"
    seen.parent.mkdir(exist_ok=True)
    seen.write_text(printed)
    found = re.findall(r"@FILE (\w+)\n(.*?)@END\n", printed, re.DOTALL)
    return Boot(guest, dict(found))


def calls(boot: Boot, tmp_path: Path) -> list[ObservedCall]:
    path = tmp_path / "r.jsonl"
    path.write_text(boot.files["recording"])
    return [item for item in Recording.read(path).items if isinstance(item, ObservedCall)]


def test_what_was_done_is_counted(boot: Boot) -> None:
    counters = boot.counters
    assert counters["Mods ever loaded"] == 3  # dummy, loop, dummy again
    sizes = [boot.image(name).layout for name in ("dummy", "loop", "dummy")]
    assert counters["Total module size"] == sum(layout.total for layout in sizes)
    assert counters["Total mod text size"] == sum(layout.text_total for layout in sizes)
    assert counters["Mods failed on kread"] == 1  # empty
    assert counters["Mods failed on decompress"] == counters["Mods failed on load"] == 0


def test_duplicates_and_damaged_files(boot: Boot, tmp_path: Path) -> None:
    """insmod of busybox tries init_module as well where finit_module failed."""
    found = Counter(
        (call.module, call.outcome, call.call) for call in calls(boot, tmp_path) if call.result
    )
    for name in ("dummy", "bad"):
        assert found[name, "becoming", "finit_module"] >= 1, found
    lengths = sum(call.length or 0 for call in calls(boot, tmp_path) if call.outcome == "becoming")
    assert boot.counters["Failed becoming bytes"] == lengths
    dummy = boot.image("dummy").len
    storm = [call for call in calls(boot, tmp_path) if call.module == "loop"]
    for call in calls(boot, tmp_path):
        if call.module == "dummy" and call.call != "delete_module":
            assert call.length == dummy
    assert sum(call.outcome == "live" for call in storm) == 1


def test_a_storm_shares_its_load(boot: Boot, tmp_path: Path) -> None:
    """All of them ended well or found it loaded; nobody is missing."""
    begun = [call for call in calls(boot, tmp_path) if call.call == "finit_module"]
    shared = [call for call in begun if call.outcome == "shared"]
    loop = [call for call in begun if call.file.name == "loop.ko"]
    assert len(shared) + len(loop) == STORM
    assert all(call.result in (0, 17) for call in (*shared, *loop))


def test_an_init_that_fails(boot: Boot) -> None:
    rows = [line.split() for line in boot.files["failed_inits"].splitlines()[1:]]
    assert [row[:2] for row in rows] == [["acpi_cpufreq", "ENODEV"]]
    assert int(rows[0][2]) == 2


def test_nothing_was_lost(boot: Boot) -> None:
    assert boot.files["losses"].splitlines()[1:] == []
    assert boot.files["status"] == "0\n"
    assert "Traceback" not in boot.files["log"]


def test_both_watchers_say_the_same(boot: Boot, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(boot.files["recording"])
    counted = account(Recording.read(path))
    assert not counted.gaps
    assert stats(counted.snapshot()) == boot.files["stats"]


def test_sizes_are_those_of_proc_modules(boot: Boot, tmp_path: Path) -> None:
    sizes = {row[0]: int(row[1]) for row in map(str.split, boot.files["proc_modules"].splitlines())}
    for name in ("dummy", "loop"):
        assert boot.image(name).layout.core == sizes[name]


def test_the_kernels_own_request(boot: Boot) -> None:
    assert re.search(r"mount-\d+ request_module fs-nosuchfs by get_fs_type: ", boot.files["calls"])


def test_files_are_the_kernels(boot: Boot) -> None:
    modes = {row.split()[-1]: row.split()[0] for row in boot.files["modes"].splitlines()[1:]}
    assert modes["stats"] == modes["modcount"] == "-r--------"
    assert modes["unloaded_tainted"] == "-r--r--r--"
    assert "control" not in modes


def test_nothing_is_left(boot: Boot) -> None:
    """Neither of what was killed, nor of what was told to end."""
    assert boot.files["served"] == "0\n"
    assert boot.files["left"] == ""
    assert re.search(r"removed what modfs_\d+_\d+ left", boot.files["log"])


def test_a_hook_began_before_there_was_any_python(boot: Boot, tmp_path: Path) -> None:
    assert boot.files["hooked"] == "modfs_boot\n"
    path = tmp_path / "boot.jsonl"
    path.write_text(boot.files["boot"])
    recording = Recording.read(path)
    found = [item for item in recording.items if isinstance(item, ObservedCall)]
    assert [call.outcome for call in found] == ["live", "becoming", "becoming"]
    assert found[0].memory_size == boot.image("loop").layout.total
    assert not recording.before and recording.whole and not account(recording).gaps
    assert "modfs" not in boot.files["left_of_hook"]


def test_the_text_of_the_same_buffer_says_the_same(boot: Boot, tmp_path: Path) -> None:
    """The kernel's own text of what was then read from trace_pipe_raw; it has whole microseconds,
    and no names of tasks."""
    (tmp_path / "trace").write_text(boot.files["text"])
    (tmp_path / "boot.jsonl").write_text(boot.files["boot"])
    texts = recording_of(tmp_path / "trace", boot.guest.kernel.release).items
    raws = Recording.read(tmp_path / "boot.jsonl").items
    told = [[item for item in items if isinstance(item, ObservedCall)] for items in (texts, raws)]
    assert len(told[0]) == len(told[1]) == 3
    for text, raw in zip(*told, strict=True):
        assert raw.begin is not None and text.begin is not None
        assert abs(raw.begin - text.begin) < 2e-6
        for name in ("call", "result", "outcome", "file", "read", "length", "module", "memory"):
            assert getattr(raw, name) == getattr(text, name), name


def test_status_tells_of_it(boot: Boot) -> None:
    *table, said = boot.files["mounted"].splitlines()
    assert table[1].split()[:2] == ["/tmp/m", boot.guest.kernel.release]
    told = json.loads(said)
    assert (told["state"], told["host"], told["loaded"], told["waiting"]) == (
        "answers",
        True,
        2,
        [],
    )

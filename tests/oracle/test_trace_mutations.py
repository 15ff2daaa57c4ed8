"""Traces with something changed: what stays the same stays, and what is missing is said.

Whatever is done to a trace, nothing raises anything but UserError; and where a text then differs
from the kernel's own, the account says that not all was seen.
"""

from __future__ import annotations

import random
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from loader.errors import UserError
from loader.observe.assemble import assemble
from loader.observe.events import Moment
from loader.observe.recording import Header, Recording
from loader.observe.replay import account, rules
from modfs.texts import stats
from modfs.tracing.text import parse_text
from tests.recordings import TRACES

SMALL = [path for path in TRACES if path.name.startswith(("compressed", "udev8"))]
IDS = [path.name.removesuffix(".txt.zst") for path in SMALL]
EVENT = re.compile(r".{16,40} \[\d{3}\] ")
_HEADER = re.compile(r"# entries-in-buffer.*\n")


@cache
def text_of(path: Path) -> str:
    done = subprocess.run(["zstdcat", path], capture_output=True, check=True)
    return done.stdout.decode("utf-8", "backslashreplace")


def without_header(text: str) -> str:
    """As trace_pipe gives it: without the line that says how many events there are."""
    return _HEADER.sub("", text)


Texts = dict[str, tuple[str, bool]]


def accounted(text: str) -> Texts:
    """By moment: the stats text, and whether all that it is made of was seen."""
    found = parse_text(text)
    release = rules(found.release)
    items = list(assemble(found.events, release, found.kinds))
    recording = Recording(Header(found.release), items, whole=True)
    texts = {}
    for item in items:
        if isinstance(item, Moment):
            counted = account(recording, item.name)
            texts[item.name] = stats(counted.snapshot()), not counted.gaps
    return texts


def truth(text: str) -> dict[str, str]:
    return dict(re.findall(r"@STATS (\S+)\n(.*?)@END", text, re.DOTALL))


def assert_same(text: str, original: str) -> None:
    expected = truth(original)
    assert accounted(text) == {name: (told, True) for name, told in expected.items()}


def assert_nothing_in_silence(text: str, original: str) -> None:
    expected = truth(original)
    for name, (told, whole) in accounted(text).items():
        assert told == expected.get(name, told) or not whole, name


def on_events(text: str, change: re.Pattern[str], by: str) -> str:
    return "\n".join(
        change.sub(by, line) if EVENT.match(line) else line for line in text.split("\n")
    )


# -- what is the same for all its looks -----------------------------------------------------------


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_fields_in_another_order(path: Path) -> None:
    def shuffled(match: re.Match[str]) -> str:
        fields = re.findall(r'\w+=(?:"[^"]*"|\S+)', match[2])
        assert " ".join(fields) == match[2].strip()
        return match[1] + " ".join(random.Random(7).sample(fields, len(fields)))

    probe = re.compile(r"(\d: \w+: \([^)]+\) )(.*)")
    lines = text_of(path).split("\n")
    text = "\n".join(probe.sub(shuffled, line) for line in lines)
    assert text != text_of(path)
    assert_same(text, text_of(path))


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_probes_of_other_names(path: Path) -> None:
    text = re.sub(r"(\d: |/)(read|load|loaded|find|alloc|init|inited|laid_out)\b(?=:| )",
                  r"\1my_\2", text_of(path))  # fmt: skip
    assert_same(text, text_of(path))


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_every_probe_twice(path: Path) -> None:
    twice = re.compile(r"(.*\d: \w+: \([^)]+\) .*)")
    lines = without_header(text_of(path)).split("\n")
    assert_same("\n".join(twice.sub(r"\1\n\1", line) for line in lines), text_of(path))


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_without_flags_with_groups_and_another_width(path: Path) -> None:
    """Options of a trace: irq-info off, record-tgid on."""
    change = re.compile(r"(-\d+ +)(\[\d{3}\]) \S+ +(\d+\.\d+: )")
    assert_same(on_events(text_of(path), change, r"\1(    77) \2 \3"), text_of(path))


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_addresses_where_names_were(path: Path) -> None:
    """Then the definitions tell what a probe of that name is on."""
    change = re.compile(r"(\d: \w+: )\([^)]+ <- [^)]+\)")
    text = on_events(text_of(path), change, r"\1(0xffffffff81234567 <- 0xffffffff81abcdef)")
    change = re.compile(r"(\d: \w+: )\([^)<]+\)")
    assert_same(on_events(text, change, r"\1(0xffffffff81abcdef)"), text_of(path))


def test_a_name_that_breaks_lines() -> None:
    """info->name of a load that failed is freed memory: here with quotes and newlines."""
    original = text_of(SMALL[0])
    text = re.sub(r"(loaded: .* ret=-\d+ )name=\S+", r'\1name="a\nb c\n#\n"', original)
    assert text.count('"a\n') > 4
    assert_same(text, original)


# -- what is missing ------------------------------------------------------------------------------


def events(text: str) -> list[int]:
    """The lines that are events about modules."""
    quiet = ("sched_", "module_put", "module_get", "tracing_mark")
    return [
        number
        for number, line in enumerate(text.split("\n"))
        if EVENT.match(line) and not any(word in line for word in quiet)
    ]


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_a_missing_event_is_counted_by_the_header(path: Path) -> None:
    lines = text_of(path).split("\n")
    for number in random.Random(3).sample(events(text_of(path)), 2):  # one came while it was read
        lines[number] = ""
    assert all(not whole for _, whole in accounted("\n".join(lines)).values())


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_a_missing_event_without_a_header(path: Path) -> None:
    """Any event of a call but an allocation: of those, no other event tells how many there were."""
    text = without_header(text_of(path))
    lines = text.split("\n")
    random_ = random.Random(path.name)
    candidates = [number for number in events(text) if " alloc: " not in lines[number]]
    for number in random_.sample(candidates, 12):
        less = lines[:number] + lines[number + 1 :]
        assert_nothing_in_silence("\n".join(less), text_of(path))


KINDS = ("find", "alloc", "laid_out", "load", "loaded", "init", "inited", "read", "fromfile",
         "decompress", "module_load", "module_free", "sched_process_exit")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_event_that_is_not_there(kind: str) -> None:
    for path in SMALL:
        lines = without_header(text_of(path)).split("\n")
        gone = re.compile(rf"OK .*/{kind} |.*\d: {kind}: ")
        text = "\n".join(line for line in lines if not gone.match(line))
        assert_nothing_in_silence(text, text_of(path))


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_lost_events_of_trace_pipe(path: Path) -> None:
    lines = without_header(text_of(path)).split("\n")
    at = events("\n".join(lines))[20]
    lines[at - 10 : at] = ["CPU:0 [LOST 10 EVENTS]"]
    found = parse_text("\n".join(lines))
    counted = account(Recording(Header(), list(assemble(found.events, rules(None)))))
    assert (10, "events lost by the kernel's buffer", "all") in counted.gaps.rows()


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_a_trace_that_is_cut(path: Path) -> None:
    text = text_of(path)
    start = text.index("\n", text.index("@TRACE") + 1000)
    random_ = random.Random(path.name)
    for _ in range(8):
        cut = text[: random_.randrange(start, text.index("@LOST"))]
        assert_nothing_in_silence(cut, text)
        assert not all(whole for _, whole in [*accounted(cut).values(), ("", False)])


@pytest.mark.parametrize("path", SMALL, ids=IDS)
def test_damage(path: Path) -> None:
    random_ = random.Random(path.name)
    text = text_of(path)
    start = text.index("@TRACE")
    for _ in range(4):
        damaged = list(text)
        for _ in range(random_.randrange(1, 200)):
            damaged[random_.randrange(start, len(text))] = random_.choice(' \n"()=0123->:[]a\\\0')
        assert_nothing_in_silence("".join(damaged), text)


@pytest.mark.parametrize(
    "text", ["", "\n", "@TRACE\n", "@STATS a\n", "# tracer: nop\n", "junk\n" * 9]
)
def test_what_is_no_trace(text: str) -> None:
    assert accounted(text) == {}


def test_the_same_number_again() -> None:
    """A task dies in its call, and another gets its number: two calls, not one."""
    head = "          insmod-44      [000] .....     2."
    text = (
        f"{head}1: sys_finit_module(fd: 3, uargs: 0, flags: 0)\n"
        f'{head}2: read: (a <- kernel_read_file) ret=100 id=2 file="a.ko" dev=1 ino=2 size=100\n'
        f"{head}3: load: (load_module+0x0/0x1) len=100 flags=0\n"
        f"{head}4: sched_process_exit: comm=insmod pid=44 prio=120\n"
        f"{head}5: sys_finit_module(fd: 3, uargs: 0, flags: 0)\n"
        f"{head}6: sys_finit_module -> 0xfffffffffffffff7\n"
        f"{head}7: tracing_mark_write: moment end\n"
    )
    ((told, whole),) = accounted(text).values()
    assert not whole  # the first may have been counted or not
    assert "Mods failed on becoming\t0" in told


def test_error_of_a_file(tmp_path: Path) -> None:
    from modfs.tracing.record import recording_of

    for name, content in (
        ("zst", b"\x28\xb5\x2f\xfd123"),
        ("txt", b"nothing"),
        ("bin", b"\xff" * 99),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=str(path)):
            recording_of(path)


def test_what_the_kernels_command_line_alone_gives() -> None:
    """trace_instance= and kprobe_event=: no system call, what was asked for instead of got."""
    task = "         modprobe-71      [000] .....     1."
    text = (
        f'{task}1: mread: (kernel_read_file+0x0/0x1) name="crc32c-x.ko"\n'
        f"{task}2: mload: (load_module+0x0/0x1) len=9000\n"
        f"{task}3: malloc: (execmem_alloc+0x0/0x1) type=0 size=4096\n"
        f"{task}3: malloc: (execmem_alloc+0x0/0x1) type=4 size=8192\n"
        f"{task}3: malloc: (execmem_alloc+0x0/0x1) type=2 size=512\n"
        f"{task}4: module_load: crc32c_x \n"
        f"{task}5: mloadr: (init_module_from_file+0x1/0x2 <- load_module) ret=0\n"
        f'{task}6: mread: (kernel_read_file+0x0/0x1) name="firmware.bin"\n'
        f"{task}7: tracing_mark_write: moment end\n"
    )
    ((told, _),) = accounted(text).values()
    assert "Mods ever loaded\t1\n" in told
    assert "Total module size\t12288\n      Total mod text size\t4096\n" in told


def test_a_duplicate_by_what_comes_after() -> None:
    """A parameter that answers EBUSY is no duplicate: symbols were resolved before that."""
    task = "          insmod-71      [000] .....     1."
    text = (
        f"{task}1: sys_finit_module(fd: 3, uargs: 0, flags: 0)\n"
        f"{task}2: load: (load_module+0x0/0x1) len=9000\n"
        f'{task}3: find: (find_module_all+0x0/0x1) name="a"\n'
        f'{task}3: laid_out: (layout_symtab+0x0/0x1) name="a"\n'
        f"{task}3: alloc: (x+0x1/0x2 <- execmem_alloc) ret=0x1000 size=4096 type=0\n"
        f'{task}4: find: (find_module_all+0x0/0x1) name="a"\n'
        f"{task}4: module_get: b call_site=resolve_symbol refcnt=3\n"
        f"{task}5: loaded: (x+0x1/0x2 <- load_module) ret=-16 len=9000\n"
        f"{task}5: sys_finit_module -> 0xfffffffffffffff0\n"
        f"{task}7: tracing_mark_write: moment end\n"
    )
    assert "Mods failed on load\t1\n" in accounted(text)["end"][0]
    assert "Duplicate" not in accounted(text)["end"][0]
    plain = text.replace("call_site=resolve_symbol", "call_site=other")
    assert accounted(plain)["end"][0].endswith("\t              1\t                     Load\n")

"""Lines of tracefs, as several kernels and options write them."""

from __future__ import annotations

import pytest

from modfs.tracing.definitions import probed
from modfs.tracing.lines import Line, begins_event, is_half_an_event, lost_events, parse

HEAD = "          insmod-44      [000] ...1.     2.352115: "


def told(text: str, task: str = "insmod", tid: int = 44) -> Line:
    line = parse(text, {})
    assert line is not None
    assert (line.task, line.tid) == (task, tid)
    return line


def test_a_probe_on_a_return() -> None:
    line = told(
        HEAD + "read: (init_module_from_file+0x93/0x100 <- kernel_read_file)"
        ' ret=-22 id=2 file="a b=c.ko" dev=3 ino=60 size=0x10'
    )
    assert line.at == 2.352115
    assert line.kind == "kernel_read_file%return"
    assert line.fields == {
        "ret": -22, "id": 2, "file": "a b=c.ko", "dev": 3, "ino": 60, "size": 16,
        "caller": "init_module_from_file",
    }  # fmt: skip


@pytest.mark.parametrize(
    "place, kind",
    [
        ("(load_module+0x0/0x20e0)", "load_module"),
        ("([unknown/kretprobe'd] <- do_init_module)", "do_init_module%return"),
        ("(arch_rethook_trampoline+0x0/0x10 <- load_module+0x0/0x1)", "load_module%return"),
        ("(0xffffffff81000000)", "probe"),
        ("(find_module_all+0x4/0x90 [vmlinux])", "find_module_all"),
    ],
)
def test_where_a_probe_is(place: str, kind: str) -> None:
    assert told(f"{HEAD}probe: {place} len=1").kind == kind


def test_a_string_that_could_not_be_fetched() -> None:
    line = told(HEAD + "loaded: (a <- load_module) ret=-17 name=(fault) len=78896")
    assert line.fields == {"ret": -17, "name": None, "len": 78896}


@pytest.mark.parametrize(
    "call, fields",
    [
        ("(fd: 3, uargs: 2fe76760, flags: 0)", {"fd": 3, "uargs": "", "flags": 0}),
        (
            '(fd: 0xffffffff, uargs: 0x48f77d "a=1, flags: 7", flags: 4)',
            {"fd": -1, "uargs": "a=1, flags: 7", "flags": 4},
        ),
        ("(flags: 0x10, fd: a, uargs: 0)", {"fd": 10, "uargs": "", "flags": 16}),
    ],
)
def test_a_system_call(call: str, fields: dict[str, object]) -> None:
    line = told(f"{HEAD}sys_finit_module{call}")
    assert (line.kind, line.fields) == ("sys_finit_module", fields)


def test_the_end_of_a_system_call() -> None:
    line = told(HEAD + "sys_init_module -> 0xffffffffffffffef")
    assert (line.kind, line.fields) == ("sys_init_module%return", {"ret": -17})


@pytest.mark.parametrize(
    "text, fields",
    [
        ("module_load: dummy ", {"name": "dummy"}),
        ("module_load: aead OE", {"name": "aead", "taints": "OE"}),
        ("module_put: a call_site=do_init_module refcnt=1",
         {"name": "a", "call_site": "do_init_module", "refcnt": 1}),
        ("module_request: fs-x wait=1 call_site=get_fs_type",
         {"name": "fs-x", "wait": 1, "call_site": "get_fs_type"}),
        ("tracing_mark_write: moment a b", {"text": "moment a b"}),
    ],
)  # fmt: skip
def test_the_kernels_own_events(text: str, fields: dict[str, object]) -> None:
    line = told(HEAD + text)
    assert (line.kind, line.fields) == (text.split(":")[0], fields)


@pytest.mark.parametrize(
    "head, task, tid",
    [
        ("   (udev-worker)-181     [004] .....     5.9: ", "(udev-worker)", 181),
        ("  kworker/u8:1-2-45      [001] d..1.     5.9: ", "kworker/u8:1-2", 45),
        ("      a [1] b-7-9       (      9) [001] .N...     5.9: ", "a [1] b-7", 9),
        ("           <...>-12345678 [001]     5.9: ", "<...>", 12345678),
        ("insmod-44 [000] 5.9: ", "insmod", 44),
        ("          insmod-44      [000] .....  12345: ", "insmod", 44),
    ],
)
def test_heads(head: str, task: str, tid: int) -> None:
    assert begins_event(head)
    assert told(head + "module_load: x ", task, tid).kind == "module_load"


@pytest.mark.parametrize("line", ["", "# tracer: nop", "DONE", "[    9.5] reboot: down", "a-b [c"])
def test_no_event(line: str) -> None:
    assert parse(line, {}) is None
    assert not begins_event(line) and not is_half_an_event(line)


def test_half_an_event() -> None:
    assert is_half_an_event(HEAD[:34]) and not begins_event(HEAD[:34])
    assert lost_events("CPU:3 [LOST 4711 EVENTS]\n") == 4711
    assert lost_events("CPU:3 [LOST EVENTS]") == 1
    assert lost_events(HEAD) is None


@pytest.mark.parametrize(
    "definition, found",
    [
        ("f500:modfs/loaded load_module%return ret=$retval:s32", ("loaded", "load_module%return")),
        ("f:modfs/init do_init_module name=mod->name:string", ("init", "do_init_module")),
        ("r:modfs/k_read kernel_read_file ret=$retval:s64", ("k_read", "kernel_read_file%return")),
        ("p:k_laid layout_symtab+0 name=+24(%di):string", ("k_laid", "layout_symtab")),
        ("s:synthetic a b", None),
        ("", None),
    ],
)
def test_definitions(definition: str, found: tuple[str, str] | None) -> None:
    assert probed(definition) == found

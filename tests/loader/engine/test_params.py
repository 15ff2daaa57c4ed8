"""Parameters by the rules of kernel/params.c and lib/kstrtox.c."""

from __future__ import annotations

import errno

import pytest

from loader.engine.params import arguments, parse_args, store
from loader.errors import LoadError
from loader.image.own_checks import OWN_CHECKS
from loader.image.parameters import Parameter

TYPES = (
    *("byte", "short", "ushort", "int", "uint", "long", "ulong", "ullong", "hexint"),
    *("charp", "bool", "bint", "invbool"),
)
KNOWN = {name: Parameter(name, name) for name in TYPES}
KNOWN["list"] = Parameter("list", "array of int", 3)
KNOWN["rest"] = Parameter("rest", "array of int", 4, default="9,8,7,6", counted=False)
KNOWN["names"] = Parameter("names", "array of charp")
KNOWN["string"] = Parameter("string", "string", 8)
KNOWN["own"] = Parameter("own", "some_type_of_the_module")


def value(text: str) -> str:
    parsed = parse_args("m", text, KNOWN)
    assert (parsed.errno, parsed.log) == (0, ())
    return parsed.values[text.partition("=")[0]]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("byte=255", "255"),
        ("int=-2147483648", "-2147483648"),
        ("int=+7", "7"),
        ("int=0x1F", "31"),
        ("int=010", "8"),
        ("int=" + "0" * 5000 + "10", "8"),
        ("ulong=0x" + "0" * 5000 + "ff", "255"),
        ("int=5\n", "5"),
        ("uint=4294967295", "4294967295"),
        ("ulong=18446744073709551615", "18446744073709551615"),
        ("hexint=255", "0x0000ff"),
        ("bool", "Y"),
        ("bool=off", "N"),
        ("bool=true", "Y"),
        ("invbool=n", "N"),
        ("bint=y", "1"),
        ("list=1,2,3", "1,2,3"),
        ("rest=1,2", "1,2,7,6"),  # recorded: all are shown where nobody counts
        ("rest=1,2 rest=3", "3,2,7,6"),
        ("names=a,b,c,d", "a,b,c,d"),
        ('charp="two words"', "two words"),
        ("charp=", ""),
        ("string=1234567", "1234567"),
        ("own=anything", "anything"),
    ],
)
def test_values(text: str, shown: str) -> None:
    assert value(text) == shown


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("byte=256", errno.ERANGE),
        ("byte=-1", errno.EINVAL),
        ("short=32768", errno.ERANGE),
        ("int=2147483648", errno.ERANGE),
        ("int=", errno.EINVAL),
        ("int", errno.EINVAL),
        ("int=12x", errno.EINVAL),
        ("int=09", errno.EINVAL),
        ("ulong=18446744073709551616", errno.ERANGE),
        ("int=" + "9" * 5000, errno.ERANGE),
        ("int=" + "9" * 5000 + "x", errno.ERANGE),  # it overflows before the x is looked at
        ("int=-0x" + "f" * 5000, errno.ERANGE),
        ("int=0x", errno.EINVAL),
        ("int=x" + "9" * 5000, errno.EINVAL),
        ("bool=2", errno.EINVAL),
        ("bool=o", errno.EINVAL),
        ("list=1,2,3,4", errno.EINVAL),
        ("list=1,,3", errno.EINVAL),
        ("charp=" + "x" * 1025, errno.ENOSPC),
        ("charp", errno.EINVAL),
        ("string=12345678", errno.ENOSPC),
    ],
)
def test_bad_values(text: str, number: int) -> None:
    parsed = parse_args("m", text, KNOWN)
    assert parsed.errno == number
    assert parsed.log[-1].startswith("m: `")


def test_all_bad_values_are_logged_and_the_last_errno_counts() -> None:
    parsed = parse_args("m", "int=x bool=Y byte=300", KNOWN)
    assert parsed.errno == errno.ERANGE
    assert parsed.values == {"bool": "Y"}
    assert parsed.log == (
        "m: `x' invalid for parameter `int'",
        "m: `300' invalid for parameter `byte'",
    )


def test_of_a_bad_array_the_log_has_what_is_before_the_first_comma() -> None:
    """As 6.12 answered to make record, "arr=1,2,3,4,5": "withparam: `1' invalid for …"."""
    parsed = parse_args("m", "list=1,2,3,4", KNOWN)
    assert parsed.errno == errno.EINVAL
    assert parsed.log[-1] == "m: `1' invalid for parameter `list'"


def test_unknown_names_are_ignored() -> None:
    parsed = parse_args("m", "nosuch=1 async_probe dyndbg=+p", KNOWN)
    assert parsed[:3] == ({}, 0, ("m: unknown parameter 'nosuch' ignored",))


@pytest.mark.parametrize(
    ("text", "with_it", "without"),
    [
        # make record, "ok_a.n=5": 6.16.12 and 7.2.12 of Debian's, which have it; 6.12.118 built
        # here, which has not.
        ("ok_a.n=5", ["m: unknown parameter 'ok_a' ignored"],
         ["m: unknown parameter 'ok_a.n' ignored"]),
        ("a.b.c", ["m: unknown parameter 'a' ignored"], ["m: unknown parameter 'a.b.c' ignored"]),
        ("async_probe.x", ["m: unknown parameter 'async_probe' ignored"],
         ["m: unknown parameter 'async_probe.x' ignored"]),
        ("x.dyndbg=+p", [], ["m: unknown parameter 'x.dyndbg' ignored"]),
        ("dyndbg=+p", [], ["dyndbg param is supported only in CONFIG_DYNAMIC_DEBUG builds"]),
        ("dyndbg.x", ["m: unknown parameter 'dyndbg' ignored"],
         ["m: unknown parameter 'dyndbg.x' ignored"]),
    ],
)  # fmt: skip
def test_dynamic_debug_cuts_unknown_names(
    text: str, with_it: list[str], without: list[str]
) -> None:
    assert list(parse_args("m", text, KNOWN, True).log) == with_it
    assert list(parse_args("m", text, KNOWN, False).log) == without


def test_dashes_in_names() -> None:
    known = {"a_b": Parameter("a_b", "int")}
    assert parse_args("m", "a-b=1", known).values == {"a_b": "1"}


def test_after_two_dashes() -> None:
    parsed = parse_args("m", "int=1 -- int=2 x", KNOWN)
    assert parsed.values == {"int": "1"}
    assert parsed.log == ("m: parameters 'int=2 x' after `--' ignored",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('a="b c" d', [("a", "b c"), ("d", None)]),
        ('"a=b c" d', [("a", "b c"), ("d", None)]),
        ("  a = b", [("a", None), ("=", None), ("b", None)]),
        ('a="b', [("a", "b")]),
        ("a=b=c", [("a", "b=c")]),
        ("=a=b", [("=a", "b")]),
        ('"a="b"" c', [("a", 'b"'), ("c", None)]),  # one quote is taken off the end, not two
        ('a=" b', [("a", " b")]),
    ],
)
def test_arguments(text: str, found: list[tuple[str, str | None]]) -> None:
    assert [(name, value) for name, value, _ in arguments(text)] == found


def test_an_array_shows_no_more_than_a_page() -> None:
    """param_array_get fills a page less one byte, a newline among its elements' ends."""
    parsed = parse_args("m", "names=" + ",".join(["abc"] * 2000), KNOWN)
    assert parsed.values["names"] == ("abc," * 2000)[:4095]


def test_no_more_lines_than_the_log_keeps() -> None:
    parsed = parse_args("m", "a " * 5000 + "last", KNOWN)
    assert len(parsed.log) == 4096
    assert parsed.log[-1] == "m: unknown parameter 'last' ignored"


# -- set functions of modules' own ----------------------------------------------------------------


def own(module: str, name: str, text: str) -> str | int:
    """What is shown afterwards, or the errno."""
    check = OWN_CHECKS.get((module, name))
    parameter = Parameter(name, "", own_set=True, check=check)
    parsed = parse_args(module, f"{name}={text}", {name: parameter})
    return parsed.errno or parsed.values[name]


@pytest.mark.parametrize(
    ("module", "name", "text", "result"),
    [  # by the sources that the table names
        ("loop", "max_loop", "abc", errno.EINVAL),
        ("loop", "max_loop", "0x10", "16"),
        ("loop", "max_loop", "3000000000", errno.ERANGE),
        ("loop", "hw_queue_depth", "0", errno.EINVAL),
        ("loop", "hw_queue_depth", "1", "1"),
        ("nvme", "io_queue_depth", "1", errno.EINVAL),
        ("nvme", "io_queue_depth", "2", "2"),
        ("nvme", "io_queue_depth", "4096", errno.EINVAL),
        ("nvme", "write_queues", "0x2", errno.EINVAL),  # kstrtouint with base 10
        ("nvme", "write_queues", "99999999999", errno.EINVAL),  # whatever kstrtouint says
        ("nvme_core", "iopolicy", "numa-whatever", "numa-whatever"),
        ("nvme_core", "iopolicy", "best", errno.EINVAL),
        ("sg", "def_reserved_size", "1048577", errno.ERANGE),
        ("kvm", "nx_huge_pages", "auto", "auto"),
        ("kvm", "nx_huge_pages", "y", "Y"),
        ("kvm", "nx_huge_pages", "2", errno.EINVAL),
        ("kvm_intel", "vmentry_l1d_flush", "sometimes", errno.EINVAL),
        ("null_blk", "queue_mode", "3", errno.EINVAL),
        ("sunrpc", "auth_hashtable_size", "2", errno.EINVAL),
        ("target_core_user", "block_netlink", "256", errno.ERANGE),  # kstrtou8
        ("nf_nat_ftp", "ports", "anything", "anything"),
        ("not_known", "parameter", "anything", "anything"),
    ],
)
def test_own_checks(module: str, name: str, text: str, result: str | int) -> None:
    assert own(module, name, text) == result


def test_a_newline_at_the_end() -> None:
    """As a shell's echo writes it; simple_strtoul does not skip it, kstrtouint does."""
    loops = Parameter("p", "", own_set=True, check=OWN_CHECKS["loop", "max_loop"])
    assert store(loops, "7\n", "") == "7"
    port = Parameter("p", "", own_set=True, check=OWN_CHECKS["lockd", "nlm_udpport"])
    assert store(port, "7", "") == "7"
    with pytest.raises(LoadError):
        store(port, "7\n", "")


def test_what_taints_the_kernel_is_told_first() -> None:
    """param_check_unsafe: before the value is looked at, but not without one."""
    known = {"p": Parameter("p", "int", unsafe=True)}
    parsed = parse_args("m", "p=x", known)
    assert parsed.log == (
        "Setting dangerous option p - tainting kernel",
        "m: `x' invalid for parameter `p'",
    )
    assert parsed.unsafe
    assert not parse_args("m", "p", known).unsafe


# As insmod in Debian's 6.12.117 (cloud, amd64) answered under QEMU; what it loaded has 0.
BOOTED = """
loop max_loop=abc EINVAL
loop max_loop=0x10 0
loop max_loop=3000000000 ERANGE
loop max_loop EINVAL
loop hw_queue_depth=0 EINVAL
loop hw_queue_depth=1 0
null_blk queue_mode=3 EINVAL
null_blk queue_mode=0x1 EINVAL
null_blk queue_mode=99999999999 EINVAL
null_blk irqmode=2 0
ublk_drv ublks_max=1048577 EINVAL
ublk_drv ublks_max=1048576 0
tcp_dctcp dctcp_shift_g=11 EINVAL
tcp_dctcp dctcp_shift_g=10 0
tcp_dctcp dctcp_shift_g=x EINVAL
sg def_reserved_size=1048577 ERANGE
sg def_reserved_size=-1 ERANGE
sg def_reserved_size=4096 0
md_mod start_ro=0x1 EINVAL
md_mod start_ro=1 0
sunrpc min_resvport=0 EINVAL
sunrpc min_resvport=65536 EINVAL
sunrpc auth_hashtable_size=2 EINVAL
sunrpc auth_hashtable_size=3 0
sunrpc auth_hashtable_size=16384 0
sunrpc auth_hashtable_size=16385 EINVAL
sunrpc tcp_slot_table_entries=1 EINVAL
sunrpc udp_slot_table_entries=65537 EINVAL
kvm nx_huge_pages=2 EINVAL
kvm nx_huge_pages=auto 0
kvm nx_huge_pages=n 0
kvm nx_huge_pages_recovery_ratio=x EINVAL
nf_conntrack hashsize=x EINVAL
msr allow_writes=anything 0
button lid_init_state=sometimes EINVAL
button lid_init_state=open 0
"""


@pytest.mark.parametrize("row", BOOTED.strip().splitlines())
def test_own_checks_of_a_booted_kernel(row: str) -> None:
    module, argument, answer = row.split()
    name = argument.partition("=")[0]
    check = OWN_CHECKS[module, name]
    parsed = parse_args(module, argument, {name: Parameter(name, "", own_set=True, check=check)})
    assert errno.errorcode.get(parsed.errno, "0") == answer

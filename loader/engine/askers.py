"""Who in the kernel asks for modules, with which strings, in which order.

Each function is one place in the kernel that misses something, named as it is there, and gives what
that place asks for. Where it looks again after each request and finds what it missed, it asks for
nothing more (``ask``). Read in 6.12.117; the strings of docs/autoload.md were seen on a booted one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

_NPROTO = 46  # AF_MAX
_SOCK_MAX = 11
_MAX_LINKS = 32
_MISC_MAJOR, _MISC_DYNAMIC_MINOR = 10, 255
_N_TTY, _NR_LDISCS = 0, 31


class Ask(NamedTuple):
    """One request. ``function``: who asks. ``if_positive``: only if the request before it came to
    more than 0. ``if_not_zero``: only if that came to anything but 0, or was not made. ``looks``:
    it is not made if the string's module is live, for then nothing is missed."""

    string: str
    function: str
    if_positive: bool = False
    if_not_zero: bool = False
    looks: bool = True


def ask(
    asks: Iterable[Ask],
    request: Callable[[Ask], int],
    is_there: Callable[[Ask], bool],
) -> None:
    """Make the requests. ``is_there``: look (again): is there what is missed?"""
    result = 1
    for each in asks:
        if each.looks and is_there(each):
            return
        unwanted = (each.if_positive and result <= 0) or (each.if_not_zero and not result)
        if not unwanted:
            result = request(each)


# -- sockets --------------------------------------------------------------------------------------


def sock_create(family: int, kind: int) -> list[Ask]:
    """net/socket.c: no such family is registered."""
    if 0 <= family < _NPROTO and 0 <= kind < _SOCK_MAX:
        return [Ask(f"net-pf-{family}", "__sock_create")]
    return []


def inet_create(family: int, kind: int, protocol: int) -> list[Ask]:
    """net/ipv4/af_inet.c, net/ipv6/af_inet6.c: no such protocol, or none of that type."""
    function = "inet_create" if family == 2 else "inet6_create"
    generic = f"net-pf-{family}-proto-{protocol}"
    return [Ask(f"{generic}-type-{kind}", function), Ask(generic, function)]


def netlink_create(protocol: int) -> list[Ask]:
    """net/netlink/af_netlink.c."""
    if 0 <= protocol < _MAX_LINKS:
        return [Ask(f"net-pf-16-proto-{protocol}", "netlink_create")]
    return []


def alg_bind(kind: str) -> list[Ask]:
    """crypto/af_alg.c: no such type of algorithms."""
    return [Ask(f"algif-{kind}", "alg_bind")]


def tcp_ca_find(name: str, net_admin: bool) -> list[Ask]:
    """net/ipv4/tcp_cong.c: TCP_CONGESTION. ``net_admin``: capable(CAP_NET_ADMIN)."""
    return [Ask(f"tcp_{name}", "tcp_ca_find_autoload")] if net_admin else []


def tcp_ulp_find(name: str, net_admin: bool) -> list[Ask]:
    """net/ipv4/tcp_ulp.c: TCP_ULP."""
    return [Ask(f"tcp-ulp-{name}", "__tcp_ulp_find_autoload")] if net_admin else []


def dev_load(name: str, net_admin: bool, sys_module: bool) -> list[Ask]:
    """net/core/dev_ioctl.c: no network interface has that name. The capabilities are those in the
    initial user namespace."""
    asks = [Ask(f"netdev-{name}", "dev_load", looks=False)] if net_admin else []
    if sys_module:
        asks.append(Ask(name, "dev_ioctl", if_not_zero=True, looks=False))
    return asks


# -- devices and files ----------------------------------------------------------------------------


def base_probe(major: int, minor: int) -> list[Ask]:
    """fs/char_dev.c: no driver has the number."""
    return _device("char", major, minor, "base_probe")


def misc_open(minor: int) -> list[Ask]:
    """drivers/char/misc.c: nobody has the minor number, which is none that is given out freely."""
    if minor >= _MISC_DYNAMIC_MINOR:
        return []
    return [Ask(f"char-major-{_MISC_MAJOR}-{minor}", "misc_open")]


def blk_request_module(major: int, minor: int) -> list[Ask]:
    """block/genhd.c: no disk has the number (CONFIG_BLOCK_LEGACY_AUTOLOAD)."""
    return _device("block", major, minor, "blk_request_module")


def _device(kind: str, major: int, minor: int, function: str) -> list[Ask]:
    generic = f"{kind}-major-{major}"
    return [Ask(f"{generic}-{minor}", function), Ask(generic, function, if_positive=True)]


def tty_ldisc_get(number: int, may: bool) -> list[Ask]:
    """drivers/tty/tty_ldisc.c: TIOCSETD. ``may``: CAP_SYS_MODULE, or dev.tty.ldisc_autoload."""
    if may and _N_TTY <= number < _NR_LDISCS:
        return [Ask(f"tty-ldisc-{number}", "tty_ldisc_get")]
    return []


def search_binary_handler(string: str | None) -> list[Ask]:
    """fs/exec.c, of a file in a format that nobody knows (loader.engine.exec.binfmt_string)."""
    return [] if string is None else [Ask(string, "bprm_execve", looks=False)]

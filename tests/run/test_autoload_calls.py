"""modfs run --autoload: what programs' own calls have the kernel ask for, and in which order.

Expected are the strings that a booted 6.12 showed in its trace for the same moves
(docs/autoload.md, "Programs' own calls").
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import Done

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mknod and mount need root")

# A helper that writes down what it was asked for, and finds nothing.
HELPER = """\
printf '#!/bin/sh\\necho "$3" >> %s/asked; exit 1\\n' "$PWD" > helper
chmod 755 helper; : > asked; chmod 666 asked; echo $PWD/helper > /proc/sys/kernel/modprobe
"""
SOCKETS = """
import socket
def create(*what):
    try: socket.socket(*what).close(); print("ok")
    except OSError as error: print(error.strerror)
for family in (3, 10, 24, 38): create(family, 5 if family == 38 else 1, 0)
create(2, 1, 132); create(16, 3, 25)
"""
INTERFACE = """
import fcntl, socket
try: fcntl.ioctl(socket.socket(), 0x8913, b"nodev9".ljust(40, b"\\0"))  # SIOCGIFFLAGS
except OSError as error: print(error.strerror)
"""
OPTIONS = """
import socket
tcp = socket.socket()
tcp.setsockopt(6, 13, b"reno"); tcp.setsockopt(6, 1, 1)
for option in (13, 31):  # TCP_CONGESTION, TCP_ULP
    try: tcp.setsockopt(6, option, b"nope")
    except OSError as error: print(error.strerror)
"""
FSOPEN = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(430, b"nofs5", 0); print(os.strerror(ctypes.get_errno()))
libc.syscall(430, b"nofs6", 2)  # no such flag
"""
LINE_DISCIPLINE = """
import fcntl, os
try: fcntl.ioctl(os.openpty()[1], 0x5423, (29).to_bytes(4, "little"))  # TIOCSETD
except OSError as error: print(error.strerror)
"""


def moves(python: str) -> str:
    return f"python3 - <<'END'\n{python}\nEND\n"


@pytest.fixture
def asked(
    run: Callable[..., Done], tmp_path: Path
) -> Callable[..., tuple[list[str], list[str], str]]:
    """What a script's calls asked for, what it printed, and its errors."""

    def asked(script: str, *options: str) -> tuple[list[str], list[str], str]:
        done = run(HELPER + script, options=("--autoload", *options), shell="bash")
        return (tmp_path / "asked").read_text().splitlines(), done.stdout.splitlines(), done.stderr

    return asked


Asked = Callable[..., tuple[list[str], list[str], str]]


def test_file_systems(asked: Asked) -> None:
    strings, kmsg, told = asked(
        "mkdir on; busybox mount -t nofs1 none on; busybox mount -t a.b.c none on;"
        "busybox mount -t nofs2 none nowhere; busybox mount -t tmpfs none on;"
        "sed -i s/1$/0/ helper; busybox mount -t nofs3 none on; busybox mount -t nofs4 none on;"
        "cat /sys/kernel/debug/modules/kmsg"
    )
    # A target that is not there comes first.
    assert strings == ["fs-nofs1", "fs-a", "fs-nofs3", "fs-nofs4"]
    assert told.count("No such device") == 4
    assert kmsg == ["request_module fs-nofs3 succeeded, but still no fs?"]


def test_sockets_interfaces_and_terminals(asked: Asked) -> None:
    strings, told, _ = asked(
        moves(SOCKETS) + moves(OPTIONS) + moves(INTERFACE) + moves(LINE_DISCIPLINE) + moves(FSOPEN)
    )
    assert strings == [
        "net-pf-3", "net-pf-24", "net-pf-38",
        "net-pf-2-proto-132-type-1", "net-pf-2-proto-132", "net-pf-16-proto-25",
        "tcp_nope", "tcp-ulp-nope", "netdev-nodev9", "nodev9", "tty-ldisc-29", "fs-nofs5",
    ]  # fmt: skip
    no_family, no_protocol = "Address family not supported by protocol", "Protocol not supported"
    missing = "No such file or directory"
    assert told == [
        no_family, "ok", no_family, no_family, no_protocol, no_protocol,
        missing, missing, "No such device", "Invalid argument", "No such device",
    ]  # fmt: skip


def test_devices(asked: Asked) -> None:
    strings, _, told = asked(
        "mknod c c 199 7; mknod m c 10 199; mknod b b 199 3; cat c; cat m; cat b; ln -s c link;"
        "(cd /; cat $OLDPWD/link); cat /dev/null"
    )
    character = ["char-major-199-7", "char-major-199"]
    block = ["block-major-199-3", "block-major-199"]
    assert strings == [*character, "char-major-10-199", *block, *character]
    assert "cat: m: No such device\n" in told
    assert told.count("No such device or address") == 3


def test_programs(asked: Asked) -> None:
    script = (
        r"printf '\1\2\3\4\5\6' > x; printf ABCD > y; chmod 755 x y; ./x; ./y;"
        r"printf '#!%s/x\n' $PWD > z; chmod 755 z; ./z; chmod 644 x; ./x"
    )
    strings, *_ = asked(script)
    assert strings == ["binfmt-0403", "binfmt-0403"]
    strings, *_ = asked(script, "--kernel", "7.3")
    assert strings == []


def test_without_rights(asked: Asked) -> None:
    """Sockets need none; the others are not asked for, or not as far."""
    program = "setpriv --reuid=65534 --clear-groups bash -c"
    strings, _, told = asked(
        "chmod 711 .; mknod c c 199 7; chmod 600 c; mknod d c 199 8; chmod 666 d;"
        f"{program} '{moves(SOCKETS).split('create(2')[0]}\nEND\n{moves(INTERFACE)}\ncat c; cat d'"
        f"\nunshare -r bash -c '{moves(INTERFACE)}'"
    )
    assert strings == ["net-pf-3", "net-pf-24", "net-pf-38", "char-major-199-8", "char-major-199"]
    assert "cat: c: Permission denied" in told


def test_the_host_is_asked_after_the_request(run: Callable[..., Done]) -> None:
    done = run(
        r"""printf '#!/bin/sh\nprintf "#!/bin/sh\\necho now\\n" > %s/x\n' "$PWD" > helper
        chmod 755 helper; echo $PWD/helper > /proc/sys/kernel/modprobe
        printf '\1\2\3\4' > x; chmod 755 x; ./x""",
        options=("--autoload",),
        shell="bash",
    )
    assert (done.stdout, done.returncode) == ("now\n", 0)


def test_a_signal_ends_the_call_and_not_the_helper(asked: Asked, tmp_path: Path) -> None:
    _, told, _ = asked(
        "printf '#!/bin/sh\\n: > began; sleep 0.5; : > ended\\n' > helper;"
        'sed -i "s,: > ,&$PWD/,g" helper;'
        "mkdir on; busybox mount -t slow none on & while [ ! -e began ]; do sleep 0.01; done;"
        "kill $!; wait $!; echo $?;"
        "timeout --preserve-status -s INT 0.2 busybox mount -t slow none on; echo $?"
    )
    assert told == ["143", "130"]
    while not (tmp_path / "ended").exists():  # the sandbox stays until then
        time.sleep(0.01)


def test_nothing_is_asked_without_the_option(run: Callable[..., Done], tmp_path: Path) -> None:
    run(HELPER + moves(SOCKETS), shell="bash")
    assert (tmp_path / "asked").read_text() == ""

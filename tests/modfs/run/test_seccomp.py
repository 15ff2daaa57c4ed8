"""Which calls of which programs are caught: the filter run by a small interpreter of BPF.

Instructions are those of filter.rst (Documentation/networking); that the kernel takes the filter
and sends the calls is in tests/run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from loader.errors import UserError
from modfs import linux
from modfs.run import caught, seccomp
from modfs.run.seccomp import Notification, Reply, capable, read_string, user_namespace

ALLOW, NOTIFY = 0x7FFF0000, 0x7FC00000  # linux/seccomp.h
X86_64, I386, AARCH64, ARM, RISCV64 = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0xC00000F3
X32 = 0x40000000

# (machine, AUDIT_ARCH_*) -> finit_module, init_module, delete_module: the machines' syscall.tbl
CAUGHT = {
    ("x86_64", X86_64): (313, 175, 176, X32 | 313, X32 | 175, X32 | 176),
    ("x86_64", I386): (350, 128, 129),
    ("aarch64", AARCH64): (273, 105, 106),
    ("aarch64", ARM): (379, 128, 129),
}


def program(
    monkeypatch: pytest.MonkeyPatch, machine: str, more: caught.Rules | None = None
) -> list[tuple[int, int, int, int]]:
    """code, jt, jf, k of each instruction."""
    monkeypatch.setattr(linux, "MACHINE", machine)
    return list(struct.iter_unpack("<HBBI", seccomp._program(more)))


def verdict(
    instructions: list[tuple[int, int, int, int]], arch: int, nr: int, *arguments: int
) -> int:
    """What the filter returns for one call."""
    words = (*arguments, *(0,) * (6 - len(arguments)))
    data = struct.pack("<IIQ6Q", nr, arch, 0xABC, *words)  # struct seccomp_data
    accumulator = position = 0
    while True:
        code, jt, jf, k = instructions[position]
        position += 1
        if code == 0x20:  # BPF_LD | BPF_W | BPF_ABS
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
            position += jt if accumulator == k else jf
        elif code == 0x54:  # BPF_ALU | BPF_AND | BPF_K
            accumulator &= k
        else:
            assert code == 0x06  # BPF_RET | BPF_K
            return k


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_module_calls_and_nothing_else(monkeypatch: pytest.MonkeyPatch, machine: str) -> None:
    instructions = program(monkeypatch, machine)
    for arch in (X86_64, I386, AARCH64, ARM, RISCV64, 0):
        caught = CAUGHT.get((machine, arch), ())
        for nr in (*range(600), *(X32 | nr for nr in range(600)), 0xFFFFFFFF, 1 << 31):
            assert verdict(instructions, arch, nr) == (NOTIFY if nr in caught else ALLOW)


# -- calls that may have the kernel ask for a module ----------------------------------------------

O_PATH, O_DIRECTORY = 0o10000000, 0o200000


@pytest.mark.parametrize(
    ("arch", "nr", "arguments", "found"),
    [
        (X86_64, 165, (), NOTIFY),  # mount
        (X86_64, 41, (2, 1, 0), NOTIFY),  # socket
        (X86_64, 430, (), NOTIFY),  # fsopen
        (X86_64, 16, (3, 0x5401), ALLOW),  # ioctl TCGETS
        (X86_64, 16, (3, 0x8933), NOTIFY),  # SIOCGIFINDEX
        (X86_64, 16, (3, 0x8B01), NOTIFY),  # SIOCGIWNAME
        (X86_64, 16, (3, 0x5423), NOTIFY),  # TIOCSETD
        (X86_64, 16, (3, 0xABC00008933), NOTIFY),  # an unsigned int to the kernel
        (X86_64, X32 | 514, (3, 0x8933), NOTIFY),
        (X86_64, X32 | 16, (3, 0x8933), ALLOW),  # none of x32
        (X86_64, 514, (3, 0x8933), ALLOW),
        (X86_64, 257, (0, 0, os.O_RDWR), NOTIFY),  # openat
        (X86_64, 257, (0, 0, os.O_RDWR | O_PATH), ALLOW),
        (X86_64, 257, (0, 0, O_DIRECTORY), ALLOW),
        (X86_64, 2, (0, os.O_RDWR, O_PATH), NOTIFY),  # open: the mode is no flag
        (X86_64, 0, (3,), ALLOW),  # read
        (X86_64, 54, (3, 6, 13), NOTIFY),  # setsockopt TCP_CONGESTION
        (X86_64, 54, (3, 6, 1), ALLOW),  # TCP_NODELAY
        (X86_64, 313, (), NOTIFY),  # finit_module, as ever
        (I386, 102, (1,), NOTIFY),  # socketcall SYS_SOCKET
        (I386, 102, (3,), ALLOW),  # SYS_CONNECT
        (I386, 21, (), NOTIFY),
        (I386, 165, (), ALLOW),
        (AARCH64, 40, (), ALLOW),  # none of this machine
    ],
)
def test_what_is_caught_for_autoloading(
    monkeypatch: pytest.MonkeyPatch, arch: int, nr: int, arguments: tuple[int, ...], found: int
) -> None:
    instructions = program(monkeypatch, "x86_64", caught.rules())
    assert verdict(instructions, arch, nr, *arguments) == found


def test_execve_can_be_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdict(program(monkeypatch, "x86_64", caught.rules()), X86_64, 59) == NOTIFY
    left_alone = program(monkeypatch, "x86_64", caught.rules(caught.EXEC))
    assert verdict(left_alone, X86_64, 59) == verdict(left_alone, I386, 358) == ALLOW


@pytest.mark.parametrize(
    ("header", "arch", "bit"),
    [
        ("x86_64-linux-gnu/asm/unistd_64.h", X86_64, 0),
        ("x86_64-linux-gnu/asm/unistd_x32.h", X86_64, X32),
        ("x86_64-linux-gnu/asm/unistd_32.h", I386, 0),
        ("asm-generic/unistd.h", AARCH64, 0),
    ],
)
def test_numbers_are_those_of_the_headers(header: str, arch: int, bit: int) -> None:
    path = Path("/usr/include", header)
    if not path.exists():
        pytest.skip("no headers of this machine")
    text = path.read_text()
    numbers = {
        name: bit | int(number)
        for name, number in re.findall(
            r"#define __NR_(\w+) (?:\(__X32_SYSCALL_BIT \+ )?(\d+)", text
        )
    }
    assert numbers
    ours = {name: nr for nr, name in caught.names()[arch].items() if nr & X32 == bit}
    assert ours.items() <= numbers.items()
    assert ours.keys() >= caught.EXEC


@pytest.mark.parametrize("more", [None, caught.rules()], ids=["modules", "autoload"])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_kernel_could_take_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, more: caught.Rules | None
) -> None:
    """bpf_check_classic: jumps forward and inside, the last instruction a return, 4096 at most."""
    instructions = program(monkeypatch, machine, more)
    assert 0 < len(instructions) <= 4096 and instructions[-1][0] == 0x06
    for position, (code, jt, jf, _) in enumerate(instructions, 1):
        if code == 0x15:
            assert position + max(jt, jf) < len(instructions)


def test_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "MACHINE", "riscv64")
    with pytest.raises(UserError, match="cannot be caught on riscv64"):
        seccomp.calls()


# -- what is received and sent --------------------------------------------------------------------


@pytest.fixture
def ioctls(monkeypatch: pytest.MonkeyPatch) -> dict[int, bytes | int]:
    """What the kernel answers to each ioctl: bytes, or an errno. Filled by the test; what was sent
    is there afterwards."""
    answers: dict[int, bytes | int] = {}

    def ioctl(fd: int, request: int, data: bytearray | bytes, *_: object) -> int:
        answer = answers.get(request, 0)
        if isinstance(answer, int):
            if answer:
                raise OSError(answer, os.strerror(answer))
            answers[request] = bytes(data)
        else:
            assert isinstance(data, bytearray)
            data[:] = answer
        return 0

    monkeypatch.setattr("fcntl.ioctl", ioctl)
    return answers


def test_receiving(monkeypatch: pytest.MonkeyPatch, ioctls: dict[int, bytes | int]) -> None:
    monkeypatch.setattr(linux, "MACHINE", "x86_64")
    arguments = (3, 1 << 63, 0xFFFFFFFFFFFFFFFF, 4, 5, 6)
    for arch, nr, name in ((X86_64, X32 | 313, "finit_module"), (I386, 129, "delete_module")):
        ioctls[linux.SECCOMP_IOCTL_NOTIF_RECV] = struct.pack(
            "<QIIiIQ6Q", 77, 1234, 0, nr, arch, 0xABC, *arguments
        )
        assert seccomp.receive(5) == Notification(77, 1234, name, arguments, arch)


def test_answers(ioctls: dict[int, bytes | int]) -> None:
    asked = Notification(77, 1, "finit_module", ())
    for number, value in ((0, 0), (errno.EEXIST, 0), (0, 131072)):
        ioctls.clear()
        seccomp.answer(5, asked, Reply(number, value))
        sent = ioctls[linux.SECCOMP_IOCTL_NOTIF_SEND]
        assert struct.unpack("<QqiI", sent) == (77, value, -number, 0)  # type: ignore[arg-type]


def test_a_caller_who_is_gone_is_no_error(ioctls: dict[int, bytes | int]) -> None:
    asked = Notification(77, 1, "finit_module", ())
    assert seccomp.is_valid(5, asked)
    assert ioctls[linux.SECCOMP_IOCTL_NOTIF_ID_VALID] == (77).to_bytes(8, "little")
    ioctls[linux.SECCOMP_IOCTL_NOTIF_SEND] = ioctls[linux.SECCOMP_IOCTL_NOTIF_ID_VALID] = (
        errno.ENOENT
    )
    seccomp.answer(5, asked, Reply())
    assert not seccomp.is_valid(5, asked)
    ioctls[linux.SECCOMP_IOCTL_NOTIF_SEND] = errno.EBADF
    with pytest.raises(OSError, match="Bad file descriptor"):
        seccomp.answer(5, asked, Reply())


# -- the caller's memory and rights ---------------------------------------------------------------

TID = threading.get_native_id


def test_strings() -> None:
    text = ctypes.create_string_buffer(b"a name\xff")
    assert read_string(TID(), ctypes.addressof(text), 100) == b"a name\xff"
    assert read_string(TID(), ctypes.addressof(text), 3) == b"a n"
    assert read_string(TID(), ctypes.addressof(text) + 7, 100) == b""
    assert read_string(TID(), 0, 100) is None
    assert read_string(TID(), ctypes.addressof(text), 0) == b""


def test_a_string_at_the_end_of_what_is_mapped(page_end: int) -> None:
    ctypes.memset(page_end - 1, 0, 1)
    assert read_string(TID(), page_end - 5, 100) == b"aaaa"
    assert read_string(TID(), page_end - 5000, 10_000) == b"a" * 4999  # over two pages


def test_a_string_that_runs_out_of_what_is_mapped(page_end: int) -> None:
    assert read_string(TID(), page_end - 5, 100) is None
    assert read_string(TID(), page_end - 5, 5) == b"aaaaa"  # so much was asked for, and is there


def test_who_may_load_modules() -> None:
    effective = linux.effective_capabilities(TID())
    ours = user_namespace()
    assert capable(TID(), linux.CAP_SYS_MODULE, ours) is bool(effective & 1 << 16)
    assert not capable(TID(), linux.CAP_SYS_MODULE, "user:[1]")
    assert not capable(1 << 22, linux.CAP_SYS_MODULE, ours)


@pytest.mark.skipif(os.geteuid() != 0, reason="rights can be dropped by root only")
def test_who_may_not() -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", "echo; read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"\n"
        assert not capable(process.pid, linux.CAP_SYS_MODULE, user_namespace())
        process.communicate(b"\n")

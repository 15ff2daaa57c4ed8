"""Linux's numbers are those of the machine's headers; its calls do what the headers say."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from modfs import linux
from tests.headers import numbers

HEADERS = (
    "linux/audit.h linux/seccomp.h linux/filter.h linux/mount.h linux/sched.h linux/prctl.h"
    " linux/capability.h linux/magic.h linux/nsfs.h linux/openat2.h fcntl.h sys/uio.h"
)
OURS = {
    name: value
    for name, value in vars(linux).items()
    if isinstance(value, int) and name.upper() == name
}
# Names of ours that stand for something longer in the headers.
LONGER = {
    "SECCOMP_DATA_NR": "offsetof(struct seccomp_data, nr)",
    "SECCOMP_DATA_ARCH": "offsetof(struct seccomp_data, arch)",
    "BPF_LD_W_ABS": "BPF_LD | BPF_W | BPF_ABS",
    "BPF_JMP_JEQ_K": "BPF_JMP | BPF_JEQ | BPF_K",
    "BPF_RET_K": "BPF_RET | BPF_K",
}
STRUCTURES = {
    "struct seccomp_notif": linux.SECCOMP_NOTIF,
    "struct seccomp_notif_resp": linux.SECCOMP_NOTIF_RESP,
    "struct sock_filter": linux.SOCK_FILTER,
    "struct sock_fprog": linux.SOCK_FPROG,
    "struct iovec": linux.IOVEC,
}


def test_constants() -> None:
    theirs = numbers(HEADERS, *(set(OURS) - set(LONGER)))
    assert len(theirs) >= 15 and {"CLONE_NEWNS", "MS_PRIVATE", "SECCOMP_RET_ALLOW"} <= set(theirs)
    # An ioctl's number is unsigned; the kernel's headers may have it as int.
    assert {name: OURS[name] & 0xFFFFFFFF for name in theirs} == {
        name: value & 0xFFFFFFFF for name, value in theirs.items()
    }


def test_expressions() -> None:
    assert {LONGER[name]: OURS[name] for name in LONGER} == numbers(HEADERS, *LONGER.values())


def test_structures_are_as_long() -> None:
    theirs = numbers(HEADERS, *(f"sizeof({name})" for name in STRUCTURES))
    assert {f"sizeof({name})": form.size for name, form in STRUCTURES.items()} == theirs


def test_fields_of_what_is_received_and_sent() -> None:
    fields = ["id", "pid", "flags", "data.nr", "data.arch", "data.instruction_pointer", "data.args"]
    asked = [f"offsetof(struct seccomp_notif, {field})" for field in fields]
    assert list(numbers(HEADERS, *asked).values()) == [0, 8, 12, 16, 20, 24, 32]
    assert linux.SECCOMP_NOTIF.unpack(bytes(range(80)))[:2] == (0x0706050403020100, 0x0B0A0908)
    asked = [f"offsetof(struct seccomp_notif_resp, {field})" for field in ("id", "val", "error")]
    assert list(numbers(HEADERS, *asked).values()) == [0, 8, 16]


# -- numbers of system calls ----------------------------------------------------------------------

CALLS = ("finit_module", "init_module", "delete_module")


def call_numbers(headers: str, names: tuple[str, ...] = CALLS) -> dict[int, str]:
    found = numbers(headers, *(f"__NR_{name}" for name in names))
    return {number: name.removeprefix("__NR_") for name, number in found.items()}


x86_only = pytest.mark.skipif(os.uname().machine != "x86_64", reason="headers of another machine")


@x86_only
def test_module_calls_of_x86() -> None:
    ours = linux.MODULE_CALLS["x86_64"]
    assert ours[linux.AUDIT_ARCH_I386] == call_numbers("asm/unistd_32.h")
    both = call_numbers("asm/unistd_64.h") | call_numbers("asm/unistd.h asm/unistd_x32.h")
    assert len(both) == 6
    assert ours[linux.AUDIT_ARCH_X86_64] == both
    assert linux.X32_SYSCALL_BIT in numbers("asm/unistd.h", "__X32_SYSCALL_BIT").values()


def test_module_calls_of_arm64() -> None:
    ours = linux.MODULE_CALLS["aarch64"][linux.AUDIT_ARCH_AARCH64]
    assert ours == call_numbers("asm-generic/unistd.h")


@pytest.mark.parametrize(
    ("machine", "headers"),
    [
        pytest.param("x86_64", "asm/unistd_64.h", marks=x86_only),
        ("aarch64", "asm-generic/unistd.h"),
    ],
)
def test_other_calls(machine: str, headers: str) -> None:
    ours = linux._NUMBERS[machine]
    theirs = call_numbers(headers, tuple(ours))
    assert set(theirs.values()) >= {"seccomp", "process_vm_readv", "capget", "setgroups"}
    assert {number: name for name, number in ours.items() if name in theirs.values()} == theirs


# -- calls ----------------------------------------------------------------------------------------


def test_a_call_that_nobody_knows() -> None:
    with pytest.raises(OSError) as caught:
        linux.syscall("nosuch")
    assert caught.value.errno == errno.ENOSYS


def test_capabilities_are_those_of_proc() -> None:
    status = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    assert linux.effective_capabilities(threading.get_native_id()) == effective
    with pytest.raises(ProcessLookupError):
        linux.effective_capabilities(1 << 22)


def test_memory_of_this_process() -> None:
    text = ctypes.create_string_buffer(b"some bytes")
    tid = threading.get_native_id()
    assert linux.memory_of_thread(tid, ctypes.addressof(text), 10) == b"some bytes"
    assert linux.memory_of_thread(tid, 4096, 1) is None
    assert linux.memory_of_thread(1 << 22, ctypes.addressof(text), 1) is None


def test_memory_is_had_whole_or_not_at_all(page_end: int) -> None:
    tid = threading.get_native_id()
    assert linux.memory_of_thread(tid, page_end - 4, 4) == b"aaaa"
    assert linux.memory_of_thread(tid, page_end - 4, 5) is None


def test_descriptors_of_another_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("theirs")
    with (tmp_path / "file").open() as file, subprocess.Popen(
        ["sleep", "60"], stdin=file
    ) as process:  # fmt: skip
        fd = linux.descriptor_of_thread(process.pid, 0)
        assert os.pread(fd, 10, 0) == b"theirs"
        os.close(fd)
        before = os.listdir("/proc/self/fd")
        for number, answer, error in ((0, False, errno.ESRCH), (77, True, errno.EBADF)):
            with pytest.raises(OSError) as caught:
                linux.descriptor_of_thread(process.pid, number, lambda answer=answer: answer)  # type: ignore[misc]
            assert caught.value.errno == error
        assert os.listdir("/proc/self/fd") == before
        process.kill()


def test_a_thread_that_is_not_there() -> None:
    with pytest.raises(OSError) as caught:
        os.close(linux.pidfd_of_thread(1 << 22))
    assert caught.value.errno in (errno.ESRCH, errno.ENOENT)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change its groups")
def test_groups_are_one_threads_own() -> None:
    before = os.getgroups()
    found: list[list[int]] = []

    def change() -> None:
        linux.setgroups_of_thread([7, 70000])
        found.append(os.getgroups())

    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    assert found == [[7, 70000]]
    assert os.getgroups() == before

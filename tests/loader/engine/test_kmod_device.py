"""test_kmod0: its files and its log, as the transcript's first run has them."""

from __future__ import annotations

import errno

import pytest

from loader.engine import kmod_device
from loader.engine.kmod_device import KmodDevice
from loader.errors import LoadError
from tests.loader.engine.test_kmod_threads import engine


class Device:
    def __init__(self, path: str = "/h/exit0", fs: str | None = "xfs") -> None:
        self.live, self.runs = engine(path)
        kernel = self.live.kernel
        self.device = KmodDevice(
            self.live.request_module,
            self.live.get_fs_type,
            lambda lines: kernel.say(tuple(lines)),
            fs,
        )

    def read(self, name: str) -> str:
        read = self.device.files[name].read
        assert read is not None
        return read()

    def write(self, name: str, data: bytes) -> int:
        write = self.device.files[name].write
        assert write is not None
        try:
            write(data)
        except LoadError as error:
            return error.errno or -1
        return 0

    def log(self) -> list[str]:
        lines = list(self.live.kernel.log.lines())
        assert all(line.startswith("misc test_kmod0: ") for line in lines)
        return [line.removeprefix("misc test_kmod0: ") for line in lines]


CONFIG = """\
Custom trigger configuration for: test_kmod0
Number of threads:\t50
Test_case:\tTEST_KMOD_DRIVER (1)
driver:\ttest_module
fs:\txfs
"""


def test_files_and_defaults() -> None:
    made = Device()
    modes = {name: oct(file.mode) for name, file in made.device.files.items()}
    assert modes == {
        "config": "0o444",
        **dict.fromkeys(("config_test_driver", "config_test_fs", "config_num_threads"), "0o644"),
        **dict.fromkeys(("config_test_case", "test_result"), "0o644"),
        **dict.fromkeys(("trigger_config", "reset"), "0o200"),
    }
    assert made.read("config") == CONFIG
    values = [made.read(name) for name, file in made.device.files.items() if file.read]
    assert values[1:] == ["test_module\n", "xfs\n", "50\n", "1\n", "0\n"]


@pytest.mark.parametrize(
    ("data", "number", "now"),
    [
        *((data, errno.EINVAL, "50\n") for data in (b"abc", b"-1", b"0", b" 3", b"0x10", b"")),
        (b"4294967296", errno.ERANGE, "50\n"),
        (b"9" * 5000, errno.ERANGE, "50\n"),
        (b"4294967295", errno.EINVAL, "50\n"),
        (b"3\n", 0, "3\n"),
        (b"3\n\n", errno.EINVAL, "50\n"),
    ],
)
def test_number_of_threads(data: bytes, number: int, now: str) -> None:
    """[E1c]"""
    made = Device()
    assert made.write("config_num_threads", data) == number
    assert made.read("config_num_threads") == now


def test_case_and_result() -> None:
    made = Device()
    found = [made.write("config_test_case", data) for data in (b"0", b"1", b"2", b"3")]
    assert found == [errno.EINVAL, 0, 0, errno.EINVAL]
    assert made.write("test_result", b"-7") == 0 and made.read("test_result") == "-7\n"


def test_a_run() -> None:
    """[E1] Its log, to the letter."""
    made = Device("/sbin/modprobe")
    made.write("config_test_driver", b"nope-x")
    made.write("config_num_threads", b"1")
    assert made.write("trigger_config", b"1") == 0
    assert made.read("test_result") == "256\n"
    lines = made.log()
    no_errors = lines.pop(lines.index("No errors were found while initializing threads"))
    assert no_errors and lines == [
        "interface ready",
        "Test case: TEST_KMOD_DRIVER (1)",
        "Test driver to load: nope-x",
        "Number of threads to run: 1",
        "Thread IDs will range from 0 - 0",
        "Done: 1 threads have all run now",
        "Last thread to run: 0",
        "Results:",
        "Sync thread 0 return status: 256",
        "General test result: 256",
    ]


def test_75_threads_of_a_slow_helper() -> None:
    """[E5] The last result that is not 0 counts."""
    made = Device("/h/sleep7")
    made.write("config_num_threads", b"75")
    made.write("trigger_config", b"")
    assert made.read("test_result") == "-62\n"
    log = list(made.live.kernel.log.lines())
    statuses = [line.rpartition(": ")[2] for line in log if "Sync thread" in line]
    assert (statuses.count("0"), statuses.count("-62")) == (50, 25)


def test_file_systems() -> None:
    """[E10] What is missing is EINVAL; a name ends at a NUL, and keeps its newline."""
    made = Device("/h/exit3")
    made.write("config_test_case", b"2")
    made.write("config_num_threads", b"2")
    made.write("config_test_fs", b"\0")
    assert made.read("config_test_fs") == "\n"
    made.write("config_test_fs", b"nofs\n")
    assert made.write("trigger_config", b"x") == 0 and made.read("test_result") == "-22\n"
    assert made.log()[-3:] == [
        "Sync thread 0 fs: NULL",
        "Sync thread 1 fs: NULL",
        "General test result: -22",
    ]
    made.write("config_test_fs", b"proc")
    assert made.write("trigger_config", b"x") == 0 and made.read("test_result") == "0\n"
    assert {helper.arguments[-1] for helper in made.runs.started} == {"fs-nofs\n"}


def test_more_threads_than_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOMEM for ever after, until it is reset."""
    monkeypatch.setattr(kmod_device, "_THREADS_MAX", 60)
    made = Device()
    made.write("config_num_threads", b"61")
    made.write("config_test_fs", b"other")
    assert [made.write("trigger_config", b"1") for _ in range(2)] == [errno.ENOMEM] * 2
    assert "Setting up thread 60 failed" in made.log()
    assert made.write("reset", b"1") == 0 and made.read("config") == CONFIG
    assert made.write("trigger_config", b"1") == 0
    made.device.remove()
    assert made.log()[-2:] == ["Ending request_module() tests", "removing interface"]


def test_no_file_system_to_begin_with() -> None:
    """7.3"""
    made = Device(fs=None)
    assert made.read("config").endswith("fs:\tEMPTY\n")
    made.write("config_test_case", b"2")
    assert made.write("trigger_config", b"1") == errno.EINVAL
    assert made.log()[-1] == "No fs type specified, can't run the test"

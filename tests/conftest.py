"""What the tests of several rooms share: the installed command, mounts that end with the test, and
the recordings of booted kernels, unpacked once.

A mount here is the real one: ``modfs mount`` as a user types it, through the kernel.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from loader.engine.init_routines import InitRoutines
from loader.engine.init_routines_file import read_init_routines
from loader.keyring import Keyring
from modfs.verify.corpus import Corpus, corpus
from tests.mounts import unmount_below
from tests.recordings import DATA

PROJECT = Path(__file__).parent.parent
COMMANDS = Path(sys.executable).parent
"""The folder that holds the command ``modfs``."""

# A shell that runs the tests in the background has them, and all their programs, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)

_CHEAP = ("loader", "modfs", "oracle")


collect_ignore = [] if os.environ.get("MODFS_TEST_PACKAGES") else ["packages"]
"""Those have a target of their own: make test-packages."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes milliseconds runs before what mounts, so that most mistakes are told at once."""
    items.sort(key=lambda item: item.path.relative_to(PROJECT / "tests").parts[0] not in _CHEAP)


_OURS = ("COLUMNS", "LINES", "PYTHON")
"""How variables begin that would change what programs do, PYTHONUNBUFFERED among them."""

MARK = "MODFS_TEST_RUN"
"""In the environment of all programs that this run of the tests starts: others may run as well."""


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """For programs that a test starts: ``modfs`` and ``python3`` are the ones under test, and
    messages are in English."""
    path = f"{COMMANDS}:{os.environ['PATH']}:/usr/sbin:/sbin"
    given = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**given, "PATH": path, "LC_ALL": "C.UTF-8", MARK: str(os.getpid())}


@pytest.fixture
def workshop() -> Iterator[Path]:
    """An empty folder; whatever is mounted in it at the end of the test is unmounted.

    Not one of pytest's, which other runs of it close to other users.
    """
    with tempfile.TemporaryDirectory(prefix="modfs-test-") as folder:
        try:
            yield Path(folder)
        finally:
            unmount_below(Path(folder))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that everybody can enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="modfs-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def mounted(workshop: Path, environment: dict[str, str]) -> Callable[..., Path]:
    """Mount modfs with the given options: ``mounted("--kernel", "6.4") -> Path``."""

    def mount(*options: str | Path) -> Path:
        folder = workshop / f"mount{len(list(workshop.glob('mount*')))}"
        folder.mkdir()
        command = ["modfs", "mount", *map(str, options), str(folder)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return folder

    return mount


@pytest.fixture(scope="session")
def recorded() -> Iterator[Corpus]:
    """The files and modules of the recordings, and what is known of their kernel."""
    with corpus(DATA / "files.tar.zst", DATA / "modules.tar.zst") as found:
        yield found


@pytest.fixture(scope="session")
def init_routines() -> InitRoutines:
    """How the recorded modules' init routines behaved."""
    return read_init_routines(DATA / "environment.json")


@pytest.fixture(scope="session")
def keyring() -> Keyring:
    """The key of the recorded kernel."""
    return Keyring.load(DATA / "signing_key.x509")


@pytest.fixture
def recorded_tree(recorded: Corpus) -> Path:
    """Debian's modules for Linux 6.12, with depmod's indexes."""
    return recorded.root / "modules"

"""Recordings of other kernels than 6.12: 7.3 with its statistics, and as Debian builds it.

Every step, every line of the log, and the memory of every module; each folder of data is taken
whole, as `modfs verify FOLDER` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from loader.config import EM_AARCH64, Config
from loader.engine.init_routines import InitRoutines
from loader.engine.init_routines_file import read_init_routines
from loader.engine.threads import LiveKernel
from loader.kconfig import read_kconfig
from loader.keyring import Keyring
from modfs.verify.answerers import Direct
from modfs.verify.compare import Report, settings, verify
from modfs.verify.corpus import Corpus, corpus
from modfs.verify.folder import Recordings, read_folder
from modfs.verify.sizes import compare_sizes
from modfs.verify.transcript import Transcript
from tests.recordings import DATA

FOLDERS = [DATA / name for name in ("linux-7.3", "debian-7.3-amd64", "debian-7.3-arm64")]
NAMES = [folder.name for folder in FOLDERS]
RECORDED = [path for folder in FOLDERS for path in read_folder(folder).transcripts]
MODULES = {"linux-7.3": 171, "debian-7.3-amd64": 50, "debian-7.3-arm64": 66}
_SECONDS = ("slow_a", "slow_b", "slow_fail", "slow_eexist")
_ENDING = "reboot: Restarting system"


@dataclass(frozen=True, slots=True)
class Opened:
    """A folder of recordings, unpacked."""

    recordings: Recordings
    corpus: Corpus
    init_routines: InitRoutines
    keyring: Keyring | None

    def config(self, transcript: Transcript) -> Config:
        return settings(transcript, Config(keyring=self.keyring), self.corpus.built_for)


def opened_folder(folder: Path, stack: ExitStack) -> Opened:
    """Slow init routines take a quarter of a second: others still come meanwhile."""
    found = read_folder(folder)
    assert found.environment is not None
    init = read_init_routines(found.environment)
    for name in _SECONDS:
        init.set(name, replace(init.of(name), seconds=0.25))
    unpacked = stack.enter_context(corpus(found.files, found.modules))
    return Opened(found, unpacked, init, Keyring.load(*found.keys) if found.keys else None)


@pytest.fixture(scope="module")
def folders() -> Iterator[dict[str, Opened]]:
    with ExitStack() as stack:
        yield {folder.name: opened_folder(folder, stack) for folder in FOLDERS}


def replayed(opened: Opened, transcript: Transcript) -> tuple[Report, str]:
    engines: list[LiveKernel] = []

    @contextmanager
    def seen(live: LiveKernel) -> Iterator[Direct]:
        engines.append(live)
        yield Direct(live)

    config = opened.config(transcript)
    report = verify(transcript, opened.corpus, config, opened.init_routines, seen)
    return report, engines[0].kmsg()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_every_step_and_every_line_of_the_log(path: Path, folders: dict[str, Opened]) -> None:
    transcript = Transcript.load(path)
    report, kmsg = replayed(folders[path.parts[-3]], transcript)
    assert report.differences == []
    assert report.agreed == len(transcript.steps)
    assert not report.by_sums or path.stem == "race"
    lines = path.with_suffix(".kmsg").read_text().splitlines()
    assert kmsg.splitlines() == [line for line in lines if line != _ENDING]


@pytest.mark.parametrize("name", NAMES)
def test_the_memory_of_modules(name: str, folders: dict[str, Opened]) -> None:
    opened = folders[name]
    config = opened.config(Transcript.load(opened.recordings.transcripts[0]))
    assert opened.recordings.sizes is not None
    report = compare_sizes(opened.recordings.sizes, opened.corpus, config)
    assert report.differences == []
    assert report.agreed == MODULES[name]


def test_arm64s_trampolines_have_memory(folders: dict[str, Opened]) -> None:
    """module_frob_arch_sections: what the file has of them is one byte without flags."""
    opened = folders["debian-7.3-arm64"]
    config = opened.config(Transcript.load(opened.recordings.transcripts[0]))
    assert config.machine == EM_AARCH64 and config.force_load and config.ima_appraise
    assert config.blacklist == {"black_one"} and config.modversions is False


def test_the_recorded_configuration_says_what_the_headers_say(folders: dict[str, Opened]) -> None:
    opened = folders["linux-7.3"]
    assert opened.recordings.config is not None
    kconfig = read_kconfig(opened.recordings.config)
    assert kconfig.release == "7.3.4"
    for path in opened.recordings.transcripts:
        transcript = Transcript.load(path)
        config = opened.config(transcript)
        assert kconfig.applied(config) == replace(
            config, modversions=True, livepatch=False, ima_appraise=False, dynamic_debug=False
        )

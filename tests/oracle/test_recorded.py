"""Small recordings that make record made of Debian's kernels, each replayed whole.

7.1.13, whose modules are to be had no more, agreed in every step when it was first replayed;
6.16.12, whose symbols have versions, had corrected the engine. 6.12.118-arm64-16k has sizes alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from loader.config import EM_AARCH64, Config
from loader.engine.init_routines import InitRoutines
from loader.engine.init_routines_file import read_init_routines
from loader.engine.threads import LiveKernel
from loader.image.contents import Export
from loader.image.symvers import read_kernel_exports
from loader.kconfig import Kconfig, read_kconfig
from loader.release import release
from modfs.verify.answerers import Direct
from modfs.verify.compare import Report, settings, verify
from modfs.verify.corpus import Corpus, corpus
from modfs.verify.folder import Recordings, read_folder
from modfs.verify.sizes import compare_sizes
from modfs.verify.transcript import Transcript

RECORDED = Path(__file__).with_name("recorded")
FOLDERS = sorted(path for path in RECORDED.iterdir() if path.is_dir())
TRANSCRIPTS = [path for folder in FOLDERS for path in read_folder(folder).transcripts]
IDS = [f"{path.parent.parent.name}/{path.stem}" for path in TRANSCRIPTS]
SIZED = [folder for folder in FOLDERS if (folder / "modules.tsv").exists()]
LARGEST = 300_000  # bytes of a folder


@dataclass(frozen=True, slots=True)
class Opened:
    """A folder, unpacked. Slow init routines take a quarter of their second."""

    found: Recordings
    corpus: Corpus
    init: InitRoutines
    kconfig: Kconfig | None
    exports: dict[str, Export] | None

    @property
    def machine(self) -> int:
        assert self.corpus.built_for.machine
        return self.corpus.built_for.machine

    def config(self, transcript: Transcript) -> Config:
        return settings(transcript, Config(), self.corpus.built_for, self.kconfig)

    def replayed(self, transcript: Transcript, **changed: bool) -> tuple[Report, list[str]]:
        """How it compares, and what the engine logged. ``changed``: fields of the release."""
        engines: list[LiveKernel] = []

        @contextmanager
        def seen(live: LiveKernel) -> Iterator[Direct]:
            engines.append(live)
            yield Direct(live)

        config = self.config(transcript)
        for field, value in changed.items():
            config = replace(config, release=replace(config.release, **{field: value}))  # type: ignore[arg-type]
        report = verify(transcript, self.corpus, config, self.init, seen, self.exports)
        return report, engines[0].kmsg().splitlines()


def opened(folder: Path, stack: ExitStack) -> Opened:
    found = read_folder(folder)
    init = read_init_routines(found.environment) if found.environment else InitRoutines()
    for name in ("slow_a", "slow_b", "slow_fail", "slow_eexist"):
        init.set(name, replace(init.of(name), seconds=0.25))
    return Opened(
        found,
        stack.enter_context(corpus(found.files, found.modules)),
        init,
        read_kconfig(found.config) if found.config else None,
        read_kernel_exports(found.symbols) if found.symbols else None,
    )


@pytest.fixture(scope="module")
def folders() -> Iterator[dict[str, Opened]]:
    with ExitStack() as stack:
        yield {folder.name: opened(folder, stack) for folder in FOLDERS}


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=IDS)
def test_every_step_and_the_log(path: Path, folders: dict[str, Opened]) -> None:
    transcript = Transcript.load(path)
    report, log = folders[path.parent.parent.name].replayed(transcript)
    assert report.differences == []
    assert report.agreed == len(transcript.steps)
    if path.stem != "race":  # whose lines come in any order
        lines = iter(path.with_suffix(".kmsg").read_text().splitlines())
        assert [line for line in log if line not in lines] == []  # in this order, among others


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_is_small_and_whole(folder: Path, folders: dict[str, Opened]) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    sums = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in sums} == {
        str(path.relative_to(folder)) for path in files if path.name != "SHA256SUMS"
    }
    for digest, name in sums:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


@pytest.mark.parametrize("folder", SIZED, ids=lambda folder: folder.name)
def test_the_memory_of_modules(folder: Path, folders: dict[str, Opened]) -> None:
    one = folders[folder.name]
    assert one.kconfig and one.found.sizes
    config = one.kconfig.applied(Config(release=release(folder.name), machine=one.machine))
    report = compare_sizes(one.found.sizes, one.corpus, config)
    assert (report.differences, report.missing) == ([], 0)
    assert report.agreed >= 5


def test_pages_of_16_kib_are_seen(folders: dict[str, Opened]) -> None:
    one = folders["6.12.118-arm64-16k"]
    assert one.kconfig and one.found.sizes
    config = one.kconfig.applied(Config(machine=one.machine))
    assert (config.page_size, config.machine) == (16384, EM_AARCH64)
    small = compare_sizes(one.found.sizes, one.corpus, replace(config, page_size=4096))
    assert len(small.differences) == small.modules == 74


@pytest.mark.parametrize(
    ("folder", "name", "field", "differ"),
    [
        ("7.1.13", "deps", "export_flags", True),
        ("7.1.13", "deps", "import_ns_shown", True),
        ("7.1.13", "initfail", "init_eexist_is_ebusy", True),
        ("7.1.13", "packed", "unpacked_file_reviewed", True),
        ("7.1.13", "damaged", "string_tables_typed", False),
        ("7.1.13", "damaged", "symbol_names_checked", True),
        ("7.1.13", "deps", "module_namespaces", True),
    ],
)
def test_the_row_of_a_release_is_seen(
    folder: str, name: str, field: str, differ: bool, folders: dict[str, Opened]
) -> None:
    """docs/behaviour.md, section 6: with the field as another release has it, steps differ.

    ``differ``: what the field is in the release that was recorded.
    """
    path = next(path for path in folders[folder].found.transcripts if path.stem == name)
    transcript = Transcript.load(path)
    assert getattr(folders[folder].config(transcript).release, field) is differ
    report, _ = folders[folder].replayed(transcript, **{field: not differ})
    assert report.differences

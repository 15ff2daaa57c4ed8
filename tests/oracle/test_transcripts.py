"""Every step of every recording, asked of the engine; and the log that the kernel wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from loader.config import EM_AARCH64, EM_X86_64, Config
from loader.engine.course import Course
from loader.engine.init_routines import InitRoutines
from loader.engine.threads import LiveKernel
from loader.keyring import Keyring
from loader.observe.account import Account
from loader.observe.call import ObservedCall
from loader.observe.of_engine import observed
from modfs import texts
from modfs.verify.answerers import Direct
from modfs.verify.compare import Report, settings, sums, verify
from modfs.verify.corpus import Corpus
from modfs.verify.transcript import CallStep, Cat, Transcript
from tests.recordings import DATA, TRANSCRIPTS

IDS = [f"{path.parent.name}/{path.stem}" for path in TRANSCRIPTS]

# What the init routines of real modules print, and the stack trace of a suspicious result: not the
# loader's words.
_NOT_OURS = re.compile(
    r"Linux agpgart|hid: raw HID|\d+ \d+$|tun: Universal|null_blk: (disk|module)|Key type"
    r"|Tainted: |Hardware name: |Call Trace:| </?TASK>| [\w.]+\+0x|RIP: |Code: |R[A-Z0-9]{2}: "
)


def test_there_are_fourteen() -> None:
    assert len(TRANSCRIPTS) == 14


class _Summed(Direct):
    """The engine, and after each step the sum over its events, which is to be the same."""

    def __init__(self, live: LiveKernel) -> None:
        super().__init__(live)
        self._told: list[Course] = []
        self._account = Account(live.config.release)
        live.kernel.listener = self._told.append

    def cat(self, path: str) -> str | None:
        text = super().cat(path)
        told = sorted(self._told[:], key=lambda course: course.n)
        del self._told[: len(told)]
        for event in map(observed, told):
            if isinstance(event, ObservedCall):
                self._account.count(event)
        if path in texts.FILES:
            assert texts.FILES[path].text(self._account.snapshot()) == text, path
        return text


class Replay(NamedTuple):
    """A recording, how it compared, and what the engine logged."""

    path: Path
    report: Report
    kmsg: str


@pytest.fixture(scope="session", params=TRANSCRIPTS, ids=IDS)
def replay(
    request: pytest.FixtureRequest,
    recorded: Corpus,
    init_routines: InitRoutines,
    keyring: Keyring,
) -> Replay:
    """Each recording is replayed once, for all that is asked of it: some wait for seconds."""
    transcript = Transcript.load(request.param)
    engines: list[LiveKernel] = []

    @contextmanager
    def seen(live: LiveKernel) -> Iterator[Direct]:
        engines.append(live)
        yield _Summed(live)

    config = settings(transcript, Config(keyring=keyring))
    report = verify(transcript, recorded, config, init_routines, seen)
    return Replay(request.param, report, engines[0].kmsg())


def test_transcript(replay: Replay) -> None:
    report = replay.report
    assert report.differences == []
    assert report.agreed == len(report.transcript.steps)
    assert not report.past_the_mount
    # Only where duplicates divide by chance may sums stand in for texts.
    assert not report.by_sums or replay.path.parent.name == "early-check"


def test_kernel_log(replay: Replay) -> None:
    lines = replay.path.with_suffix(".kmsg").read_text().splitlines()
    assert replay.kmsg.splitlines() == [line for line in lines if not _NOT_OURS.match(line)]


def test_without_a_key_no_agreement_is_claimed(
    recorded: Corpus, init_routines: InitRoutines
) -> None:
    transcript = Transcript.load(DATA / "transcripts/linux-6.12/malformed_a.jsonl")
    report = verify(transcript, recorded, settings(transcript, Config()), init_routines)
    assert report.differences == []
    assert report.need_key == 1
    assert report.agreed == len(transcript.steps) - 1


def test_a_wrong_result_is_reported(recorded: Corpus) -> None:
    right = CallStep("finit_module", "files/ok_a.ko", {"OK": 1}, deltas=(20480, 8192))
    wrong = CallStep("finit_module", "files/ok_a.ko", {"OK": 1})
    smaller = CallStep("finit_module", "files/ok_b.ko", {"OK": 1}, deltas=(4096, 0))
    text = Cat("failed_becoming", "7\n")
    missing = Cat("nothing_of_that_name", "")
    transcript = Transcript(Path("t"), "6.12", (), "zstd", (right, wrong, smaller, text, missing))
    report = verify(transcript, recorded, Config())
    assert report.agreed == 1
    result, sizes, line, absent = report.differences
    assert "EEXIST instead of OK" in result
    assert "sizes grew by (20480, 8192) instead of (4096, 0) bytes" in sizes
    assert "-7" in line and "+1" in line
    assert "no such file" in absent


def test_sums_forget_only_what_chance_decides() -> None:
    path = DATA / "transcripts/early-check/race.jsonl"
    texts = [s.text or "" for s in Transcript.load(path).steps if isinstance(s, Cat)]
    text = next(t for t in texts if "Becoming & Load" in t)
    assert sums("stats", text) == sums("stats", text.replace("Becoming & Load", "       Becoming"))
    assert sums("stats", text) != sums("stats", text.replace("ever loaded\t1", "ever loaded\t3"))
    assert sums("/proc/modules", "x") is None


def test_a_header_says_what_kernel_it_was(tmp_path: Path) -> None:
    """As the recordings of 7.3 have it: its configuration, and what no reader need know of."""
    path = tmp_path / "t.jsonl"
    header = (
        '{"release": "6.18", "machine": "aarch64", "force_load": true, "force_unload": true,'
        ' "blacklist": ["black-one"], "statistics": false, "boot": {"cpus": 4}, "steps": 1}'
    )
    path.write_text(header + '\n{"op": "delete_module", "name": "", "result": "ENOENT"}\n')
    config = settings(Transcript.load(path), Config(machine=EM_X86_64))
    assert (config.release.name, config.machine) == ("6.18", EM_AARCH64)
    assert (config.force_load, config.force_unload) == (True, True)
    assert config.blacklist == {"black-one"}  # which no module is called: nothing is refused

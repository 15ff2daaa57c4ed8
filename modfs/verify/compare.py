"""Replay recordings of booted kernels and tell every step that answers differently.

Each transcript runs on a fresh engine, either by calling it or through a real mount: requests by
its control file, texts by reading its files. What a mount does not show (/proc, /sys) is
read from the engine behind it and counted apart.
"""

from __future__ import annotations

import difflib
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from loader.calls import Call, SystemCalls
from loader.config import MACHINES, BuiltFor, Config
from loader.engine.init_routines import InitRoutines
from loader.engine.threads import LiveKernel
from loader.errors import LoadError
from loader.image.contents import Export
from loader.kconfig import Kconfig, as_distributed
from loader.release import release
from modfs.verify.answerers import Answerer, AssumedKeyring, Direct
from modfs.verify.corpus import Corpus
from modfs.verify.transcript import CallStep, Cat, Transcript, counted


@dataclass(slots=True)
class Report:
    """How one transcript compares."""

    transcript: Transcript
    agreed: int = 0
    differences: list[str] = field(default_factory=list)
    by_sums: int = 0
    need_key: int = 0
    past_the_mount: int = 0

    @property
    def steps(self) -> int:
        """All steps of the transcript."""
        return len(self.transcript.steps)


def compare_steps(
    transcript: Transcript, kernel: Answerer, engine: Direct, corpus: Corpus
) -> Report:
    """Ask ``kernel`` each step; what it cannot be asked goes to ``engine``."""
    report = Report(transcript)
    timing_decides = False
    for number, step in enumerate(transcript.steps, 1):
        if isinstance(step, Cat):
            text = kernel.cat(step.path)
            if text is None and kernel is not engine:
                report.past_the_mount += 1
                text = engine.cat(step.path)
            difference = _compare_text(step, text, timing_decides, report)
        else:
            timing_decides |= _timing_decides(step, engine.kernel)
            difference = _compare_call(step, kernel, engine, corpus, report)
        if difference is None:
            report.agreed += 1
        elif difference:
            report.differences.append(f"step {number}, {step}: {difference}")
    return report


def _timing_decides(step: CallStep, live: LiveKernel) -> bool:
    """Simultaneous calls divide between Becoming and Load by chance, where both can happen.

    Those for one inode share one load since 6.5; copies of a file never do.
    """
    release = live.config.release
    apart = len(set(step.files)) > 1 or step.op != "finit_module" or not release.idempotent
    return step.threads > 1 and release.early_check and apart


def _compare_call(
    step: CallStep, kernel: Answerer, engine: Direct, corpus: Corpus, report: Report
) -> str | None:
    """None: agrees. Empty: not compared. Else what differs."""
    keyring = engine.kernel.config.keyring
    if isinstance(keyring, AssumedKeyring):
        keyring.expect(rejected="EKEYREJECTED" in step.results)
    before = engine.kernel.statistics()
    results = _results(step, kernel.kernel, corpus)
    after = engine.kernel.statistics()
    if isinstance(keyring, AssumedKeyring) and keyring.rejected():
        report.need_key += 1
        return ""
    problems = []
    if results != step.results:
        problems.append(f"{counted(results)} instead of {step.expected}")
    deltas = (
        after.total_mod_size - before.total_mod_size,
        after.total_text_size - before.total_text_size,
    )
    if step.deltas is not None and deltas != step.deltas:
        problems.append(f"sizes grew by {deltas} instead of {step.deltas} bytes")
    return "; ".join(problems) or None


def _results(step: CallStep, kernel: SystemCalls, corpus: Corpus) -> dict[str, int]:
    """How often each result came: "OK" or an errno's name."""
    if not step.threads:
        path = None if step.file is None else corpus.path(step.file)
        return {_result(kernel, step.on(path)): 1}
    calls = [step.on(corpus.path(name)) for name in step.files]
    results: Counter[str] = Counter()
    barrier = threading.Barrier(step.threads)

    def run(call: Call) -> None:
        barrier.wait()
        results.update((_result(kernel, call),))  # one bytecode of C: safe among threads

    threads = [
        threading.Thread(target=run, args=(calls[index % len(calls)],))
        for index in range(step.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(results)


def _result(kernel: SystemCalls, call: Call) -> str:
    try:
        kernel.call(call)
    except LoadError as error:
        return error.name
    return "OK"


def _compare_text(step: Cat, text: str | None, timing_decides: bool, report: Report) -> str | None:
    if text == step.text:
        return None
    if text is None:
        return "there is no such file"
    if step.text is None:
        return f"there is such a file: {text!r}"
    if timing_decides:
        ours, theirs = sums(step.path, text), sums(step.path, step.text)
        if ours is not None and ours == theirs:
            report.by_sums += 1
            return None
    lines = difflib.unified_diff(
        step.text.splitlines(), text.splitlines(), "recorded", "here", lineterm=""
    )
    return "\n" + "\n".join(f"    {line}" for line in lines)


_SPLIT_FILES = frozenset(
    ("failed_becoming", "failed_load_modules", "invalid_becoming_bytes", "invalid_mod_bytes")
)

_SPLIT_LABELS = ("Mods failed on becoming", "Mods failed on load")
_SPLIT_BYTES = ("Failed becoming bytes", "Failed kmod bytes")
_DERIVED = ("Virtual mem wasted bytes", "Avg fail becoming bytes", "Average fail load bytes")


def sums(path: str, text: str) -> object:
    """What is left of a text when chance divides duplicates between Becoming and Load.

    The failures of both kinds together; the bytes of the files, which a load counts twice; the
    reasons only by their number. None: nothing is left of this file.
    """
    if path in _SPLIT_FILES:
        return path
    if path != "stats":
        return None
    fields = [line.split("\t") for line in text.splitlines()]
    values = {row[0].strip(): row[1] for row in fields if len(row) == 2}
    failures = sum(int(values.get(label, 0)) for label in _SPLIT_LABELS)
    becoming, load = (int(values.get(label, 0)) for label in _SPLIT_BYTES)
    rest = {
        label: value
        for label, value in values.items()
        if label not in (*_SPLIT_LABELS, *_SPLIT_BYTES, *_DERIVED)
    }
    rows = [tuple(row[:2]) for row in fields if len(row) == 3]
    return failures, 2 * becoming + load, rest, rows


def verify(
    transcript: Transcript,
    corpus: Corpus,
    config: Config,
    init_routines: InitRoutines | None = None,
    through_mount: Callable[[LiveKernel], AbstractContextManager[Answerer]] | None = None,
    exports: Mapping[str, Export] | None = None,
) -> Report:
    """Replay one transcript on a fresh engine of this ``config``, built as its modules say.

    ``exports``: what the kernel itself exports; None: whatever no module does.
    """
    if config.built_for == BuiltFor():
        config = replace(config, built_for=corpus.built_for)
        config = replace(config, ima_appraise=as_distributed(config).ima_appraise)
    if config.keyring is None:
        config = replace(config, keyring=AssumedKeyring())
    live = LiveKernel(config, tree=corpus.tree, init_routines=init_routines)
    live.kernel.exporter = corpus.exporter
    live.kernel.export_kernels(exports)
    engine = Direct(live)
    if through_mount is None:
        return compare_steps(transcript, engine, engine, corpus)
    with through_mount(live) as kernel:
        return compare_steps(transcript, kernel, engine, corpus)


def settings(
    transcript: Transcript,
    config: Config,
    built_for: BuiltFor | None = None,
    kconfig: Kconfig | None = None,
) -> Config:
    """``config`` as the recording has it: release, features, architecture, configuration.

    What the header says goes before ``kconfig``; without either what ``built_for``, the modules,
    tells of a distribution's kernels. UserError: ``kconfig`` is of another architecture.
    """
    config = replace(config, built_for=built_for or config.built_for)
    machine = MACHINES.get(transcript.machine, config.built_for.machine)
    if kconfig is None:
        config = as_distributed(config)
    else:
        kconfig.check_machine(machine, str(transcript.path))
        config = kconfig.applied(config)
    said = {name: getattr(transcript, name) for name in _HEADER}
    return replace(
        config,
        release=release(transcript.release, transcript.without),
        compression=transcript.compression or config.compression,
        machine=machine or config.machine,
        blacklist=frozenset(transcript.blacklist) or config.blacklist,
        **{name: value for name, value in said.items() if value is not None},
    )


_HEADER = ("force_load", "force_unload", "modversions")

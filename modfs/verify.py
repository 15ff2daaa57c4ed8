"""Replay recordings of booted kernels and tell every step that answers differently.

Each transcript runs on a fresh engine, either by calling it or through a real mount: requests by
its control file, texts by reading its files. What a mount cannot express (a bare descriptor, an
address that is not mapped, a file opened for writing) and what it does not show (/proc, /sys) goes
to the engine behind it and is counted apart.
"""

from __future__ import annotations

import difflib
import errno
import os
import re
import shutil
import tarfile
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import zstandard

from loader.build import learn_build
from loader.config import Build, Config
from loader.environment import Environment
from loader.errors import LoadError
from loader.image import read_image
from loader.live import Live
from loader.release import release
from loader.signature import Keyring, Signature, SignatureError
from loader.tree import Tree, module_name, read_module
from modfs import debugfs
from modfs.transcript import Call, Cat, Transcript, counted

_ADDRESS = re.compile(r"\b0x[0-9a-f]+\b")
_SAMPLE = 100  # modules of a tree that tell what it was built for
_RECORDED_ROOT = "/t"  # where the recording machines kept their files


class VerifyError(Exception):
    """The replay cannot be done; the message says why in one line."""


# -- files and modules ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Corpus:
    """The files that transcripts name: ``files/X`` and ``modules/X`` below ``root``."""

    root: Path
    tree: Tree | None
    exporters: dict[str, str]
    build: Build

    def path(self, name: str) -> Path:
        """Where a transcript's file is. VerifyError: it is not there."""
        if name.startswith("/"):
            is_root = name == _RECORDED_ROOT or not Path(name).exists()
            return self.root if is_root else Path(name)
        path = self.root / name
        if not path.exists() and self.tree and name.startswith("modules/"):
            path = self.tree.path(module_name(name)) or path  # a tree has folders
        if not path.exists():
            raise VerifyError(f"no file {name}: give it with --files or --modules")
        return path

    def exporter(self, symbol: str) -> str | None:
        """The module that exports ``symbol``: by the tree, or by the files themselves."""
        found = self.tree.exporter(symbol) if self.tree else None
        return found or self.exporters.get(symbol)


@contextmanager
def corpus(files: Path | None, modules: Path | None) -> Iterator[Corpus]:
    """Both archives or folders in one temporary folder, removed at the end.

    What the kernel was built for (vermagic, sizeof(struct module), ...) is learned from the
    modules themselves.
    """
    with tempfile.TemporaryDirectory(prefix="modfs-verify-") as name:
        root = Path(name)
        for source, folder in ((files, "files"), (modules, "modules")):
            if source is not None:
                _unpack(source, root / folder)
        tree = None
        if modules is not None:
            # Indexes may lie in the folder, or beside the archive.
            for index in ("modules.dep", "modules.symbols"):
                beside = modules.parent / index
                if modules.is_file() and beside.exists():
                    shutil.copy(beside, root / "modules" / index)
            tree = Tree.open(root / "modules")
        plain = sorted((root / "files").glob("*.ko"))
        known = sorted(tree.names()) if tree else []
        sample = [tree.path(name) for name in known[:: len(known) // _SAMPLE + 1]] if tree else []
        contents = (read_module(path) for path in (*plain, *sample) if path)
        yield Corpus(root, tree, _exporters(plain), learn_build(contents))


def _unpack(source: Path, target: Path) -> None:
    if source.is_dir():
        target.symlink_to(source.resolve())
        return
    try:
        with (
            source.open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r|") as archive,
        ):
            for member in archive:
                if member.isfile():
                    _write_member(archive, member, target)
    except (zstandard.ZstdError, tarfile.TarError):
        raise VerifyError(f"{source} is neither a folder nor a tar.zst archive") from None


def _write_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """One file of an archive; extractall's filters came only with Python 3.11.4."""
    path = (target / member.name).resolve()
    if not path.is_relative_to(target.resolve()):
        raise VerifyError(f"{member.name} would be written outside of its folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    path.write_bytes(content.read() if content else b"")


def _exporters(paths: Iterable[Path]) -> dict[str, str]:
    """Symbol -> module, from the files themselves: no index lists those made for a test."""
    found: dict[str, str] = {}
    for path in paths:
        image = read_image(path.read_bytes(), 0, Config())
        if not image.becoming_failure:
            found.update({export.name: image.name for export in image.contents.exports})
    return found


# -- signatures without a key ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AssumedKeyring(Keyring):
    """Stands in for the kernel's keys where none is given: believes what was recorded.

    The engine then goes on as the kernel did; the step itself counts as not compared.
    """

    asked: list[bool] = field(default_factory=list)
    rejects: list[bool] = field(default_factory=lambda: [False])

    def verify(self, module: bytes, signatures: tuple[Signature, ...]) -> None:
        self.asked.append(True)
        if self.rejects[0]:
            raise SignatureError(errno.EKEYREJECTED)


# -- two ways to ask ------------------------------------------------------------------------------


class Kernel(Protocol):
    """Who answers the steps."""

    def call(self, call: Call, path: Path | None) -> str | None: ...

    def cat(self, path: str) -> str | None: ...


class Direct:
    """The engine itself."""

    def __init__(self, live: Live) -> None:
        self.live = live

    def call(self, call: Call, path: Path | None) -> str:
        """The result of one call: "OK" or an errno's name."""
        try:
            if call.op == "delete_module":
                self.live.delete_module(call.name, call.flags)
            elif call.op == "init_module":
                image = None if path is None else path.read_bytes()
                self.live.init_module(image, call.params, length=call.length)
            elif path is None:
                self.live.finit_module(-1 if call.fd is None else call.fd, call.params, call.flags)
            else:
                self._finit_module(call, path)
        except LoadError as error:
            return error.name
        return "OK"

    def _finit_module(self, call: Call, path: Path) -> None:
        fd = os.open(path, getattr(os, call.access) | os.O_CLOEXEC)
        try:
            self.live.finit_module(fd, call.params, call.flags)
        finally:
            os.close(fd)

    def cat(self, path: str) -> str | None:
        """The text of one file; None if there is no such file."""
        snapshot = self.live.snapshot()
        if path in debugfs.FILES:
            return debugfs.FILES[path].text(snapshot)
        if path == "/proc/modules":
            return _ADDRESS.sub("0x0", debugfs.proc_modules(snapshot))
        if path.startswith("/sys/module/"):
            name, _, file = path.removeprefix("/sys/module/").partition("/")
            return debugfs.sys_module(snapshot).get(name, {}).get(file)
        return None


# -- comparing ------------------------------------------------------------------------------------


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


def replay(transcript: Transcript, kernel: Kernel, engine: Direct, corpus: Corpus) -> Report:
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
            timing_decides |= _timing_decides(step, engine.live)
            difference = _compare_call(step, kernel, engine, corpus, report)
        if difference is None:
            report.agreed += 1
        elif difference:
            report.differences.append(f"step {number}, {step}: {difference}")
    return report


def _timing_decides(step: Call, live: Live) -> bool:
    """Simultaneous calls divide between Becoming and Load by chance, where both can happen."""
    release = live.config.release
    return step.threads > 1 and release.early_check and not release.idempotent


def _compare_call(
    step: Call, kernel: Kernel, engine: Direct, corpus: Corpus, report: Report
) -> str | None:
    """None: agrees. Empty: not compared. Else what differs."""
    keyring = engine.live.config.keyring
    assumed = keyring if isinstance(keyring, AssumedKeyring) else None
    if assumed:
        assumed.asked.clear()
        assumed.rejects[0] = "EKEYREJECTED" in step.results
    before = engine.live.snapshot()
    results = _results(step, kernel, engine, corpus, report)
    after = engine.live.snapshot()
    if assumed and assumed.asked and assumed.rejects[0]:
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


def _results(
    step: Call, kernel: Kernel, engine: Direct, corpus: Corpus, report: Report
) -> dict[str, int]:
    if not step.threads:
        path = None if step.file is None else corpus.path(step.file)
        result = kernel.call(step, path)
        if result is None:
            report.past_the_mount += 1
            result = engine.call(step, path)
        return {result: 1}
    paths = [corpus.path(name) for name in step.files]
    results: Counter[str] = Counter()
    barrier = threading.Barrier(step.threads)

    def run(path: Path) -> None:
        barrier.wait()
        result = kernel.call(step, path) or engine.call(step, path)
        results.update((result,))  # one bytecode of C: safe among threads

    threads = [
        threading.Thread(target=run, args=(paths[index % len(paths)],))
        for index in range(step.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return dict(results)


def _compare_text(step: Cat, text: str | None, timing_decides: bool, report: Report) -> str | None:
    if text == step.text:
        return None
    if text is None:
        return "there is no such file"
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
    environment: Environment | None = None,
    through_mount: Callable[[Live], AbstractContextManager[Kernel]] | None = None,
) -> Report:
    """Replay one transcript on a fresh engine of this ``config``, built as its modules say."""
    if config.build == Build():
        config = replace(config, build=corpus.build)
    if config.keyring is None:
        config = replace(config, keyring=AssumedKeyring())
    live = Live(config, tree=corpus.tree, environment=environment)
    live.kernel.exporter = corpus.exporter
    engine = Direct(live)
    if through_mount is None:
        return replay(transcript, engine, engine, corpus)
    with through_mount(live) as kernel:
        return replay(transcript, kernel, engine, corpus)


def settings(transcript: Transcript, config: Config) -> Config:
    """``config`` with the release, features and compression that the header names."""
    return replace(
        config,
        release=release(transcript.release, transcript.without),
        compression=transcript.compression or config.compression,
    )

"""What can be blamed: a mount, a recording, a trace, a scenario, a machine. Found by looking."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from loader.observe.recording import Recording, is_recording
from loader.observe.recording_write import lines
from loader.release import Release
from modfs.blame.events import Told
from modfs.blame.savings import Savings, of_recording
from modfs.sources.source import is_folder, read_source


class Source(NamedTuple):
    """``kind``: in a word; ``lines``: of a recording, the header first; ``savings``: what would
    help. Both may be had once."""

    kind: str
    lines: Iterable[bytes]
    savings: Callable[[], Savings]


def source_of(path: Path) -> Source:
    """What is at ``path``. OSError: cannot be read. UserError: it is none of them."""
    if is_folder(path):
        return _recorded("mount", read_source(path))
    if path.suffix == ".toml":
        return _machine(path)
    if is_recording(path):
        return Source("recording", _read(path), lambda: of_recording(Recording.read(path)))
    if _is_json(path):
        return _scenario(path)
    return _recorded("trace", read_source(path))


def whole(path: Path) -> Recording:
    """The same as one recording, for who needs all of it at once. OSError, UserError."""
    if is_folder(path) or is_recording(path):
        return read_source(path)
    return Recording.parse(b"".join(source_of(path).lines), str(path))


def _read(path: Path) -> Iterable[bytes]:
    with path.open("rb", buffering=1 << 20) as file:
        yield from file


def _is_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4096).lstrip().startswith((b"{", b"#"))


def _recorded(kind: str, recording: Recording) -> Source:
    text = lines(recording.header, [*recording.before, *recording.texts], recording.items, 0)
    return Source(kind, text, lambda: of_recording(recording))


def _scenario(path: Path) -> Source:
    from loader.simulate.replay import replay_virtual
    from loader.simulate.scenario import Scenario

    scenario, told = Scenario.read(path), Told()
    replay_virtual(scenario, told.listener)
    recording = told.recording(scenario.config.release)

    def on(release: Release) -> int:
        other = replace(scenario, kernel=release.name, without=release.without)
        return replay_virtual(other)[0].wasted_bytes

    source = _recorded("scenario", recording)
    return source._replace(savings=lambda: of_recording(recording, on))


def _machine(path: Path) -> Source:
    from modfs.blame.machines import boot_told, savings

    made = boot_told(path)
    source = _recorded("machine", made.recording)
    return source._replace(savings=lambda: savings(made))

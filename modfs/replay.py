"""Replay a scenario in real time: each actor is a thread that makes its requests on time."""

from __future__ import annotations

import errno
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from loader.engine.stats import Snapshot
from loader.engine.threads import LiveKernel
from loader.errors import UserError
from loader.simulate.scenario import Scenario, TimedCall

_ACTORS = 4096  # threads at once
Answers = list[tuple[TimedCall, int]]  # requests as they ended, each with its errno or 0
Perform = Callable[[TimedCall, Path], None]


def replay_live(scenario: Scenario) -> tuple[Snapshot, Answers]:
    """Replay with a fresh engine on threads: what it shows at the end, and the answers.

    OSError: the described modules cannot be written. UserError: too many actors.
    """
    live = LiveKernel(scenario.config, environment=scenario.environment)

    def perform(request: TimedCall, file: Path) -> None:
        if request.load:
            live.finit_module(file, request.params, request.flags)
        else:
            live.delete_module(request.unload)

    answers = _run(scenario, perform)
    return live.snapshot(), answers


def replay_mount(scenario: Scenario, mount: Path) -> tuple[str, Answers]:
    """Replay with the engine of a mount: its ``stats`` at the end, and the answers.

    What kernel it is, and how long its init routines take, is the mount's matter. OSError: the
    described modules cannot be written, or this is no mount. UserError: too many actors.
    """
    control = mount / "control"
    os.stat(control)  # no actor need start if it is not there

    def perform(request: TimedCall, file: Path) -> None:
        fd = os.open(control, os.O_WRONLY)
        try:
            os.write(fd, f"{_line(request, file)}\n".encode())
        finally:
            os.close(fd)

    answers = _run(scenario, perform)
    return (mount / "stats").read_text(), answers


def _line(request: TimedCall, file: Path) -> str:
    """The request in the grammar of modfs.control."""
    if request.unload:
        return f"delete_module {shlex.quote(request.unload)}"
    words = ["finit_module", shlex.quote(str(file.absolute())), f"flags={request.flags}"]
    return " ".join([*words, *map(shlex.quote, request.params.split())])


def _run(scenario: Scenario, perform: Perform) -> Answers:
    actors = scenario.by_actor()
    if len(actors) > _ACTORS:
        problem = f"{len(actors)} actors are too many for real time: at most {_ACTORS}"
        raise UserError(problem, status=1)
    answers: Answers = []
    with TemporaryDirectory(prefix="modfs-replay-") as folder:
        made = scenario.write_modules(Path(folder))
        start = time.monotonic() + 0.1  # by then every thread runs
        threads = [
            threading.Thread(
                target=_act, args=(scenario, requests, made, perform, start, answers), daemon=True
            )
            for requests in actors.values()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return answers


def _act(
    scenario: Scenario,
    requests: Iterable[TimedCall],
    made: Mapping[str, Path],
    perform: Perform,
    start: float,
    answers: Answers,
) -> None:
    for request in requests:
        left = start + request.at - time.monotonic()
        if left > 0:
            time.sleep(left)
        number = 0
        try:
            perform(request, scenario.file(request.load, made))
        except OSError as error:
            number = error.errno or errno.EIO
        answers.append((request, number))

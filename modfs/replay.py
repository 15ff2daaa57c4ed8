"""Replay a scenario in real time: each actor is a thread that makes its requests on time."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from loader.calls import SystemCalls
from loader.engine.stats import Snapshot
from loader.engine.threads import LiveKernel
from loader.errors import LoadError, UserError
from loader.simulate.scenario import Scenario, TimedCall
from modfs.control.remote import RemoteKernel

_ACTORS = 4096  # threads at once
Answers = list[tuple[TimedCall, int]]  # calls as they ended, each with its errno or 0


def replay_live(scenario: Scenario) -> tuple[Snapshot, Answers]:
    """Replay with a fresh engine on threads: what it shows at the end, and the answers.

    OSError: the described modules cannot be written. UserError: too many actors.
    """
    live = LiveKernel(scenario.config, init_routines=scenario.init_routines)
    answers = _run(scenario, live)
    return live.snapshot(), answers


def replay_mount(scenario: Scenario, mount: Path) -> tuple[str, Answers]:
    """Replay with the engine of a mount: its ``stats`` at the end, and the answers.

    What kernel it is, and how long its init routines take, is the mount's matter. OSError: the
    described modules cannot be written, or this is no mount. UserError: too many actors.
    """
    answers = _run(scenario, RemoteKernel(mount))
    return (mount / "stats").read_text(), answers


def _run(scenario: Scenario, kernel: SystemCalls) -> Answers:
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
                target=_act, args=(scenario, calls, made, kernel, start, answers), daemon=True
            )
            for calls in actors.values()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return answers


def _act(
    scenario: Scenario,
    calls: Iterable[TimedCall],
    made: Mapping[str, Path],
    kernel: SystemCalls,
    start: float,
    answers: Answers,
) -> None:
    for timed in calls:
        left = start + timed.at - time.monotonic()
        if left > 0:
            time.sleep(left)
        number = 0
        try:
            kernel.call(scenario.real(timed.call, made))
        except LoadError as error:
            number = error.errno or errno.EIO
        answers.append((timed, number))

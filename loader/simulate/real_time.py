"""Replays a scenario in real time: each actor is a thread that makes its calls on time."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from loader.calls import Kernel, RequestModule
from loader.engine.threads import LiveKernel
from loader.errors import LoadError, UserError
from loader.simulate.scenario import Scenario, TimedCall
from loader.tree.tree import Tree

_ACTORS = 4096  # threads at once
Answers = list[tuple[TimedCall, int]]  # calls as they ended, see replay_virtual


def replay_in_real_time(scenario: Scenario, kernel: Kernel) -> Answers:
    """Ask ``kernel``, each actor in a thread; the calls as they ended, each with its errno or 0.

    Which kernel that is, and how long its init routines take, is its own matter. OSError: the
    described modules cannot be written. UserError: too many actors.
    """
    actors = scenario.by_actor()
    if len(actors) > _ACTORS:
        problem = f"{len(actors)} actors are too many for real time: at most {_ACTORS}"
        raise UserError(problem, status=1)
    answers: Answers = []
    with TemporaryDirectory(prefix="modfs-replay-") as folder:
        made = scenario.write_modules(Path(folder))
        if isinstance(kernel, LiveKernel) and kernel.tree is None:
            kernel.use_tree(Tree.open(folder))
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
    kernel: Kernel,
    start: float,
    answers: Answers,
) -> None:
    for timed in calls:
        left = start + timed.at - time.monotonic()
        if left > 0:
            time.sleep(left)
        number = 0
        try:
            if isinstance(timed.call, RequestModule):
                number = kernel.request_module(timed.call.string, wait=timed.call.wait)
            else:
                kernel.call(scenario.real(timed.call, made))
        except LoadError as error:
            number = error.errno or errno.EIO
        answers.append((timed, number))

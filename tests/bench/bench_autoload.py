"""Requests of the kernel's own: for a name that is live, and many at once in virtual time."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from loader.config import Config
from loader.engine.clock import Events, VirtualKernel
from loader.engine.threads import LiveKernel
from loader.engine.umh import Usermodehelper
from loader.synthesize.trees import demo_tree
from loader.tree.tree import Tree
from tests.bench.harness import Row, timed

REQUESTS = 1000  # of a batch
BATCHES = 200


def rows() -> Iterable[Row]:
    with tempfile.TemporaryDirectory(prefix="modfs-bench-") as folder:
        demo_tree(Path(folder))
        live = LiveKernel(tree=Tree.open(folder))
        for string, target in (("xfs", 100_000), ("fs-xfs", 100_000)):
            live.request_module(string)
            rate = statistics.median(
                REQUESTS / _busy(partial(_ask, live, string)) for _ in range(BATCHES)
            )
            what = f"request_module {string}, which is live"
            yield Row(what, "engine API, one processor", rate, target, "a second", at_least=True)
    seconds = min(timed(_thousand) for _ in range(5))
    yield Row("1,000 requesters on 50 places", "virtual time", seconds, 1.0, "seconds")


def _busy(work: Callable[[], None]) -> float:
    """Seconds of a processor that ``work`` takes: nothing in there waits, but others compute."""
    begin = time.thread_time()
    work()
    return time.thread_time() - begin


def _ask(live: LiveKernel, string: str) -> None:
    for _ in range(REQUESTS):
        live.request_module(string)


class _Slow(VirtualKernel):
    """Its helper takes 0.2 s, so that all have their turn in the five seconds."""

    def execve(self, helper: Usermodehelper) -> Events:
        def running() -> Events:
            yield self.env.timeout(0.2)
            return 0

        return running()


def _thousand() -> None:
    kernel = _Slow(Config())
    for _ in range(1000):
        kernel.env.process(kernel.autoload.request_module("m"))
    kernel.env.run()

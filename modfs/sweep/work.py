"""Boots in parallel: in processes of this machine, or by a cluster of dask's.

Both are executors as concurrent.futures has them. No more boots are handed out at a time than keep
all workers busy. However it ends, no process of ours is left.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any

from loader.errors import UserError
from modfs.linux import PR_SET_PDEATHSIG, libc
from modfs.sweep.plan import Point
from modfs.sweep.rows import Row, boot_row

Task = tuple[Point, int]  # and its seed
_AHEAD = 2  # boots for each worker: one that it does, one that waits for it
_CONNECT = 10.0  # seconds for a scheduler to answer


def processors() -> int:
    """How many this process may run on."""
    return len(os.sched_getaffinity(0))


def rows(tasks: Iterable[Task], jobs: int, scheduler: str | None = None) -> Iterator[Row]:
    """The rows of all tasks, as they are done. ``scheduler``: the address of dask's.

    UserError: there is no such scheduler; a worker died.
    """
    if scheduler is not None:
        with _cluster(scheduler) as (executor, workers):
            yield from _each(executor, iter(tasks), workers)
    elif jobs == 1:
        for point, seed in tasks:
            yield boot_row(point, seed)
    else:
        with _processes(jobs) as executor:
            yield from _each(executor, iter(tasks), jobs)


def _each(executor: Executor, tasks: Iterator[Task], workers: int) -> Iterator[Row]:
    begun: set[Future[Row]] = set()
    try:
        while True:
            for point, seed in islice(tasks, _AHEAD * workers - len(begun)):
                begun.add(executor.submit(boot_row, point, seed))
            if not begun:
                return
            done, begun = wait(begun, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
    except BrokenProcessPool:
        raise UserError("a worker was killed: is there enough memory? fewer --jobs need less",
                        status=1) from None  # fmt: skip
    finally:
        for future in begun:
            future.cancel()


@contextmanager
def _processes(jobs: int) -> Iterator[Executor]:
    # Children of this very process, so that they end with it: a server of forks would be between.
    fork = multiprocessing.get_context("fork")
    executor = ProcessPoolExecutor(jobs, fork, initializer=_begin, initargs=(os.getpid(),))
    try:
        yield executor
    except BaseException:  # Ctrl-C among them: nobody waits for boots that are under way
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.kill()
        raise
    executor.shutdown()


def _begin(parent: int) -> None:
    """In a worker: Ctrl-C is the parent's matter, and without that there is no use in going on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


@contextmanager
def _cluster(scheduler: str) -> Iterator[tuple[Executor, int]]:
    client = _client(scheduler)
    try:
        workers = sum(client.nthreads().values())
        if not workers:
            raise UserError(f"--scheduler {scheduler}: it has no worker", status=1)
        yield client.get_executor(pure=False), workers
    finally:
        client.close()


def _client(scheduler: str) -> Any:
    """UserError: dask is not installed; nobody listens there, or no scheduler."""
    try:
        import distributed
    except ModuleNotFoundError:
        missing = "--scheduler needs the package distributed: pip install 'modfs[dask]'"
        raise UserError(missing) from None
    try:
        # A client whose scheduler is not there complains on its own, and for long.
        asyncio.run(_greet(scheduler))
        return distributed.Client(scheduler, timeout=_CONNECT, set_as_default=False)
    except TimeoutError:
        why = "what listens there does not answer as a scheduler"
    except (OSError, ValueError, TypeError) as error:
        why = str(error).partition("\n")[0] or "it does not answer"
    raise UserError(f"--scheduler {scheduler}: {why}", status=1)


async def _greet(scheduler: str) -> None:
    """OSError, ValueError: it cannot be reached."""
    from distributed.core import connect

    comm = await asyncio.wait_for(connect(scheduler, timeout=_CONNECT), 2 * _CONNECT)
    comm.abort()

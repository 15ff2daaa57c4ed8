"""Signals for modfs run, sent at every moment of its start."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.mount.conftest import wait_for
from tests.run.test_sandbox import commands_of_these_tests, nothing_is_left

PROGRAM = """
import os, signal, sys
from modfs.run import run as module
from modfs.run.server import Plan
from loader.config import Config
from loader.engine.threads import LiveKernel

fork, forks, main = os.fork, [], os.getpid()

def sent_around(when, number):
    forks.append(None)
    now = os.getpid() == main and len(forks) == 2
    if now and when == "before":
        os.kill(main, number)
    pid = fork()
    if pid and now and when == "after":
        os.kill(main, number)
    return pid

module.os.fork = lambda: sent_around(sys.argv[1], int(sys.argv[2]))
print(module.run(Plan(("sleep", "1000"), lambda: LiveKernel(Config()))))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["before", "after"])
def test_around_the_command_s_fork(
    environment: dict[str, str], when: str, number: signal.Signals
) -> None:
    """It ends the command, which has not started yet; else nobody would."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), when, str(int(number))],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (f"{-number}\n", "")
    wait_for(nothing_is_left)


def test_at_any_moment(environment: dict[str, str], tmp_path: Path) -> None:
    processes = []
    for moment in range(10):
        words = ["modfs", "run", "--", "sh", "-c", f"echo > {tmp_path}/{moment}; exec sleep 1000"]
        processes.append(subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL))
    for moment, process in enumerate(processes):
        time.sleep(moment and 0.05)
        process.send_signal(signal.SIGINT)
    for moment, process in enumerate(processes):
        status = process.wait(60)
        if status == 1:  # Python's own, from before it runs anything of ours
            assert not (tmp_path / str(moment)).exists()
        else:
            assert status in (-signal.SIGINT, 128 + signal.SIGINT)
    wait_for(lambda: b"sleep\x001000\0" not in commands_of_these_tests() and nothing_is_left())


def test_what_was_blocked_stays_blocked(environment: dict[str, str]) -> None:
    script = "grep -E 'SigBlk|SigIgn' /proc/self/status"

    def blocked(*words: str) -> str:
        return subprocess.run(
            [*words, "sh", "-c", script],
            env=environment, capture_output=True, text=True, check=True,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}),
        ).stdout  # fmt: skip

    assert blocked("modfs", "run", "--") == blocked("env")

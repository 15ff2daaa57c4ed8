"""modfs export of a mount: its counters, and who waits there."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.errors import UserError
from modfs.export.measures import DUPLICATES, FAILURES, LOADED, REQUESTS, WAITING, Measured
from modfs.export.read import measure
from modfs.mount import aside, status
from tests.mount.conftest import request, wait_for, writers
from tests.mount.test_ends import server


def test_a_mount(
    mounted: Callable[..., Path], make: Callable[..., Path], environment_file: Path
) -> None:
    mount = mounted("--environment", environment_file, "--kernel", "6.4")
    request(mount, f"insmod {make('m')}", f"insmod {make('m')}")
    with writers(mount, [f"insmod {make('stuck')}"]):
        wait_for(lambda: status.ask(str(mount))["waiting"])
        measured = measure(mount, 5)
        os.kill(server(mount), signal.SIGTERM)
    # do_init_module counts a module when its init has succeeded, so not the one that is stuck
    assert measured.samples[LOADED][()] == 1
    assert measured.samples[FAILURES]["becoming",] == 1
    assert measured.samples[DUPLICATES] == {("m",): 1}
    assert measured.samples[REQUESTS][()] == 2  # the third is not done
    assert measured.samples[WAITING][()] == 1


def test_a_server_that_is_stopped(
    mounted: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = mounted()
    os.kill(process := server(mount), signal.SIGSTOP)
    try:
        with monkeypatch.context() as hurried:
            hurried.setattr(aside, "ANSWER_SECONDS", 1.0)
            with pytest.raises(UserError, match="its server does not answer"):
                measure(mount, 5)
    finally:
        os.kill(process, signal.SIGCONT)
    assert isinstance(measure(mount, 5), Measured)

"""The soak itself is `make soak`; that it runs, and finds what is wrong, is tested here."""

from __future__ import annotations

import errno
import os

import pytest

from tests.soak.__main__ import soak_once
from tests.soak.disturbances import DISTURBANCES
from tests.soak.records import Record, Sums
from tests.soak.requests import BULK, FAILED, LOADED

QUICK = ("clients killed", "server stopped")


@pytest.mark.skipif(os.geteuid() != 0, reason="the soak needs root")
def test_a_short_one(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    quick = tuple(one for one in DISTURBANCES if one.name in QUICK)
    monkeypatch.setattr("tests.soak.soak.DISTURBANCES", quick)
    monkeypatch.setattr("tests.soak.disturbances._SECONDS", 1.0)
    status = soak_once(minutes=0.02, modules=20, writers=2, readers=1)
    said = capfd.readouterr().out
    assert status == 0, said
    assert "violations" in said


def test_an_answer_too_many_is_noticed() -> None:
    record, sums = Record(), Sums()
    for kind, number in (("insmod", 0), ("insmod", errno.EEXIST), ("bulk", errno.ENOEXEC)):
        record.begin(kind)
        record.end(kind, number)
    record.begin("slow")
    record.lose()  # killed: nobody knows
    record.begin("rmmod")
    record.end("rmmod", errno.EIO)
    sums.add(record)
    assert sums.wrong == {"rmmod: EIO": 1}
    assert (sums.least[LOADED], sums.most[LOADED]) == (1, 2)
    assert (sums.least[FAILED], sums.most[FAILED]) == (1 + BULK, 2 + BULK)


def test_a_server_without_memory_has_no_way_to_answer_well() -> None:
    record, sums = Record(), Sums()
    record.begin("insmod")
    record.end("insmod", errno.ENOMEM)
    sums.add(record, frozenset({errno.ENOMEM}))
    assert not sums.wrong
    assert (sums.most[LOADED], sums.most[FAILED]) == (1, 1)


def test_a_request_that_found_no_thread_did_nothing() -> None:
    record, sums = Record(), Sums()
    for kind in ("insmod", "rmmod"):
        record.begin(kind)
        record.end(kind, errno.EAGAIN)
    sums.add(record, frozenset({errno.EAGAIN}))
    assert not sums.wrong
    assert not any(sums.most.values())

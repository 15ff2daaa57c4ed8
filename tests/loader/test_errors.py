"""Errors: numbers with the names and texts that the C library gives them."""

from __future__ import annotations

import errno
import os

import pytest

from loader.errors import Failure, LoadError, UserError

NUMBERS = sorted(errno.errorcode)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_errno_is_an_oserror_of_that_number(number: int) -> None:
    error = LoadError(number)
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror) == (number, os.strerror(number))
    assert getattr(errno, error.name) == number
    assert Failure(number).name == error.name and Failure(number).message == os.strerror(number)


def test_a_number_that_has_no_name() -> None:
    """ENOPARAM of the kernel's own, for instance, which never leaves it."""
    assert LoadError(519).name == Failure(519).name == "519"
    assert LoadError(519).strerror == Failure(519).message == os.strerror(519)


def test_a_failure_tells_what_the_kernel_logs() -> None:
    found = Failure(errno.ENOEXEC, ("one", "two"))
    assert found.message == "Exec format error: one: two"
    assert found == (errno.ENOEXEC, ("one", "two"))


def test_a_users_mistake_ends_a_command_with_2_unless_told_otherwise() -> None:
    assert (str(UserError("what")), UserError("what").status) == ("what", 2)
    assert UserError("what", status=1).status == 1
    assert isinstance(UserError("what"), ValueError)

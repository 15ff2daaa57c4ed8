"""What a fuzzer is: how an input is made of chance, and what must hold for it."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fuzz.mutate import Chance


@dataclass(frozen=True, slots=True)
class Target:
    """One fuzzer.

    ``make``: an input, a value that can be pickled. ``check``: how it was answered, in a word such
    as "ok" or "ENOEXEC"; whatever it raises is a finding. ``examples``: how many `make test` tries.
    """

    name: str
    make: Callable[[Chance], Any]
    check: Callable[[Any], str]
    examples: int

    def input(self, seed: int, number: int) -> Any:
        """The input of that number in the run with that seed."""
        return self.make(random.Random(f"{self.name} {seed} {number}"))


# -- the errnos that a kernel gives (docs/behaviour.md) -------------------------------------------

_READING = {"EINVAL", "ETXTBSY", "EFBIG", "ENOMEM", "EIO"}
_SIGNATURE = {"EBADMSG", "EKEYREJECTED"}
_EARLY = {"EPERM", "ENOEXEC"}
_LOAD = {"ENOENT", "EINVAL", "EBUSY", "EFAULT", "ENOEXEC", "ENOMEM", "EPERM", "ERANGE", "ENOSPC"}
_DUPLICATE = {"EEXIST", "EBUSY"}

ERRNOS: dict[str, frozenset[str]] = {
    "decompress": frozenset({"EINVAL", "ENOMEM", "EOPNOTSUPP"}),  # 2.5
    "becoming": frozenset(_SIGNATURE | _EARLY),  # 2.6 to 2.8
    "signature": frozenset(_SIGNATURE),  # 2.6
    "pkcs7": frozenset({"EBADMSG", "EKEYREJECTED", "ENOPKG"}),  # 2.6
    "layout": frozenset({"ENOEXEC"}),  # 2.9
    "parameters": frozenset({"EINVAL", "ERANGE", "ENOSPC"}),  # 2.10
    "finit_module": frozenset(  # 2.1 to 2.10
        {"EBADF", "EOPNOTSUPP"} | _READING | _SIGNATURE | _EARLY | _DUPLICATE | _LOAD
    ),
    "init_module": frozenset({"EFAULT"} | _SIGNATURE | _EARLY | _DUPLICATE | _LOAD),
    "delete_module": frozenset({"EFAULT", "ENOENT", "EAGAIN", "EBUSY", "EPERM"}),  # 2.12
}


def answer(parser: str, number: int) -> str:
    """An errno's name. AssertionError: no kernel gives that there."""
    name = errno.errorcode.get(number, str(number))
    assert name in ERRNOS[parser], f"{parser} answered {name}"
    return name

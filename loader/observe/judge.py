"""What a call amounts to: which failure it was, of how many bytes, and what of it is not known.

The kernel has decided; here its decision is read off the events, by the rules of
docs/behaviour.md. Each fact has a second source where there is one, and a gap where there is none.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from loader.calls import KNOWN_FLAGS, MODULE_INIT_COMPRESSED_FILE
from loader.observe.call import (
    BECOMING,
    DECOMPRESS,
    INIT_FAILED,
    KEPT,
    KREAD,
    LIVE,
    LOAD,
    REFUSED,
    REMOVED,
    SHARED,
    UNKNOWN,
    ObservedCall,
    ObservedFile,
)
from loader.observe.details import (
    clen_of,
    counted_at,
    first,
    is_compressed,
    is_duplicate,
    length_of,
    memory_of,
    name_gap,
    name_of,
    results,
)
from loader.observe.events import ALLOCATORS, RETURN
from loader.observe.files import Files
from loader.observe.underway import Underway
from loader.release import Release

EXIT, DIED, CUT = "exit", "died", "cut"
"""How a call came to its end: its system call returned, its task ended, nothing more was seen."""

_INTERRUPTED = {errno.EINTR, 512, 513, 514, 516}  # and ERESTARTSYS with its kin


class Judge:
    """``release``: by whose rules. ``kinds``: of all events that may come."""

    def __init__(self, release: Release, kinds: Iterable[str]) -> None:
        self._release = release
        self.kinds = set(kinds)
        self._files = Files()
        self._last_ends: dict[int | None, int] = {}  # of loads, by their result

    def judge(
        self, load: Underway, how: str, end: float | None, others: Iterable[Underway]
    ) -> ObservedCall:
        """The call, now that it has ended ``how`` at ``end``; ``others`` are under way."""
        gaps: list[str] = []
        if load.call is None or load.begin is None:
            gaps.append("begin")
        if load.call == "delete_module":
            return self._removal(load, how, end, gaps)
        outcome = self._outcome(load, how, others, gaps)
        self._note_owner(load)
        known = self._files.known(load)
        name = name_of(load, known)
        duplicate = outcome in (BECOMING, LOAD) and is_duplicate(load)
        if outcome in (BECOMING, LOAD, LIVE) and load.load_n is None and how == EXIT:
            gaps.append("returns")
        length = length_of(load, known, outcome, gaps)
        clen = clen_of(load, outcome, gaps)
        if duplicate:
            gaps += name_gap(load, known, name)
        memory = memory_of(load, known, outcome, gaps)
        self._files.learn(load, load.found or load.laid_out_name, memory=outcome == LIVE)
        return ObservedCall(
            n=counted_at(load, outcome),
            call=load.call or ("finit_module" if load.read_n is not None else "init_module"),
            task=load.task,
            outcome=outcome,
            begin=load.begin,
            end=end if how == EXIT else None,
            result=_errno(first(load.result, load.from_file, load.load_return)),
            flags=load.flags,
            params=load.params,
            file=ObservedFile(load.file, load.dev, load.ino, load.size),
            argument=load.argument,
            read=load.read,
            length=length,
            clen=clen,
            module=name,
            taints=load.taints,
            memory=memory,
            phases=load.phases,
            duplicate=duplicate,
            duplicate_n=first(load.find_n, load.load_n, load.n) if duplicate else None,
            gaps=tuple(gaps),
        )

    # -- removal ----------------------------------------------------------------------------------

    def _removal(
        self, call: Underway, how: str, end: float | None, gaps: list[str]
    ) -> ObservedCall:
        outcome = UNKNOWN
        if call.module_freed is not None or call.result == 0:
            outcome = REMOVED
        elif call.result is not None:
            outcome = KEPT
        elif how == DIED:
            gaps.append("died")
        else:
            gaps.append("end")
        return ObservedCall(
            n=first(call.module_freed_n, call.n) or 0,
            call="delete_module",
            task=call.task,
            outcome=outcome,
            begin=call.begin,
            end=end if how == EXIT else None,
            result=_errno(call.result),
            flags=call.flags,
            module=call.module_freed or call.found,
            gaps=tuple(gaps),
        )

    # -- which failure it was ---------------------------------------------------------------------

    def _outcome(
        self, load: Underway, how: str, others: Iterable[Underway], gaps: list[str]
    ) -> str:
        if load.init_entered:
            return _ended(first(load.init_return, *results(load)), how, gaps)
        if load.entered:
            return self._of_load_module(load, how, gaps)
        if load.unpacked_seen or (load.read is not None and load.read >= 0):
            return self._before_load_module(load, how, gaps)
        if load.read is not None:
            return KREAD
        if load.call == "init_module":
            return _copied(load, how, gaps)
        return self._nothing_read(load, how, others, gaps)

    def _of_load_module(self, load: Underway, how: str, gaps: list[str]) -> str:
        result = first(*results(load))
        if result is None or load.module_loaded is not None:
            return _ended(result, how, gaps)
        if result >= 0:
            gaps.append("result")  # load_module does not succeed without do_init_module
            return UNKNOWN
        if load.has_memory:
            return LOAD
        if load.failed_allocation:
            return BECOMING
        if load.laid_out:
            # Nothing but memory can be wanting between layout_symtab and the list.
            if result == -errno.ENOMEM:
                gaps.append("phase")
                return BECOMING
            return LOAD
        laying_out = {"layout_symtab", *(name + RETURN for name in ALLOCATORS)}
        if not laying_out & self.kinds:
            gaps.append("phase")
        return BECOMING

    def _before_load_module(self, load: Underway, how: str, gaps: list[str]) -> str:
        """The file was read, but load_module not entered: not unpacked, or refused afterwards."""
        result = first(load.from_file, load.result)
        if load.unpacked is not None and load.unpacked < 0:
            return DECOMPRESS
        if result is None:
            return _ended(None, how, gaps)
        if result >= 0 or not is_compressed(load):
            gaps.append("result")
            return UNKNOWN
        if load.unpacked == 0:
            return KREAD  # what was unpacked did not please a security module (6.19 and later)
        if "module_decompress" + RETURN in self.kinds or -result in (errno.EPERM, errno.EACCES):
            gaps.append("decompress")
        return DECOMPRESS

    def _nothing_read(
        self, load: Underway, how: str, others: Iterable[Underway], gaps: list[str]
    ) -> str:
        result = first(load.from_file, load.result)
        if result is None:
            return _ended(None, how, gaps)
        if load.begin is None:  # only its end was seen
            gaps.append("stray")
            return UNKNOWN
        flags = load.flags or 0
        if result == -errno.EPERM or (result == -errno.EINVAL and flags & ~KNOWN_FLAGS):
            return REFUSED
        if result == -errno.EBADF:
            return REFUSED if self._release.kread_errno_not_counted else KREAD
        if load.from_file_seen:
            return self._unseen_read(result, flags, gaps)
        if self._release.idempotent and (
            -result in _INTERRUPTED or self._has_owner(load, result, others)
        ):
            return SHARED
        gaps.append("between" if result < 0 else "result")
        return UNKNOWN

    def _unseen_read(self, result: int, flags: int, gaps: list[str]) -> str:
        """init_module_from_file was seen to return: it read the file itself."""
        if result >= 0:
            gaps.append("result")
            return UNKNOWN
        if flags & MODULE_INIT_COMPRESSED_FILE:
            gaps.append("decompress")
        return KREAD

    # -- loads that others waited for -------------------------------------------------------------

    def _note_owner(self, load: Underway) -> None:
        """Remember the result of a load for those who still wait for it."""
        if _is_owner(load):
            result = first(load.result, load.from_file, load.load_return)
            self._last_ends[result] = load.n

    def _has_owner(self, load: Underway, result: int, others: Iterable[Underway]) -> bool:
        """Was there a load meanwhile that ended like this call, or may do so?"""
        for known in (result, None):
            if self._last_ends.get(known, -1) >= load.first_n:
                return True
        return any(
            first(other.result, other.from_file, other.load_return) in (result, None)
            for other in others
            if other is not load and _is_owner(other)
        )


def _is_owner(load: Underway) -> bool:
    """It did the work itself."""
    return load.read_n is not None or load.entered


def _errno(result: int | None) -> int | None:
    return None if result is None else max(0, -result)


def _ended(result: int | None, how: str, gaps: list[str]) -> str:
    """The end of a load that got to its init, or one of which no result was seen."""
    if result is None:
        gaps.append("died" if how == DIED else "end")
        return UNKNOWN
    return INIT_FAILED if result < 0 else LIVE


def _copied(load: Underway, how: str, gaps: list[str]) -> str:
    """init_module that did not get to load_module: copy_module_from_user failed."""
    if load.result is None:
        return _ended(None, how, gaps)
    if load.result >= 0 or load.begin is None:
        gaps.append("result" if load.result >= 0 else "stray")
        return UNKNOWN
    return REFUSED if load.result == -errno.EPERM else KREAD

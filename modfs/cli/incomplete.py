"""What verbs say, and how they end, where not all of a recording is known."""

from __future__ import annotations

import sys

from loader.observe.account import Account
from loader.observe.recording import Recording
from loader.observe.replay import account
from modfs.cli.statuses import DONE, FAILED, complain
from modfs.observed import gaps


def told(recording: Recording) -> int:
    """Tell what is not known of a whole recording; the exit status."""
    return told_of(account(recording))


def told_of(counted: Account) -> int:
    """Tell what is not known of what was counted; the exit status."""
    if not counted.gaps:
        return DONE
    affected = counted.gaps.affected()
    told = "the numbers may be wrong" if affected else "the numbers could be told all the same"
    complain(f"not all was seen; {told}")
    sys.stderr.write(gaps(counted.gaps))
    return FAILED

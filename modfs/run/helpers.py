"""Where the helpers of ``modfs run`` run: in the sandbox, with their module calls caught.

They are no children of the command, as a kernel's are none of whoever made it ask.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping

from loader.engine.threads import LiveKernel
from loader.errors import UserError, in_words
from modfs.run import sandbox, seccomp
from modfs.run.autoload import Autoload
from modfs.run.caught import Rules
from modfs.run.intercept import Answerer, Supervisor
from modfs.run.keeper import Keeper
from modfs.run.kthreadd import Kthreadd
from modfs.run.own_views import OwnViews


def start_kthreadd(keeper: Keeper, caught: Rules | None = None) -> Kthreadd:
    """Fork it, from a process of one thread in the sandbox's user namespace. UserError: calls
    cannot be caught. ``caught``: more calls of helpers that are."""

    def prepare() -> tuple[int]:
        # All but the user namespace, where it is already: the mounts, which the server never sees.
        places = [place for name, place in keeper.namespaces.items() if name != "user"]
        sandbox.join(places, keeper.root)
        return (seccomp.install(caught),)

    try:
        return Kthreadd(prepare)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise UserError(sandbox.NESTED) from None
        raise UserError(f"calls cannot be caught: {in_words(error)}") from None


def serve_helpers(
    kthreadd: Kthreadd,
    live: LiveKernel,
    own: OwnViews,
    autoload: Autoload | None = None,
    others: Mapping[str, Answerer] | None = None,
) -> None:
    """Have ``live`` start its helpers there, and answer their calls."""
    live.autoload.programs = kthreadd
    supervisor = Supervisor(kthreadd.descriptors[0], live, own, autoload, kthreadd.asked_by, others)
    threading.Thread(target=supervisor.run, daemon=True).start()

"""What becomes of one call: its steps leave here what is told of it when it is over.

This is what the kernel itself knows of a call, gathered at the least cost, for there are millions:
words are found when somebody reads them (loader.observe.of_engine).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from loader.calls import Call, FinitModule, InitModule, Origin
from loader.engine.outcomes import KEPT, REFUSED
from loader.engine.state import Kernel
from loader.errors import LoadError
from loader.image.module_image import Facts

_PARAMS_KEPT = 4096  # characters: a program may give a mebibyte

Now = Callable[[], float]


class Course:
    """One call. What it does not come to stays as it is here.

    ``bytes``: of memory that it holds for the file's contents, given back at its end; ``peak``: the
    most that it held, memory of its own included. ``n``, ``noticed``: numbers of the moments when
    it was counted, and found to be a duplicate; the kernel numbers all such moments. Times are in
    seconds by ``now``: when a step was over, or began. ``waited_for``: the number of the task whose
    load it waited for.
    """

    outcome = REFUSED
    n = 0
    bytes = peak = 0
    end = 0.0
    errno = 0
    argument: int | None = None
    cookie: Hashable = None
    facts: Facts | None = None
    noticed: int | None = None
    reason = ""
    taints = ""
    read: float | None = None
    unpacked: float | None = None
    laid_out: float | None = None
    allocated: float | None = None
    init: float | None = None
    initialized: float | None = None
    waited = 0.0
    waited_for: int | None = None
    goes_on = False

    def __init__(self, kernel: Kernel, call: Call, origin: Origin, now: Now) -> None:
        self.kernel = kernel
        self.call = call
        self.origin = origin
        self.now = now
        self.begin = now()

    # -- memory -----------------------------------------------------------------------------------

    def take(self, size: int) -> None:
        """LoadError: ENOMEM."""
        kernel = self.kernel
        with kernel.lock:
            kernel.memory.take(size)
        held = self.bytes = self.bytes + size
        if held > self.peak:
            self.peak = held

    def vmalloc(self, size: int) -> None:
        """Memory of the module's own. LoadError: ENOMEM."""
        self.kernel.vmalloc(size)
        self.peak = max(self.peak, self.bytes + size)

    def give(self, size: int) -> None:
        """Give some of the file's back."""
        self.bytes -= size
        kernel = self.kernel
        with kernel.lock:
            kernel.memory.give(size)

    def give_all(self) -> None:
        """Give back what is left."""
        if self.bytes:
            self.give(self.bytes)

    # -- what it comes to -------------------------------------------------------------------------

    def counted(self, outcome: str, n: int) -> None:
        """The kernel has counted it as that."""
        self.outcome = outcome
        self.n = n

    def failed(self, error: LoadError) -> None:
        """It ends with that."""
        self.errno = error.errno or 0
        self.noticed = error.noticed
        self.reason = error.reason

    def close(self) -> None:
        """It is over: hold nothing but what will be told."""
        self.end = self.now()
        call = self.call
        if type(call) is not FinitModule or call.params:
            self._shorten(call)
        if not self.n:
            self.n = self.kernel.next_n()

    def _shorten(self, call: Call) -> None:
        if isinstance(call, FinitModule):
            self.call = call._replace(params=(call.params or "")[:_PARAMS_KEPT])
        elif isinstance(call, InitModule):
            self.call = InitModule(None, call.params and call.params[:_PARAMS_KEPT], call.length)
        elif self.outcome == REFUSED:
            self.outcome = KEPT

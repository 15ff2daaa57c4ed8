"""What no loader can know from a module's file: how its init routine behaves on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loader.engine.module import InitResult
from loader.words import canonical


@dataclass(frozen=True, slots=True)
class InitRoutine:
    """One module's init.

    ``seconds``: how long it takes. ``returns``: 0, a negative errno or a positive number. ``when``:
    "NAME=TEXT", it returns that only with the parameter so set. ``unless_loaded``: it returns that
    only while none of these modules is loaded. ``references``: references then held on the module
    itself. ``holds``: other modules on each of which it then holds one.
    """

    seconds: float = 0.0
    returns: int = 0
    when: str | None = None
    unless_loaded: tuple[str, ...] = ()
    references: int = 0
    holds: tuple[str, ...] = ()

    def result(self, values: Mapping[str, str], loaded: Callable[[str], bool]) -> InitResult:
        """What it returns, given its parameters' texts and which modules are loaded."""
        if self.when is not None:
            name, _, text = self.when.partition("=")
            if values.get(name) != text:
                return InitResult()
        if any(loaded(name) for name in self.unless_loaded):
            return InitResult()
        return InitResult(self.returns, self.references, self.holds)


_DEFAULT = InitRoutine()


class InitRoutines:
    """Init routines by module name; those not named take no time and succeed."""

    def __init__(self, routines: Mapping[str, InitRoutine] | None = None) -> None:
        self._routines = {canonical(name): one for name, one in (routines or {}).items()}

    def of(self, name: str) -> InitRoutine:
        """The init routine of module ``name``."""
        return self._routines.get(name, _DEFAULT)

    def set(self, name: str, routine: InitRoutine) -> None:
        """From now on module ``name`` behaves like ``routine``."""
        self._routines[canonical(name)] = routine

"""Parameters as files declare them: of a recorded module, and of made ones with known values."""

from __future__ import annotations

import pytest

from loader.config import Config
from loader.image.module_image import read_image
from loader.image.parameters import Parameter
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.spec import ParameterSpec as Declared


def parameters(data: bytes) -> dict[str, Parameter]:
    return read_image(data, 0, Config()).contents.parameters


@pytest.mark.parametrize(
    ("declared", "text"),
    [
        (Declared("p", "int", default=-5), "-5"),
        (Declared("p", "uint", default=7), "7"),
        (Declared("p", "ulong", default=1 << 40), str(1 << 40)),
        (Declared("p", "byte"), "0"),
        (Declared("p", "bool", default=1), "Y"),
        (Declared("p", "bool"), "N"),
        (Declared("p", "charp", default="text"), "text"),
        (Declared("p", "charp"), "(null)"),
    ],
)
def test_values_before_anything_is_set(declared: Declared, text: str) -> None:
    found = parameters(build_module(ModuleSpec("m", parameters=(declared,))))["p"]
    assert (found.type, found.mode, found.default) == (declared.type, declared.mode, text)


def test_strings() -> None:
    declared = Declared("p", "string", max=12)
    found = parameters(build_module(ModuleSpec("m", parameters=(declared,))))["p"]
    assert (found.max_elements, found.default) == (12, "")


def test_arrays() -> None:
    declared = Declared("p", "array of int", max=4, mode=0o400)
    found = parameters(build_module(ModuleSpec("m", parameters=(declared,))))["p"]
    assert (found.max_elements, found.mode) == (4, 0o400)


# -- set functions of a module's own --------------------------------------------------------------


def own(module: str, name: str, type: str = "int") -> Parameter:
    declared = Declared(name, type, default=5, own=True)
    return parameters(build_module(ModuleSpec(module, parameters=(declared,))))[name]


def test_what_modinfo_does_not_tell_is_found() -> None:
    """module_param_cb: no parmtype; its name, mode and type are in __param alone."""
    found = own("some", "depth", "uint")
    assert (found.name, found.type, found.mode, found.default) == ("depth", "uint", 0o644, "5")
    assert found.own_set and found.check is None


def test_what_it_takes_is_known_of_some() -> None:
    found = own("loop", "hw_queue_depth")
    assert found.check is not None and (found.check.type, found.check.low) == ("int", 1)


def test_the_kernel_s_own_functions_are_none_of_the_module_s() -> None:
    """The same name in the table, but the file says that the kernel's function sets it."""
    declared = Declared("max_loop", "int")
    found = parameters(build_module(ModuleSpec("loop", parameters=(declared,))))["max_loop"]
    assert (found.own_set, found.check) == (False, None)

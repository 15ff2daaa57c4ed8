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

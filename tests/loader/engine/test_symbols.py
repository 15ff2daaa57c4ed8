"""Who exports a symbol, and who may use it (behaviour.md sections 2.10 and 5)."""

from __future__ import annotations

import errno

import pytest

from loader.engine.log import KernelLog
from loader.engine.module import COMING, GOING, Module
from loader.engine.symbols import Symbols
from loader.errors import LoadError
from loader.image.contents import Export
from tests.loader.engine.images import CLEAN, module


def exporter(*exports: Export, name: str = "owner", state: str = "live") -> Module:
    return module(name, state, exports=exports)


def used(user: Module, owner: Module, export: Export, log: KernelLog | None = None) -> object:
    return Symbols(log or KernelLog()).use(user, owner, export)


def test_symbols_are_found_while_their_module_is_there() -> None:
    symbols, owner = Symbols(KernelLog()), exporter(Export("a"), Export("b"))
    assert symbols.find("a") is None
    symbols.add(owner)
    assert symbols.find("a") == (owner, Export("a"))
    symbols.remove(owner)
    assert symbols.find("a") is symbols.find("b") is None


def test_none_is_exported_twice() -> None:
    log = KernelLog()
    symbols, owner = Symbols(log), exporter(Export("b"))
    symbols.add(owner)
    second = exporter(Export("a"), Export("b"), name="second")
    with pytest.raises(LoadError) as caught:
        symbols.add(second)
    assert caught.value.errno == errno.ENOEXEC
    assert log.lines() == ("second: exports duplicate symbol b (owned by owner)",)
    assert symbols.find("a") is None  # of one that is refused nothing is seen
    symbols.remove(second)
    assert symbols.find("b") == (owner, Export("b"))


def test_a_user_holds_one_reference_however_many_symbols_it_uses() -> None:
    user, owner = module("user"), exporter(Export("a"), Export("b"))
    assert used(user, owner, Export("a")) is None
    assert used(user, owner, Export("b")) is None
    assert (owner.sources, user.targets, owner.refcount) == ([user], [owner], 1)


@pytest.mark.parametrize(("state", "answer"), [(COMING, "the owner"), (GOING, errno.ENOENT)])
def test_an_owner_that_is_not_live_is_not_used(state: str, answer: object) -> None:
    user, owner = module("user"), exporter(Export("a"), state=state)
    assert used(user, owner, Export("a")) == (owner if state == COMING else answer)
    assert owner.sources == []


# -- licences -------------------------------------------------------------------------------------


def test_gpl_only_symbols_are_not_there_for_proprietary_modules() -> None:
    user, owner = module("user"), exporter()
    user.taints = {"P"}
    assert used(user, owner, Export("a", gpl=True)) == errno.ENOENT
    assert used(user, owner, Export("a")) is None


def test_who_uses_a_proprietary_modules_symbols_becomes_proprietary() -> None:
    user, owner, log = module("user"), exporter(name="owner"), KernelLog()
    owner.taints = {"P"}
    assert used(user, owner, Export("a"), log) is None
    assert user.taints == {"P"}
    assert "inheriting taint" in log.text() and log.text().startswith("user: ")
    assert used(user, owner, Export("b"), log) is None
    assert len(log.lines()) == 1


def test_nobody_uses_both_gpl_only_and_proprietary_symbols() -> None:
    user, free, other, log = module("user"), exporter(), exporter(name="blob"), KernelLog()
    other.taints = {"P"}
    assert used(user, free, Export("a", gpl=True), log) is None
    assert used(user, other, Export("b"), log) == errno.ENOENT
    assert user.taints == set() and other.sources == []
    assert "GPL-only" in log.text() and "blob" in log.text()


# -- versions and namespaces ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "crc", "answer", "line"),
    [
        ({"a": 1}, 1, None, None),
        ({"a": 2}, 1, errno.EINVAL, "user: disagrees about version of symbol a"),
        ({"b": 1}, 1, errno.EINVAL, "user: no symbol version for a"),
        (None, 1, None, None),  # the module has none
        ({"a": 2}, None, None, None),  # the export has none
    ],
)
def test_versions(
    versions: dict[str, int] | None, crc: int | None, answer: int | None, line: str | None
) -> None:
    user, owner, log = module("user", versions=versions), exporter(), KernelLog()
    assert used(user, owner, Export("a", crc=crc), log) == answer
    assert log.lines() == ((line,) if line else ())
    assert bool(owner.sources) == (answer is None)


@pytest.mark.parametrize(
    ("imported", "answer"),
    [(["NS"], None), (["OTHER", "NS"], None), (["ns"], errno.EINVAL), ([], errno.EINVAL)],
)
def test_namespaces(imported: list[str], answer: int | None) -> None:
    user = module("user", modinfo={**CLEAN, "import_ns": imported})
    owner, log = exporter(), KernelLog()
    assert used(user, owner, Export("a", namespace="NS"), log) == answer
    assert ("namespace NS" in log.text()) == (answer is not None)

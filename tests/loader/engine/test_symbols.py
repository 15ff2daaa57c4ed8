"""Who exports a symbol, and who may use it (behaviour.md sections 2.10 and 5)."""

from __future__ import annotations

import errno

import pytest

from loader.config import Config
from loader.engine.log import KernelLog
from loader.engine.module import COMING, GOING, Module
from loader.engine.symbols import Symbols, is_for
from loader.errors import LoadError
from loader.image.contents import Export
from loader.release import release
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


@pytest.mark.parametrize(
    ("namespace", "name", "good"),
    [
        ("module:user", "user", True),
        ("module:other,user", "user", True),
        ("module:us*", "user", True),
        ("module:a-user", "a_user", True),
        ("module:*", "user", True),
        ("module:users", "user", False),
        ("module:use", "user", False),
        ("module:", "user", False),
        ("user", "user", False),
    ],
)
def test_namespaces_for_modules_by_name(namespace: str, name: str, good: bool) -> None:
    """verify_module_namespace: only the end of a pattern may be anything."""
    assert is_for(namespace, name) == good


@pytest.mark.parametrize(("running", "answer"), [("6.15", errno.EINVAL), ("6.16", None)])
def test_such_namespaces_came_with_6_16(running: str, answer: int | None) -> None:
    symbols = Symbols(KernelLog(), Config(release=release(running)))
    export = Export("a", namespace="module:us*")
    assert symbols.use(module("user"), exporter(), export) == answer


def test_extended_versions_go_before_the_others() -> None:
    log = KernelLog()
    user = module("user", versions={"a": 1, "b": 1}, extended_versions={"a": 2})
    symbols = Symbols(log)
    assert symbols.use(user, exporter(), Export("a", crc=2)) is None
    assert symbols.use(user, exporter(), Export("a", crc=1)) == errno.EINVAL
    assert symbols.use(user, exporter(), Export("b", crc=1)) is None  # it is only told, once
    assert symbols.use(user, exporter(), Export("c", crc=1)) is None
    told = [line for line in log.lines() if "extended" in line]
    assert told == ["user: no extended symbol version for b"]


@pytest.mark.parametrize(("force", "answer"), [(False, errno.EINVAL), (True, None)])
def test_no_versions_at_all(force: bool, answer: int | None) -> None:
    user, log = module("user", unversioned=True), KernelLog()
    symbols = Symbols(log, Config(force_load=force, modversions=True))
    assert symbols.use(user, exporter(), Export("a", crc=1)) == answer
    assert user.taints == ({"F"} if force else set())
    assert ("user: a: kernel tainted." in log.lines()) == force

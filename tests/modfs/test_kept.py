"""What is kept of files from run to run: the same answers, and never somebody else's."""

from __future__ import annotations

import os
import random
import shutil
import stat
import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from loader.config import EM_X86_64, Config
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from modfs import kept as room
from modfs import survey
from modfs.kept import Found, Kept, Key, question
from modfs.linux import file_system_type
from modfs.survey import Survey, Surveyed

FOUND = Found(1000, 0, (1, 2, 3, 4, 5, 6, 0xFFFFFFFF), "m")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user's caches, on a file system whose files are believed at once."""
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    fd = os.open(tmp_path, os.O_RDONLY)
    monkeypatch.setattr(room, "_TRUSTED", {file_system_type(fd)})
    monkeypatch.setattr(room, "SETTLED", 0)
    os.close(fd)
    return folder / "modfs"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    file = tmp_path / "m.ko"
    file.write_bytes(build_module(ModuleSpec("m", text=5000)))
    return file


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that a survey has read."""
    found: list[str] = []

    def read(path: str) -> tuple[bytes, os.stat_result]:
        found.append(path)
        return real(path)

    real = survey._read
    monkeypatch.setattr(survey, "_read", read)
    return found


def ask(*files: Path, config: Config = Config()) -> list[Surveyed | str]:  # noqa: B008
    return Survey(config, [EM_X86_64]).of(list(map(str, files)))


def key(file: Path) -> Key:
    return Key.of(file.stat())


def keep(file: Path, found: Found = FOUND, name: str = "q") -> None:
    Kept(name).keep([(str(file), key(file), 0, found)])


def test_the_same_again_reads_nothing(module: Path, reads: list[str], cache: Path) -> None:
    first = ask(module)
    assert reads == [str(module)]
    assert ask(module) == first
    assert len(reads) == 1
    shutil.rmtree(cache)
    assert ask(module) == first and len(reads) == 2


def test_nobody_else_may_read_or_write_it(module: Path, cache: Path) -> None:
    old = os.umask(0)
    try:
        ask(module)
    finally:
        os.umask(old)
    (file,) = cache.iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_has_changed_is_read_again(module: Path, reads: list[str]) -> None:
    (first,) = ask(module)
    assert isinstance(first, Surveyed) and first.name == "m"
    status = module.stat()
    data = module.read_bytes()
    module.write_bytes(data.replace(b"\0m\0", b"\0n\0").replace(b"name=m\0", b"name=n\0"))
    os.utime(module, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert module.stat().st_size == status.st_size
    (second,) = ask(module)
    assert isinstance(second, Surveyed) and second.name == "n"
    other = module.with_name("other")
    other.write_bytes(data)
    other.rename(module)
    assert ask(module) == [first]
    assert len(reads) == 3


def test_what_has_just_changed_is_not_believed(
    module: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(room, "SETTLED", 60)
    ask(module)
    ask(module)
    assert len(reads) == 2 and not cache.exists()


def test_files_whose_times_somebody_else_tells_are_not_kept(
    module: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    monkeypatch.setattr(room, "_TRUSTED", {0x65735546})  # FUSE_SUPER_MAGIC
    ask(module)
    assert not cache.exists()


def test_refusals_are_told_anew(tmp_path: Path, reads: list[str]) -> None:
    bad = tmp_path / "bad.ko"
    bad.write_bytes(b"no module")
    assert ask(bad) == ask(bad)
    assert len(reads) == 2


def test_another_name_another_answer(module: Path) -> None:
    """By its name a file is packed: the same one is no module under the other."""
    packed = module.with_suffix(".ko.xz")
    os.link(module, packed)
    assert isinstance(ask(module)[0], Surveyed)
    assert "EINVAL" in str(ask(packed)[0])
    assert isinstance(ask(module)[0], Surveyed)


def test_another_kernel_is_another_question(module: Path, reads: list[str]) -> None:
    config = Config()
    ask(module)
    for other in (replace(config, kallsyms=False), replace(config, page_size=65536)):
        assert ask(module, config=other) != ask(module)
    assert len(reads) == 3
    asked = question(config), question(replace(config, blacklist=frozenset("ab")))
    assert asked == (question(config), question(replace(config, blacklist=frozenset("ba"))))


def test_other_code_is_another_question(monkeypatch: pytest.MonkeyPatch) -> None:
    before = question(Config())
    monkeypatch.setattr(room, "_code", lambda: [("loader/image/layout.py", 1, 2)])
    assert question(Config()) != before


# -- damage ---------------------------------------------------------------------------------------


def test_a_damaged_file_is_as_if_it_were_not_there(module: Path, cache: Path) -> None:
    keep(module)
    (file,) = cache.iterdir()
    good = file.read_bytes()
    assert Kept("q").get(key(module), 0) == FOUND
    random.seed(7)
    damaged = [good[:length] for length in range(0, len(good), 7)]
    for place in range(len(good)):
        damaged.append(
            good[:place] + bytes([good[place] ^ 1 << random.randrange(8)]) + good[place + 1 :]
        )
    damaged += [good + b"\0", good + good, bytes(len(good)), random.randbytes(5000)]
    for data in damaged:
        file.write_bytes(data)
        assert Kept("q").get(key(module), 0) is None
    keep(module)
    assert Kept("q").get(key(module), 0) == FOUND  # and is made anew


def test_two_questions_of_one_name(
    module: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zlib, "crc32", lambda data: 7)
    keep(module, name="q")
    assert Kept("p").get(key(module), 0) is None


@pytest.mark.parametrize("name", ["", "x" * 56, "\udc80\udcff"])
def test_names_come_back_as_they_were(module: Path, name: str) -> None:
    keep(module, FOUND._replace(name=name))
    assert Kept("q").get(key(module), 0) == FOUND._replace(name=name)


@pytest.mark.parametrize("name", ["x" * 57, "x\0"])
def test_names_that_have_no_room_are_not_kept(module: Path, name: str) -> None:
    keep(module, FOUND._replace(name=name))
    assert Kept("q").get(key(module), 0) is None


# -- whose it is ----------------------------------------------------------------------------------


def test_what_others_may_write_is_not_believed(module: Path, cache: Path) -> None:
    keep(module)
    (file,) = cache.iterdir()
    for place, mode in ((file, 0o600), (cache, 0o700)):
        for bit in (0o020, 0o002):
            place.chmod(mode | bit)
            assert Kept("q").get(key(module), 0) is None
        place.chmod(mode)
        assert Kept("q").get(key(module), 0) == FOUND


def test_a_folder_where_anybody_may_put_a_link_is_not_used(module: Path, cache: Path) -> None:
    """As /tmp: the link may lead to any folder of root's, and files there would be deleted."""
    above = cache.parent
    elsewhere = above / "elsewhere"
    elsewhere.mkdir(0o700)
    cache.symlink_to(elsewhere)
    above.chmod(0o1777)
    keep(module)
    assert not [*elsewhere.iterdir()]
    above.chmod(0o755)
    keep(module)
    assert [*elsewhere.iterdir()]


def test_a_link_is_not_followed(module: Path, cache: Path) -> None:
    keep(module)
    (file,) = cache.iterdir()
    moved = file.rename(file.with_name("moved"))
    file.symlink_to(moved)
    assert Kept("q").get(key(module), 0) is None
    file.unlink()
    os.mkfifo(file, 0o600)
    assert Kept("q").get(key(module), 0) is None  # and nobody waits
    shutil.rmtree(cache)
    target = cache.with_name("elsewhere")
    target.mkdir(0o777)
    target.chmod(0o777)
    cache.symlink_to(target)
    keep(module)
    assert not any(target.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("place", ["", "modfs", "modfs/file"])
def test_what_is_somebody_elses_is_not_believed(module: Path, cache: Path, place: str) -> None:
    keep(module)
    (file,) = cache.iterdir()
    whose = {"": cache.parent, "modfs": cache, "modfs/file": file}[place]
    os.chown(whose, 12345, 12345)
    assert Kept("q").get(key(module), 0) is None
    before = file.read_bytes()
    keep(module, FOUND._replace(length=5))
    if place != "modfs/file":
        assert file.read_bytes() == before  # nothing is written in somebody else's home
        assert file.stat().st_uid == os.geteuid()


@pytest.mark.parametrize("home", [None, "", "relative", "/proc", "/dev/null", "/nowhere"])
def test_without_a_home_nothing_is_kept(
    module: Path, reads: list[str], home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", home or "")
    if home is None:
        monkeypatch.delenv("HOME")
    monkeypatch.chdir(module.parent)
    assert ask(module) == ask(module)
    assert len(reads) == 2
    assert sorted(path.name for path in module.parent.iterdir()) == ["cache", "m.ko"]


def test_a_home_gets_its_folder(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    keep(module)
    assert Kept("q").get(key(module), 0) == FOUND
    assert len(list((tmp_path / ".cache/modfs").iterdir())) == 1


def test_a_full_disk_is_no_error(
    module: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(*where: object, **folders: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", rename)
    keep(module)
    assert list(cache.iterdir()) == []


# -- bounds ---------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{number}.ko" for number in range(30)]
    for file in files:
        file.write_bytes(b"x")
    return files


def test_the_oldest_are_forgotten(many: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_ENTRIES", 10)
    for file in many[:15]:
        keep(file)
    keep(many[6])  # which is not the oldest any more
    for file in many[15:20]:
        keep(file)
    kept = Kept("q")
    assert [file for file in many if kept.get(key(file), 0)] == [many[6], *many[11:20]]


def test_few_questions_are_kept(module: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_FILES", 3)
    stranger, left = cache / "README", cache / "0123abcd.17"
    keep(module, name="0")
    for file in (stranger, left):
        file.write_text("x")
        os.utime(file, (1, 1))
    for number in range(8):
        for file in cache.iterdir():
            os.utime(file, ns=(0, file.stat().st_mtime_ns - 10**9))
        keep(module, name=str(number))
    assert stranger.exists() and not left.exists()
    assert len(list(cache.iterdir())) == 4
    assert [n for n in range(8) if Kept(str(n)).get(key(module), 0)] == [5, 6, 7]


def test_many_may_write_at_once(many: list[Path], cache: Path) -> None:
    """The last one wins, but nobody reads half a file, and nothing is left."""

    def work(mine: list[Path]) -> None:
        for file in mine * 10:
            keep(file)
            found = Kept("q").get(key(file), 0)
            assert found in (None, FOUND)

    children = []
    for number in range(5):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                work(many[number::5])
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 5
    assert len(list(cache.iterdir())) == 1
    kept = Kept("q")
    assert any(kept.get(key(each), 0) for each in many)

"""What each request does: kmod's tools, line by line, on an engine of the test's own.

The rules are insmod(8)'s, modprobe(8)'s and rmmod(8)'s, and behaviour.md's for the errnos. That
real programs do the same is in tests/run.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.config import Config
from loader.engine.init_routines import InitRoutine, InitRoutines
from loader.engine.threads import LiveKernel
from loader.packings import PACKINGS, Packing, compress
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from loader.synthesize.trees import write_tree
from loader.tree.tree import Tree
from tests.modfs.doors import Door

# user needs middle, middle needs base; soft would like optional before it and late after it
SPECS = [
    ModuleSpec("base", exports=("base_f",), parameters=(ParameterSpec("n"),)),
    ModuleSpec("middle", exports=("middle_f",), imports=("base_f",), depends=("base",)),
    ModuleSpec(
        "user",
        imports=("middle_f",),
        depends=("middle", "base"),
        aliases=("fs-user", "cpu:type:*"),
        parameters=(ParameterSpec("n"),),
    ),
    ModuleSpec("optional"),
    ModuleSpec("late", aliases=("cpu:type:x86*",)),
    ModuleSpec("soft-one", softdeps=("pre: optional absent post: late",)),
]
DATA = build_module(ModuleSpec("m"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    folder = tmp_path_factory.mktemp("tree") / "6.12"
    write_tree(folder, SPECS, builtin=[ModuleSpec("inside")])
    return Tree.open(folder)


@pytest.fixture
def door(tree: Tree) -> Callable[..., Door]:
    def make(config: Config | None = None, **routines: InitRoutine) -> Door:
        return Door(LiveKernel(config, tree=tree, init_routines=InitRoutines(routines)))

    return make


# -- lines ----------------------------------------------------------------------------------------


def test_nothing_is_asked(door: Callable[..., Door]) -> None:
    made = door()
    assert made.ask("", "   ", "# a comment", "\t# another") == 0
    assert made.results() == []


@pytest.mark.parametrize("line", ["unload x", "insmod", "insmod 'x", "rmmod -z x", "insmod a\0b"])
def test_what_is_no_request(door: Callable[..., Door], line: str) -> None:
    made = door()
    assert made.ask(line) == errno.EINVAL
    (result,) = made.results()
    assert ": EINVAL (" in result
    assert made.live.snapshot().failed_kreads == 0


def test_the_first_errno_is_the_writes_and_the_others_run_all_the_same(
    door: Callable[..., Door],
) -> None:
    made = door()
    lines = ("modprobe base", "rmmod absent", "insmod nowhere.ko", "nonsense", "modprobe optional")
    assert made.ask(*lines) == errno.ENOENT
    assert made.loaded() == ["base", "optional"]
    outcomes = [row.rpartition(": ")[2] for row in made.results()]
    assert [*outcomes[:3], outcomes[4]] == [
        "ok",
        "ENOENT ('absent' is not loaded; did you mean base?)",
        "ENOENT (there is no file 'nowhere.ko')",
        "ok",
    ]
    assert "EINVAL" in made.results()[3]


# -- insmod ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["zstd", "gzip", "xz", "none"])
@pytest.mark.parametrize("packing", [*PACKINGS, None], ids=["zstd", "gzip", "xz", "plain"])
def test_insmod_of_each_packing_on_each_kernel(
    door: Callable[..., Door], tmp_path: Path, kernel: str, packing: Packing | None
) -> None:
    """The one format that the kernel knows it unpacks itself: only then a duplicate, which is
    refused while it is becoming, costs the compressed file as well (behaviour.md section 2.8)."""
    made = door(Config(compression=kernel))
    packed = compress(DATA, packing)
    path = tmp_path / "any name"  # the first bytes tell
    path.write_bytes(packed)
    assert made.ask(f"insmod '{path}'") == 0
    assert made.ask(f"insmod '{path}'") == errno.EEXIST
    by_kernel = packing is not None and packing.name == kernel
    found = made.live.snapshot()
    assert found.modcount == found.failed_becoming == 1
    assert found.invalid_becoming_bytes == len(DATA) + by_kernel * len(packed)


@pytest.mark.parametrize("packing", PACKINGS, ids=[one.name for one in PACKINGS])
def test_what_userspace_cannot_unpack_never_reaches_the_kernel(
    door: Callable[..., Door], tmp_path: Path, packing: Packing
) -> None:
    made = door(Config(compression="none"))
    path = tmp_path / "m.ko"
    path.write_bytes(packing.magic + b"damaged" * 20)
    assert made.ask(f"insmod {path}") == errno.EINVAL
    found = made.live.snapshot()
    assert (found.failed_kreads, found.failed_decompress, found.failed_becoming) == (0, 0, 0)


def test_insmod_of_what_is_no_module(door: Callable[..., Door], tmp_path: Path) -> None:
    made = door()
    (tmp_path / "text").write_text("no module")
    (tmp_path / "empty").touch()
    assert made.ask(f"insmod {tmp_path}/text") == errno.ENOEXEC
    assert made.ask(f"insmod {tmp_path}/empty") == errno.EINVAL
    assert made.ask(f"insmod {tmp_path}") == errno.EINVAL
    assert made.ask(f"insmod {tmp_path}/absent") == errno.ENOENT
    found = made.live.snapshot()
    assert (found.failed_becoming, found.failed_kreads) == (1, 2)  # behaviour.md sections 2.4, 2.7


def test_insmod_does_not_load_what_a_module_needs(door: Callable[..., Door], tree: Tree) -> None:
    made = door()
    assert made.ask(f"insmod {tree.path('middle')}") == errno.ENOENT
    assert made.ask(f"insmod {tree.path('base')} n=5", f"insmod {tree.path('middle')}") == 0
    assert made.loaded() == ["base", "middle"]
    shown = made.live.kernel.loaded("base")
    assert shown is not None and shown.parameters[0][:2] == ("n", "5")


def test_force_needs_a_kernel_that_was_built_for_it(door: Callable[..., Door], tree: Tree) -> None:
    """behaviour.md section 2.8: flags 1 and 2, and taint F."""
    line = f"insmod -f {tree.path('base')}"
    assert door().ask(line) == errno.ENOEXEC
    made = door(Config(force_load=True))
    assert made.ask(line) == 0
    assert "F" in made.live.snapshot().modules[0].taints


# -- modprobe -------------------------------------------------------------------------------------


def test_modprobe_loads_what_is_needed_first(door: Callable[..., Door]) -> None:
    made = door()
    assert made.ask("modprobe user n=7") == 0
    assert made.loaded() == ["base", "middle", "user"]
    values = {module.name: module.parameters for module in made.live.snapshot().modules}
    assert values["user"][0][:2] == ("n", "7") and values["base"][0][1] != "7"


def test_modprobe_leaves_alone_what_is_live(door: Callable[..., Door]) -> None:
    made = door()
    assert made.ask("modprobe middle", "modprobe user", "modprobe user") == 0
    found = made.live.snapshot()
    assert (found.modcount, found.failed_becoming) == (3, 0)
    assert made.ask("modprobe --first-time user") == errno.EEXIST
    assert made.live.snapshot().failed_becoming == 0


def test_modprobe_by_alias_loads_all_that_match(door: Callable[..., Door]) -> None:
    made = door()
    assert made.ask("modprobe cpu:type:x86,ven0") == 0
    assert made.loaded() == ["base", "middle", "user", "late"]
    assert made.ask("modprobe fs-user", "modprobe soft_one", "modprobe soft-one") == 0


def test_softdeps_need_not_succeed_but_dependencies_do(door: Callable[..., Door]) -> None:
    bad = InitRoutine(returns=-errno.EIO)
    made = door(optional=bad)
    assert made.ask("modprobe soft-one") == 0
    assert made.loaded() == ["soft_one", "late"]
    made = door(middle=bad)
    assert made.ask("modprobe user") == errno.EIO
    assert made.loaded() == ["base"]


def test_modprobe_of_what_is_not_there_or_built_in(door: Callable[..., Door]) -> None:
    made = door()
    assert made.ask("modprobe absent") == errno.ENOENT
    assert made.ask("modprobe inside") == 0
    assert made.loaded() == []
    assert Door().ask("modprobe base") == errno.ENOENT  # no tree


def test_who_loses_a_race_for_a_dependency_goes_on(door: Callable[..., Door]) -> None:
    """EEXIST means that it is there now: modprobe(8), unless --first-time is given."""
    made = door()
    original = made.live.kernel.is_live
    made.live.kernel.is_live = lambda name: name != "base" and original(name)  # type: ignore[method-assign]
    assert made.ask("modprobe base", "modprobe middle") == 0
    assert made.loaded() == ["base", "middle"]
    assert made.live.snapshot().failed_becoming == 1


# -- removal --------------------------------------------------------------------------------------


def test_rmmod_in_the_order_of_its_words(door: Callable[..., Door]) -> None:
    made = door()
    assert made.ask("modprobe user") == 0
    assert made.ask("rmmod base user absent middle") == errno.EAGAIN
    assert made.loaded() == ["base"]
    assert made.ask("rmmod base") == 0


def test_rmmod_takes_a_files_name_as_well(door: Callable[..., Door], tree: Tree) -> None:
    made = door()
    assert made.ask("modprobe soft-one", f"rmmod {tree.path('soft_one')}") == 0
    assert "soft_one" not in made.loaded()


def test_modprobe_r_takes_away_what_nobody_needs_any_more(door: Callable[..., Door]) -> None:
    made = door()
    assert made.ask("modprobe user", "modprobe -r fs-user") == 0
    assert made.loaded() == []
    assert made.ask("modprobe user", "modprobe -r middle") == errno.EAGAIN
    assert made.loaded() == ["base", "middle", "user"]


def test_modprobe_r_of_what_is_not_loaded(door: Callable[..., Door]) -> None:
    assert door().ask("modprobe -r base") == 0
    assert door().ask("modprobe -r --first-time base") == errno.ENOENT
    assert Door().ask("modprobe -r --first-time base") == errno.ENOENT


# -- the calls themselves -------------------------------------------------------------------------


def test_system_calls_are_made_as_they_are_written(door: Callable[..., Door], tree: Tree) -> None:
    made = door()
    path = tree.path("base")
    assert made.ask(f"finit_module {path} flags=8") == errno.EINVAL
    assert made.ask(f"finit_module --unmapped-params {path}") == errno.EFAULT
    assert made.ask("init_module --unmapped len=64") == errno.EFAULT
    assert made.ask(f"init_module {path} len=63") == errno.ENOEXEC
    assert made.ask(f"finit_module {path} n=3", "delete_module base") == 0
    assert made.ask("delete_module base") == errno.ENOENT
    assert made.ask("delete_module --unmapped") == errno.EFAULT
    found = made.live.snapshot()
    assert (found.failed_kreads, found.invalid_kread_bytes) == (2, 64 + 63)


# -- requests of the kernel's own ------------------------------------------------------------------


def test_request_module(door: Callable[..., Door]) -> None:
    """autoload.md section 2; a wait status is EREMOTEIO, and shown as a number."""
    made = door()
    assert made.ask("request_module fs-user") == 0
    assert made.loaded() == ["base", "middle", "user"]
    assert made.ask("request_module nothing") == errno.EREMOTEIO
    assert made.ask("request_module_nowait nothing") == 0
    assert made.ask(f"request_module {'a' * 56}") == errno.ENAMETOOLONG
    assert made.ask("request_module inside") == 0
    assert made.ask("request_module", "request_module a b") == errno.EINVAL
    assert [row.rpartition(": ")[2] for row in made.results()[:5]] == [
        *("ok", "256 (exit status 1)", "ok", "ENAMETOOLONG", "ok"),
    ]


def test_get_fs_type(door: Callable[..., Door]) -> None:
    """As mount(2): ENODEV; what follows a dot is a subtype, which only FUSE's have."""
    made = door()
    assert made.ask("get_fs_type nothing") == errno.ENODEV
    assert made.ask("get_fs_type user.x") == errno.ENODEV
    assert made.loaded() == ["base", "middle", "user"]
    assert made.ask("get_fs_type user") == made.ask("get_fs_type tmpfs") == 0


def test_odd_strings_are_one_argument(door: Callable[..., Door], tmp_path: Path) -> None:
    made = door()
    for string in ("'; touch x'", "'$(touch x)'", "'a b'", "$'\\xff\\xfe'", "../user", "-r"):
        assert made.ask(f"request_module {string}") == errno.EREMOTEIO
    assert made.ask("request_module $'user\\x00x'") == 0
    assert not list(tmp_path.iterdir())


# -- what an ENOENT is about ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("modprobe bsae", "no module or alias 'bsae' in the tree; did you mean base?"),
        ("modprobe pci:v0000", "no module or alias 'pci:v0000' in the tree"),
        ("insmod nowhere.ko", "there is no file 'nowhere.ko'"),
        ("rmmod nothing", "'nothing' is not loaded"),
        ("modprobe -r --first-time nothing", "'nothing' is not loaded"),
    ],
)
def test_what_is_not_there(door: Callable[..., Door], line: str, told: str) -> None:
    made = door()
    assert made.ask(line) == errno.ENOENT
    assert made.results()[0].endswith(f": ENOENT ({told})")


def test_a_dependency_whose_file_is_gone(door: Callable[..., Door]) -> None:
    made = door()
    tree = made.live.tree
    assert tree is not None
    needs = next(name for name in tree.names() if tree.dependencies(name))
    gone = tree.dependencies(needs)[0]
    gone.unlink()
    assert made.ask(f"modprobe {needs}") == errno.ENOENT
    name = gone.name.partition(".")[0]
    told = f"the file of {name}, which {needs} needs, is not there"
    assert made.results()[0].endswith(f": ENOENT ({told})")


def test_without_a_tree() -> None:
    made = Door()
    assert made.ask("modprobe xfs") == errno.ENOENT
    assert made.results()[0].endswith("(there is no tree of modules: --modules gives one)")


def test_a_request_that_is_mistyped(door: Callable[..., Door]) -> None:
    made = door()
    assert made.ask("modprob base") == errno.EINVAL
    assert made.results()[0].endswith("EINVAL (modprob: no such request; did you mean modprobe?)")

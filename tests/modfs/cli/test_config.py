"""--config: what the command makes of a kernel's configuration, given or found with the tree."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from loader.calls import DeleteModule, FinitModule
from loader.config import EM_AARCH64
from loader.errors import LoadError, UserError
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree
from modfs.cli.engine import EngineOptions
from tests.recordings import DATA

CONFIG = DATA / "linux-7.3/kernel.config.gz"
ARM64 = "#\n# Linux/arm64 7.3.4 Kernel Configuration\nCONFIG_MODULES=y\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A /lib/modules/7.3.4 of two modules for x86-64."""
    root = tmp_path / "lib/modules/7.3.4"
    specs = [ModuleSpec(name, machine="x86_64", vermagic="7.3.4 SMP ") for name in ("one", "two")]
    write_tree(root, specs)
    return root


def test_a_tree_without_one_is_a_6_12(tree: Path) -> None:
    config = EngineOptions(modules=tree).config()
    assert (config.release.name, config.force_load) == ("6.12", False)


def test_a_trees_own_is_found(tree: Path) -> None:
    (tree / "config").write_bytes(CONFIG.read_bytes())
    options = EngineOptions(modules=tree)
    config = options.config(options.tree())
    assert (config.release.name, config.compression) == ("7.3", "zstd")
    assert config.force_load and config.modversions and not config.livepatch
    named = EngineOptions(modules=tree, kernel="6.18", compression="xz")
    config = named.config(named.tree())
    assert (config.release.name, config.compression, config.force_load) == ("6.18", "xz", True)


def test_a_file_of_that_name_that_is_none(tree: Path) -> None:
    (tree / "config").write_text("hello\n")
    assert EngineOptions(modules=tree).kconfig() is None
    with pytest.raises(UserError, match="no kernel configuration"):
        EngineOptions(modules=tree, config_file=tree / "config").kconfig()


def test_modules_can_be_forced(tree: Path) -> None:
    """modprobe -f on a kernel that was built for it: flags 1 and 2."""
    live = EngineOptions(modules=tree, config_file=CONFIG).live()
    live.call(FinitModule(str(tree / "kernel/one.ko"), "", 3))
    assert live.snapshot().modules[0].taints == "FE"
    live.call(DeleteModule("one", 0o1000))
    plain = EngineOptions(modules=tree).live()
    with pytest.raises(LoadError, match=r"Exec format error|8"):
        plain.call(FinitModule(str(tree / "kernel/one.ko"), "", 3))


def test_one_of_another_architecture_is_refused(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "config-arm64"
    path.write_text(ARM64)
    with pytest.raises(UserError, match=r"of arm64; .*/lib/modules/7\.3\.4 is x86_64"):
        EngineOptions(modules=tree, config_file=path).live()


def test_a_tree_for_arm64_makes_an_arm64_kernel(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    write_tree(root, [ModuleSpec("one", machine="aarch64")])
    path = tmp_path / "config-arm64"
    path.write_text(ARM64)
    live = EngineOptions(modules=root, config_file=path).live()
    assert live.config.machine == EM_AARCH64
    live.call(FinitModule(str(root / "kernel/one.ko"), "", 0))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("mount", "--config", "{readme}", "{folder}"), "is no kernel configuration"),
        (("mount", "--symbols", "{readme}", "{folder}"), "is no Module.symvers"),
        (("verify", "--config", "{config}", DATA / "debian-7.3-arm64"), "is arm64"),
        (("verify", "{folder}"), "holds no recordings"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[object, ...], told: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    places = {"readme": DATA / "README.md", "config": CONFIG, "folder": tmp_path}
    command = ["modfs", *(str(word).format(**places) for word in words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert told in done.stderr and done.stderr.count("\n") == 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The quick ones of the recordings of Debian's 7.3, whole."""
    folder = tmp_path / "recordings"
    (folder / "transcripts").mkdir(parents=True)
    source = DATA / "debian-7.3-arm64"
    for name in (
        "files.tar.zst",
        "modules.tsv",
        "transcripts/basic.jsonl",
        "transcripts/deps.jsonl",
    ):
        (folder / name).symlink_to(source / name)
    return folder


def test_a_folder_is_taken_whole(folder: Path, environment: dict[str, str]) -> None:
    command = ["modfs", "verify", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "modules.tsv: 2255 more, whose files are not there\n" in done.stdout
    assert done.stdout.endswith("2 of 2 transcripts, 31 of 31 steps agree\n")


def test_what_is_not_followed_is_told(
    folder: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    path = tmp_path / "config"
    path.write_text(ARM64 + "CONFIG_MEM_ALLOC_PROFILING=y\n")
    command = ["modfs", "verify", "--config", str(path), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert f"{path}: CONFIG_MEM_ALLOC_PROFILING=y: " in done.stderr

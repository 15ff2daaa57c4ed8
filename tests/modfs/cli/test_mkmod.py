"""modfs mkmod: what it makes, in the eyes of modinfo and modprobe, and what it says to mistakes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from modfs import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def mkmod(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the verb: (exit code, standard output, standard error)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        status = cli.carry_out(["mkmod", *map(str, arguments)])
        return (status, *capsys.readouterr())

    return run


def modinfo(environment: dict[str, str], path: Path, field: str) -> list[str]:
    command: list[str | Path] = ["modinfo", "-F", field, path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_one_module(mkmod: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    path = tmp_path / "kvm-intel.ko"
    code, out, err = mkmod(
        *(
            "--machine",
            "x86_64",
            path,
            "--text",
            "20k",
            "--data",
            "100",
            "--depends",
            "kvm",
            "--import",
            "kvm_init",
        ),
        *("--alias", "cpu:x*", "--alias", "other", "--param", "nested:bool=1"),
        *("--param", "list:array of int", "--param", "label:charp=a=b"),
        *("--license", "GPL v2", "--out-of-tree", "--modinfo", "version=1=2", "--no-exit"),
    )
    assert (code, err) == (0, "")
    assert out == f"{path}: {path.stat().st_size} bytes; loaded 36864, of which 24576 code\n"
    assert modinfo(environment, path, "name") == ["kvm_intel"]
    assert modinfo(environment, path, "alias") == ["cpu:x*", "other"]
    assert modinfo(environment, path, "depends") == ["kvm"]
    assert modinfo(environment, path, "parmtype") == [
        "nested:bool",
        "list:array of int",
        "label:charp",
    ]
    assert modinfo(environment, path, "license") == ["GPL v2"]
    assert modinfo(environment, path, "version") == ["1=2"]
    assert modinfo(environment, path, "intree") == []
    symbols = subprocess.run(["readelf", "-sW", path], capture_output=True, text=True).stdout
    assert "init_module" in symbols and "cleanup_module" not in symbols


@pytest.mark.parametrize("suffix", ["zst", "xz"])
def test_compressed_by_its_name(
    mkmod: Run, tmp_path: Path, environment: dict[str, str], suffix: str
) -> None:
    path = tmp_path / f"x.ko.{suffix}"
    code, out, _ = mkmod(path, "--total-size", "1M", "--text-size", "256k", "--name", "y")
    assert code == 0
    assert "loaded 1048576, of which 262144 code" in out
    assert modinfo(environment, path, "name") == ["y"]


def test_demo_tree(mkmod: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    """modprobe finds the modules without more ado: depmod has run."""
    tree = tmp_path / "lib" / "modules" / "6.12.117"
    assert mkmod("--demo", tree) == (0, f"{tree}: 25 modules\n", "")
    command: list[str | Path] = [
        "modprobe",
        "-d",
        tmp_path,
        "-S",
        tree.name,
        "--show-depends",
        "kvm_intel",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    names = [line.split("/")[-1].strip() for line in done.stdout.splitlines()]
    assert names == ["irqbypass.ko", "kvm.ko", "kvm-intel.ko"]


def test_text_indexes_have_all_modules(mkmod: Run, tmp_path: Path) -> None:
    """Also of a compression that this machine's depmod was built without."""
    assert mkmod("--demo", "--compress", "gz", tmp_path)[0] == 0
    lines = (tmp_path / "modules.dep").read_text().splitlines()
    assert len(lines) == 25
    assert "kernel/fs/xfs/xfs.ko.gz: kernel/lib/libcrc32c.ko.gz" in lines


def test_without_depmod(mkmod: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    code, _, err = mkmod("--demo", tmp_path)
    assert (code, err.count("\n")) == (0, 1)
    assert "no depmod here" in err


def test_from_toml(mkmod: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    source = tmp_path / "two.toml"
    source.write_text('[[module]]\nname="a"\ndepends=["b"]\n[[module]]\nname="b"\ntext="8k"\n')
    tree = tmp_path / "tree"
    assert mkmod("--from", source, tree) == (0, f"{tree}: 2 modules\n", "")
    assert modinfo(environment, tree / "kernel/a.ko", "depends") == ["b"]
    source.write_text('[[module]]\nname="a"\ntext="8k"\n')
    code, out, _ = mkmod("--from", source, tmp_path / "a.ko")
    assert (code, out.split()[-2]) == (0, "16384")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.ko", "--text", "big"], "text: a size such as"),
        (["x.ko", "--param", "n"], "--param n: NAME:TYPE"),
        (["x.ko", "--param", "n:int=a"], "--param n:int=a: the default is no number"),
        (["x.ko", "--param", "n:float"], "no type 'float'"),
        (["x.ko", "--modinfo", "n"], "--modinfo n: TAG=VALUE"),
        (["x.ko", "--machine", "vax"], "no machine 'vax'"),
        (["x.ko", "--total-size", "4k"], "total_size and text_size go together"),
        (["x.ko", "--file-bytes", "4"], "file_bytes is at least"),
        (["x.ko", "--demo"], "x.ko is a module's file"),
        (["x.ko", "--compress", "xz"], "x.ko is a module's file"),
        (["x.ko", "--from", "two.toml"], "two.toml: 2 modules for one file"),
        (["x.ko", "--from", "bad.toml"], "bad.toml, line 1: not TOML: "),
        (["tree", "--text", "4"], "tree: a module's file ends in .ko"),
        (["tree"], "a tree needs --demo or --from"),
        (["tree", "--demo", "--from", "two.toml"], "exclude each other"),
        (["tree", "--from", "lost.toml"], "a depends on b, which is not in the tree"),
    ],
)
def test_mistakes(
    mkmod: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("two.toml").write_text('[[module]]\nname="a"\n[[module]]\nname="b"\n')
    Path("lost.toml").write_text('[[module]]\nname="a"\ndepends=["b"]\n')
    Path("bad.toml").write_text("[[module]\n")
    code, out, err = mkmod(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("modfs mkmod: ") and message in err
    assert not Path("x.ko").exists() and not Path("tree").exists()


def test_no_place(mkmod: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "none" / "x.ko", tmp_path / "file" / "x.ko"):
        code, _, err = mkmod(path)
        assert (code, err.count("\n")) == (1, 1)
        assert str(path) in err


def test_help_has_an_example(mkmod: Run) -> None:
    code, out, _ = mkmod("--help")
    assert code == 0
    assert "modfs mkmod --demo demo-tree" in out

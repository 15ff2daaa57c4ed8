"""Why a module is asked for: a tree, devices and files that were put there, and calls."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner

from loader.errors import UserError
from loader.synthesize.spec import ModuleSpec
from loader.synthesize.trees import write_tree
from loader.tree.tree import Tree
from modfs.blame.explain import explain, explain_schema
from modfs.cli.explain import command
from tests.modfs.blame.test_blame import SCENARIO

CPU = "cpu:type:x86,ven0000fam0006mod0055:feature:,0000,00E6"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A machine's root: big needs base, shy names it in a softdep."""
    root = tmp_path / "lib/modules/6.12"
    root.mkdir(parents=True)
    write_tree(
        root,
        [
            ModuleSpec("base"),
            ModuleSpec("big", depends=("base",), aliases=("cpu:type:x86,*:feature:*00E6*",)),
            ModuleSpec("shy"),
        ],
    )
    (root / "modules.softdep").write_text("softdep shy pre: big\n")
    for folder, text in (
        ("etc/modprobe.d", "# big\noptions big x=1\nblacklist bigger\n"),
        ("usr/lib/modules-load.d", "big\n"),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.conf").write_text(text)
    return root


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    folder = tmp_path / "devices"
    for number in range(3):
        cpu = folder / f"system/cpu/cpu{number}"
        cpu.mkdir(parents=True)
        (cpu / "modalias").write_text(f"{CPU}\n")
    other = folder / "pci0000:00"
    other.mkdir()
    (other / "modalias").write_text("pci:v00001234\n")
    return folder


def test_what_a_tree_and_devices_say(tree: Path, devices: Path, tmp_path: Path) -> None:
    told = explain("big", Tree.open(tree), devices)
    assert told.file is not None and told.file.endswith("big.ko")
    assert told.aliases == ("cpu:type:x86,*:feature:*00E6*",)
    found = [(device.path, device.modalias) for device in told.devices]
    assert found == [(f"system/cpu/cpu{number}", CPU) for number in range(3)]
    assert (told.needs, told.needed_by, told.softdeps) == (("base",), (), ("shy",))
    places = [(Path(place.file), place.line, place.text) for place in told.places]
    assert places == [
        (tmp_path / "etc/modprobe.d/a.conf", 2, "options big x=1"),
        (tmp_path / "usr/lib/modules-load.d/a.conf", 1, "big"),
    ]
    assert explain("base", Tree.open(tree), devices).needed_by == ("big",)


def test_what_was_seen(tree: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(SCENARIO)
    done = CliRunner().invoke(command, ["big", str(path), "--modules", str(tree), "--json"])
    told = json.loads(done.output)
    jsonschema.validate(told, explain_schema())
    askers = {row["who"]: (row["calls"], row["failed"], row["wasted_bytes"])
              for row in told["askers"]}  # fmt: skip
    assert askers == {"greedy": (9, 9, 900000), "first": (1, 0, 0)}
    assert [call["outcome"] for call in told["calls"]] == ["live"] + ["becoming"] * 9


def test_for_people(tree: Path, devices: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(SCENARIO)
    words = ["big", str(path), "--modules", str(tree), "--devices", str(devices), "--top", "2"]
    lines = CliRunner().invoke(command, words).output.splitlines()
    assert "devices that ask for it: 3" in lines
    assert "  … and 1 more" in lines
    assert "asked for 10 times, 9 of them in vain" in lines


def test_one_that_is_not_there(tree: Path) -> None:
    done = CliRunner().invoke(command, ["nothing", "--modules", str(tree)])
    assert isinstance(done.exception, UserError)
    assert "no module 'nothing'" in str(done.exception)

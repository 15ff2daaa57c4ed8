"""Scenarios are data, and those by chance can be made again."""

from __future__ import annotations

import errno
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from loader.config import Config
from loader.image.elf import ElfError, ElfModule
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from modfs.cli.verify import Replay
from modfs.conformance.abi import Abi, learn_abi
from modfs.conformance.answers import Answer, Answered, init_results
from modfs.conformance.damaged import damaged, mutated
from modfs.conformance.files import NEEDED, Files, make_files
from modfs.conformance.folder import Recorded, header, skeleton, write_folder
from modfs.conformance.host import harmless_steps
from modfs.conformance.scenario import Scenario, Step, expanded, random_scenario, scenarios
from modfs.verify.compare import Report
from modfs.verify.folder import read_folder


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def abi(request: pytest.FixtureRequest) -> Abi:
    """Of a kernel whose own modules are two of mkmod's."""
    machine = request.param
    specs = (
        ModuleSpec("one", machine=machine, imports=(*NEEDED,)),
        ModuleSpec("two", machine=machine),
    )
    return learn_abi(build_module(spec) for spec in specs)


@pytest.fixture(scope="module")
def files(abi: Abi) -> Files:
    return make_files(abi)


def test_what_modules_tell_of_their_kernel(abi: Abi) -> None:
    spec = ModuleSpec("any", machine=abi.machine)
    assert abi.vermagic.startswith("6.12.117 SMP") and abi.series == "6.12"
    assert abi.struct_module_size == spec.struct_module_size
    assert (abi.init_offset, abi.exit_offset) == (0x138, spec.struct_module_size - 0x50)
    assert abi.module_layout_crc == spec.module_layout_crc and not abi.flagged


def test_what_cannot_be_made_is_not_asked(abi: Abi) -> None:
    """Where no module tells the version of a symbol, a kernel would refuse what uses it."""
    bare = replace(abi, crcs={"module_layout": 1})
    kinds = make_files(bare).kinds
    asked = [
        str(step) for one in scenarios() for step in expanded(one, {**kinds, "real": []}, True)
    ]
    assert "ok_a.ko" in str(asked) and "withparam.ko" not in str(asked)


def test_all_files_that_scenarios_name_are_made(files: Files) -> None:
    kinds = {**files.kinds, "real": []}
    for scenario in scenarios():
        for step in expanded(scenario, kinds, True):
            named = [step.get("file") or "", *step.get("files", ())]
            for name in named:
                assert not name.startswith("files/") or name[6:] in files.contents, (scenario, step)


def test_chance_has_a_seed(files: Files) -> None:
    first, again, other = (random_scenario(seed, files.kinds) for seed in (1, 1, 2))
    assert first.steps == again.steps != other.steps
    assert {"finit_module", "init_module", "delete_module"} <= {s.get("op") for s in first.steps}


def test_without_statistics_none_are_read(files: Files) -> None:
    scenario = Scenario(
        "s", "", ({"cat": "stats"}, {"op": "delete_module", "name": "x"}), after=("stats",)
    )
    assert [*expanded(scenario, files.kinds, False)] == [
        {"op": "delete_module", "name": "x"},
        {"cat": "/proc/modules"},
    ]


def test_damage_is_damage(files: Files) -> None:
    """Each copy differs from the good one, and most are refused as ELF."""
    good = files.contents["ok_a.ko"]
    copies = dict(damaged(good))
    assert good not in copies.values()
    refused = 0
    for data in copies.values():
        try:
            ElfModule(data, int.from_bytes(good[18:20], "little")).cache_indices(None)
        except ElfError:
            refused += 1
    assert refused > len(copies) // 2
    assert mutated(good, random.Random(5)) == mutated(good, random.Random(5)) != good


def test_a_folder_is_taken_whole_by_verify(abi: Abi, files: Files, tmp_path: Path) -> None:
    """What a kernel is known to answer, and one answer that it never gave."""
    steps = (
        {"op": "finit_module", "file": "files/ok_a.ko"},
        {"cat": "/proc/modules"},
        {"cat": "/sys/module/ok_a/nothing_such"},
        {"op": "finit_module", "file": "files/fail_enodev.ko"},
        {"op": "finit_module", "threads": 2, "files": ["files/fail_enodev.ko"]},
        {"op": "delete_module", "name": "ok_a", "flags": 2048},
        {"op": "delete_module", "name": "ok_a", "flags": 2048},
    )
    listed = Answer(text="ok_a 12288 0 - Live 0xffffffffc0000000 (E)\n")
    wrong = Answer((-16,))
    answers = (
        Answer((0,)),
        listed,
        Answer(),
        Answer((-19,)),
        Answer((-19, -19)),
        Answer((0,)),
        wrong,
    )
    recorded = Recorded(abi, files, header(abi, None, ("black-two",), False))
    recorded.performed.append(Answered("all", steps, answers, "a line\n"))
    write_folder(tmp_path / "out", recorded)
    found = read_folder(tmp_path / "out")
    (report,) = Replay(Config(), None, (), None).reports(found)
    assert isinstance(report, Report) and report.agreed == 6
    assert report.differences == ["step 7, delete_module ok_a flags=2048: ENOENT instead of EBUSY"]


def _loaded(*rows: tuple[str, str, str | None]) -> Answered:
    """Each a file, what came of it, and the list afterwards."""
    steps: list[Step] = []
    answers: list[Answer] = []
    for file, result, text in rows:
        steps += [{"op": "finit_module", "file": f"modules/{file}"}, {"cat": "/proc/modules"}]
        number = 0 if result == "OK" else -getattr(errno, result)
        answers += [Answer((number,)), Answer(text=text)]
    return Answered("real", tuple(steps), tuple(answers))


def test_what_init_routines_of_the_kernels_own_modules_did() -> None:
    """As 7.3.4's null_blk, which holds configfs besides using it; and two that are made up."""
    configfs = "configfs 36864 {} {}, Live 0x0\n"
    null_blk = "null_blk 53248 0 - Live 0x0 (E)\n"
    answered = _loaded(
        ("configfs.ko", "OK", "configfs 36864 0 - Live 0x0\n"),
        ("null_blk.ko", "OK", null_blk + configfs.format(2, "null_blk")),
        ("for-a-while.ko", "OK", "for_a_while 4096 2 - Live 0x0\n" + null_blk
         + configfs.format(2, "null_blk")),
        ("self.ko", "OK", "self 4096 3 - Live 0x0\nfor_a_while 4096 0 [permanent], Live 0x0\n"
         + null_blk + configfs.format(2, "null_blk")),
        ("i2c-x.ko", "ENODEV", "self 4096 3 - Live 0x0\nfor_a_while 4096 0 - Live 0x0\n" + null_blk
         + configfs.format(2, "null_blk")),
    )  # fmt: skip
    assert init_results([answered], frozenset(("EEXIST",))) == {
        "null_blk": {"holds": ["configfs"]},
        "self": {"references": 3},
        "i2c_x": {"returns": "ENODEV"},
    }


def test_skeletons_keep_tables_and_lengths(files: Files) -> None:
    module = files.contents["withparam.ko"]
    bare = skeleton(module)
    assert len(bare) == len(module) and bare != module
    assert b"parmtype=n:int" in bare and b"cleanup_module" in bare


def test_what_is_asked_of_a_persons_own_kernel_leaves_no_more_than_one_taint(files: Files) -> None:
    for scenario in scenarios():
        for step in harmless_steps(scenario, {**files.kinds, "real": []}):
            assert "proprietary" not in str(step.get("file")), step


def test_nothing_is_forced_on_a_persons_own_kernel(files: Files) -> None:
    """Debian's 6.12.118 and 7.3.4 had taint F as well, from packed's flags 5 and 6."""
    kinds = {**files.kinds, "real": []}
    for scenario in scenarios():
        steps = [step for step in harmless_steps(scenario, kinds) if "op" in step]
        assert not [s for s in steps if s["op"] == "finit_module" and s.get("flags", 0) & 3]
        assert not [s for s in steps if s["op"] == "delete_module" and s["flags"] & os.O_TRUNC]
    packed = next(scenario for scenario in scenarios() if scenario.name == "packed")
    assert {s.get("flags") for s in expanded(packed, kinds, False)} >= {4, 5, 6}

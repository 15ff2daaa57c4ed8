"""Descriptions of machines: the TOML file, its defaults, its mistakes."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from loader.config import EM_X86_64, PAGE_SIZE, Config
from loader.errors import UserError
from loader.image.layout import Layout
from loader.packings import read_module
from loader.release import release
from loader.simulate.from_tree import TreeModules, from_tree
from loader.simulate.machine import Machine, check_names
from loader.simulate.machine_file import machine_from, read_machine
from loader.synthesize.trees import demo_tree
from tests.conftest import PROJECT

EXAMPLES = PROJECT / "examples"

LEAST = """
processors = 4
[modules.one]
size = "20 kB"
[[coldplug]]
[[coldplug.devices]]
count = "processors"
modules = ["one"]
"""


def described(text: str) -> Machine:
    made = machine_from(tomllib.loads(text))
    check_names(made)
    return made


def test_defaults() -> None:
    made = described(LEAST)
    assert (made.processors, made.memory, made.kernel) == (4, 4 << 30, "6.12")
    assert made.modules["one"].size == 20_000
    assert made.devices == 4


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*-*cpu.toml")))
def test_examples_are_machines(example: str) -> None:
    made = read_machine(EXAMPLES / example)
    check_names(made)
    assert f"{made.processors}-" in example


@pytest.mark.parametrize(
    ("processors", "memory", "workers"),
    [
        (1, 1 << 30, 10),  # memory for 8, but at least 10
        (4, 64 << 30, 24),  # 2 * 4 + 16
        (255, 32 << 30, 256),  # 32 GiB / 128 MiB
        (4096, 1 << 50, 2048),
    ],
)
def test_systemd_default_of_workers(processors: int, memory: int, workers: int) -> None:
    made = replace(described(LEAST), processors=processors, memory=memory)
    assert made.workers == workers


def test_units() -> None:
    text = LEAST + '[storage]\nlatency = "0.5 ms"\nbandwidth = "2 GB/s"\n'
    made = described('memory = "1.5 GiB"\nmodule_space = "128 MiB"\n' + text)
    assert (made.memory, made.module_space) == (3 << 29, 128 << 20)
    assert (made.storage.latency, made.storage.bandwidth) == (0.0005, 2e9)


def test_memory_of_a_module_is_whole_pages() -> None:
    text = LEAST.replace('size = "20 kB"', "size = 1\nmemory = 9000\ntext = 1\ninit_memory = 1")
    assert described(text).modules["one"].layout == Layout(text=4096, data=4096, init_data=4096)


def test_more_processors_have_more_memory() -> None:
    assert described(LEAST).with_processors(400).memory == 400 << 30


def test_dependencies_come_first() -> None:
    text = LEAST.replace(
        "[[coldplug]]",
        '[modules.two]\nsize = 1\ndepends = ["one", "three"]\n'
        '[modules.three]\nsize = 1\ndepends = ["one"]\n[[coldplug]]',
        1,
    )
    assert described(text).load_order("two") == ("one", "three", "two")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("processors = 4", ""), "line 1: processors is missing: a whole number"),
        (("processors = 4", "processors = 0"), "line 2: processors: a whole number from 1"),
        (("processors", "procesors"), "line 2: procesors: is not known; did you mean processors"),
        (('"20 kB"', '"20 kX"'), "line 4: modules.one.size: a size"),
        (('"20 kB"', "true"), "line 4: modules.one.size: a size"),
        (('"20 kB"', "0"), "line 4: modules.one.size: a size above 0"),
        (('size = "20 kB"', "text = 1"), "line 3: modules.one: size is missing: a size"),
        (('size = "20 kB"', "size = 1\nmemory = 1\ntext = 8192"), "line 3: .* more than memory"),
        (('["one"]', '["on"]'), "did you mean one"),
        (('["one"]', '"one"'), r"line 8: coldplug\[0\].devices\[0\].modules: a list"),
        (('modules = ["one"]', ""), r"line 6: coldplug\[0\].devices\[0\]: modules is missing"),
        (('"processors"', '"cores"'), r"line 7: .*: a whole number .* or one of processors"),
        (
            ("[[coldplug]]", '[userspace]\nlooks_for = "x"\n[[coldplug]]'),
            "line 6: .* live, nothing",
        ),
        (("[[coldplug]]", '[costs]\nread = "0 MB/s"\n[[coldplug]]'), "costs.read: a rate above 0"),
        (("[[coldplug]]\n[[coldplug.devices]]", "[coldplug]"), r"\[\[coldplug\]\]"),
        (('size = "20 kB"', 'size = 1\ndepends = ["one"]'), "depends on itself"),
    ],
)
def test_mistakes_are_told(change: tuple[str, str], reason: str, tmp_path: Path) -> None:
    file = tmp_path / "machine.toml"
    file.write_text(LEAST.replace(*change, 1))
    with pytest.raises(UserError, match=reason):
        check_names(read_machine(file))


def test_modules_of_a_tree(tmp_path: Path) -> None:
    demo_tree(tmp_path / "6.12.1", compression="xz")
    text = LEAST.replace('["one"]', '["one", "nvme", "cpu:type:x86,feature:nothing"]')
    made = from_tree(machine_from(tomllib.loads(text)), TreeModules(tmp_path / "6.12.1"), Config())
    check_names(made)
    assert made.coldplug[0].devices[0].modules == ("one", "nvme")
    nvme = made.modules["nvme"]
    assert nvme.compressed is not None and nvme.compressed < nvme.size
    assert "nvme_core" in nvme.depends and "nvme_core" in made.modules
    assert made.load_order("nvme").index("nvme_core") < made.load_order("nvme").index("nvme")


STATIC_CALLS = """
processors = 4
[[coldplug]]
[[coldplug.devices]]
modules = ["irqbypass"]
"""


def test_a_trees_modules_are_laid_out_as_each_kernel_does(
    recorded_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 6.16 on .static_call_sites is read-only after init: a page of a kind that irqbypass has
    nothing else of."""
    reads: list[Path] = []

    def counted(path: Path) -> bytes:
        reads.append(path)
        return read_module(path)

    monkeypatch.setattr("loader.simulate.from_tree.read_module", counted)
    modules = TreeModules(recorded_tree)
    old, new = (
        from_tree(
            machine_from(tomllib.loads(STATIC_CALLS)),
            modules,
            Config(release=release(name), machine=EM_X86_64),
        ).modules["irqbypass"]
        for name in ("6.12", "6.16")
    )
    assert old.layout.ro_after_init == 0 and new.layout.ro_after_init == PAGE_SIZE
    assert new.layout.total == old.layout.total + PAGE_SIZE
    assert [path.name for path in reads] == ["irqbypass.ko"]


def test_a_tree_without_the_module(tmp_path: Path) -> None:
    demo_tree(tmp_path / "6.12.1")
    text = LEAST.replace('["one"]', '["two"]')
    with pytest.raises(UserError, match="no module 'two'"):
        from_tree(machine_from(tomllib.loads(text)), TreeModules(tmp_path / "6.12.1"), Config())

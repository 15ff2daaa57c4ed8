"""Blame names the culprit that was put there, its sums are the kernel's, its savings a replay's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from loader.engine.stats import Counters
from loader.errors import UserError
from loader.observe.recording import Recording
from loader.observe.recording_write import lines
from loader.observe.replay import account, rules_of
from loader.observe.stream import stream
from loader.simulate.machine_file import read_machine
from loader.simulate.udev import boot
from modfs.anew import decide_anew
from modfs.blame import machines, savings
from modfs.blame.report import blame_schema
from modfs.blame.sources import source_of
from modfs.blame.tables import ON_ITS_WAY, THERE, Blame, blame
from modfs.cli.blame import command
from modfs.tracing.record import recording_of
from tests.conftest import PROJECT
from tests.recordings import STOCK, TRACES

EXAMPLES = PROJECT / "examples"
BIG = EXAMPLES / "448-cpu.toml"
EARLY = next(path for path in TRACES if "udev8-early" in path.name)


def blamed(path: Path) -> tuple[Blame, savings.Savings]:
    source = source_of(path)
    header, rest = stream(source.lines, str(path))
    return blame(rest, rules_of(header)), source.savings()


def saving(found: savings.Savings, remedy: str) -> savings.Saving:
    return next(row for row in found.rows if row.remedy == remedy)


# -- a simulated boot -----------------------------------------------------------------------------


def test_a_boot_with_448_processors(tmp_path: Path) -> None:
    found, helps = blamed(BIG)
    outcome = boot(read_machine(BIG))
    assert found.wasted.total == helps.base == outcome.snapshot.wasted_bytes
    assert found.failed == outcome.failed
    assert found.loaded == outcome.snapshot.modcount
    listed = {row.name: row.count for row in outcome.snapshot.duplicates}
    assert {row.name: row.cell.failed for row in found.by("module")} == listed
    alias = found.by("alias")[0]
    assert (alias.name, alias.devices) == ("cpu", 448)
    assert found.by("who")[0].name == "(udev-worker) (systemd-udevd.service)"
    # Devices that ask for nothing are no matter of aliases.
    assert "clockevent" not in saving(helps, savings.ONCE_ALIAS).names
    # The same machine, described without: what the file would be for who follows the advice.
    text = BIG.read_text()
    for remedy, change in (
        (savings.IDEMPOTENT, ('kernel = "6.4"', 'kernel = "6.5"')),
        (machines.LOOKS, ("[userspace]", '[userspace]\nlooks_for = "coming"')),
        (savings.ONCE_ALIAS, ('count = "processors"', "count = 1")),
    ):
        changed = tmp_path / "m.toml"
        edited = text.replace(*change)
        if edited == text:
            assert change[0] == "[userspace]"
            edited = f'{text}\n[userspace]\nlooks_for = "coming"\n'
        if remedy == savings.ONCE_ALIAS:
            edited = _only_one_of_each(edited)
        changed.write_text(edited)
        wasted = boot(read_machine(changed)).snapshot.wasted_bytes
        row = saving(helps, remedy)
        assert (row.left, row.bytes) == (wasted, helps.base - wasted), remedy


def _only_one_of_each(text: str) -> str:
    lines_of = ("count = 1" if line.startswith("count = ") else line for line in text.splitlines())
    return "\n".join(lines_of)


ACPI = """
processors = 64
kernel = "6.12"
[modules.acpi_cpufreq]
size = 45000
memory = 40960
fails = "ENODEV"
[modules.other]
size = 9000
[[coldplug]]
[[coldplug.devices]]
name = "cpu"
count = "processors"
modules = ["acpi_cpufreq"]
[[coldplug.devices]]
name = "one"
modules = ["other"]
"""


def test_a_module_whose_init_always_fails(tmp_path: Path) -> None:
    """acpi_cpufreq, as systemd's issue 19439 has it."""
    path = tmp_path / "m.toml"
    path.write_text(ACPI)
    found, helps = blamed(path)
    worst = found.by("module")[0]
    assert worst.name == "acpi_cpufreq" and worst.cell.uncounted > 0
    reasons = [row.name for row in found.by("reason")]
    assert "its init failed with ENODEV" in reasons
    row = saving(helps, savings.NO_FAILING)
    assert row.names == ("acpi_cpufreq",)
    spared = tmp_path / "spared.toml"
    spared.write_text(ACPI.replace('modules = ["acpi_cpufreq"]', "modules = []"))
    assert row.left == boot(read_machine(spared)).snapshot.wasted_bytes


def test_requests_of_the_kernels_own() -> None:
    source = source_of(EXAMPLES / "400-containers.toml")
    header, rest = stream(source.lines, "x")
    found = blame(rest, rules_of(header))
    assert found.calls >= 1
    outcome = boot(read_machine(EXAMPLES / "400-containers.toml"))
    assert found.wasted.total == outcome.snapshot.wasted_bytes


# -- recordings of real kernels -------------------------------------------------------------------


@pytest.mark.parametrize("path", [*TRACES, *STOCK], ids=lambda path: path.name)
def test_sums_are_the_statistics(path: Path) -> None:
    recording = recording_of(path)
    text = lines(recording.header, [*recording.before, *recording.texts], recording.items, 0)
    header, rest = stream(text, "x")
    found, counted = blame(rest, rules_of(header)), account(recording).counters
    assert found.wasted._asdict() == {
        "kread": counted.invalid_kread_bytes,
        "decompress": counted.invalid_decompress_bytes,
        "becoming": counted.invalid_becoming_bytes,
        "load": counted.invalid_mod_bytes,
    }
    assert found.loaded == counted.modcount
    for name in ("module", "who", "reason"):
        rows = found.by(name)
        assert sum(row.cell.wasted for row in rows) == found.wasted.total, name
        assert sum(row.cell.failed for row in rows) == found.failed, name
    assert _failures(counted) <= found.failed


def _failures(counted: Counters) -> int:
    return (
        counted.failed_kreads
        + counted.failed_decompress
        + counted.failed_becoming
        + counted.failed_load_modules
    )


def test_a_coldplug_without_shared_loads(tmp_path: Path) -> None:
    """Recorded with idempotent loads switched off: udev's workers, one for each processor."""
    found, helps = blamed(EARLY)
    assert found.by("who")[0].name == "(udev-worker)"
    assert found.by("module")[0].name == "kvm"  # the largest that all ask for
    assert found.by("reason")[0].name == ON_ITS_WAY
    recording = recording_of(EARLY)
    own = savings.own_release(recording)
    assert not own.idempotent
    path = tmp_path / "less.jsonl"
    path.write_bytes(_without_duplicates_after_the_first(recording))
    less = decide_anew(Recording.read(path), own).snapshot.wasted_bytes
    assert saving(helps, savings.ONCE).left == less
    shared = decide_anew(recording, rules_of(recording.header)).snapshot.wasted_bytes
    assert saving(helps, savings.IDEMPOTENT).left == shared
    assert saving(helps, savings.NO_FAILING).names == ("powernow_k8",)


def _without_duplicates_after_the_first(recording: Recording) -> bytes:
    """The recording's lines, less those duplicates that are not the first call for their module."""
    text = b"".join(lines(recording.header, [], recording.items, 0)).splitlines()
    head, *rest = map(json.loads, text)
    first: dict[str, int] = {}
    for line in sorted(rest[:-1], key=lambda line: (line.get("begin", 0.0), line["n"])):
        if "call" in line:
            first.setdefault(line.get("module"), line["n"])
    kept = [
        line
        for line in rest[:-1]
        if not line.get("duplicate") or first[line.get("module")] == line["n"]
    ]
    return "\n".join(map(json.dumps, [head, *kept, {"end": len(kept)}])).encode() + b"\n"


# -- a scenario, and what is there already --------------------------------------------------------

SCENARIO = """
{"kernel": "6.4", "steps": {"read": 0.001}}
{"module": "big", "size": 100000}
{"module": "small", "size": 20000}
{"at": 0, "actor": "first", "load": "big"}
{"at": 1, "actor": "greedy", "load": "big", "times": 9, "every": 0.1}
{"at": 2, "actor": "modest", "load": "small"}
{"at": 2, "actor": "rival", "load": "small"}
"""


def test_who_asks_again(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(SCENARIO)
    found, helps = blamed(path)
    # nine times the file; and one of the two that come together
    assert found.wasted.total == helps.base == 9 * 100000 + 20000
    [greedy, other] = found.by("who")
    assert (greedy.name, greedy.cell.failed, greedy.cell.wasted) == ("greedy", 9, 900000)
    assert other.cell.failed == 1
    assert {row.name: row.cell.failed for row in found.by("reason")} == {THERE: 9, ON_ITS_WAY: 1}
    row = saving(helps, savings.AGAIN)
    assert (row.calls, row.bytes, row.left, row.names) == (9, 900000, 20000, ("big",))
    assert saving(helps, savings.IDEMPOTENT).bytes == 20000


# -- the command ----------------------------------------------------------------------------------


def test_json_keeps_to_its_schema(tmp_path: Path) -> None:
    import jsonschema

    path = tmp_path / "s.jsonl"
    path.write_text(SCENARIO)
    done = CliRunner().invoke(command, [str(path), "--json", "--top", "1"])
    told = json.loads(done.output)
    jsonschema.validate(told, blame_schema())
    assert told["wasted_bytes"] == sum(told["wasted"].values())
    assert [len(rows) for rows in told["tables"].values()] == [1, 1, 0, 1]


def test_lines_have_eighty_columns() -> None:
    done = CliRunner().invoke(command, [str(EARLY)])
    assert max(map(len, done.output.splitlines())) <= 80


@pytest.mark.parametrize(("allowed", "status"), [("1 MB", 0), ("900 kB", 3)])
def test_a_limit(tmp_path: Path, allowed: str, status: int) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(SCENARIO)
    found = CliRunner().invoke(command, [str(path), "--fail-above", allowed], standalone_mode=False)
    assert found.return_value == status


def test_since(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text(SCENARIO)
    done = CliRunner().invoke(command, [str(path), "--since", "1.95", "--json"])
    assert json.loads(done.output)["wasted_bytes"] == 20000
    recording = next(path for path in TRACES if "udev8-early" in path.name)
    done = CliRunner().invoke(command, [str(recording), "--since", "nosuch"])
    assert isinstance(done.exception, UserError)


def test_what_is_none_of_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no mount of modfs that tells of events"):
        source_of(tmp_path)
    broken = tmp_path / "r.jsonl"
    broken.write_text('{"recording": 1}\n{"n": 1, "call": "x"}\n')
    with pytest.raises(UserError, match=r"r\.jsonl, line 2"):
        blamed(broken)


def test_where_nothing_can_be_decided_anew_the_tables_are_there(tmp_path: Path) -> None:
    """Of a module that never loaded nothing is known that could be loaded again."""
    recording = tmp_path / "r.jsonl"
    task = {"name": "insmod", "tid": 7}
    call = {
        **{"n": 1, "call": "finit_module", "task": task, "outcome": "load", "result": "ENOENT"},
        **{"begin": 1.0, "end": 2.0, "read": 500, "length": 500, "module": "xfs"},
    }
    recording.write_text(f'{json.dumps({"recording": 1})}\n{json.dumps(call)}\n{{"end": 1}}\n')
    done = CliRunner().invoke(command, [str(recording)], standalone_mode=False)
    assert (done.exception, done.return_value) == (None, 0)
    assert "xfs" in done.output and "1000 B" in done.output
    assert done.output.count("what would help is not known") == 1

"""Names by Prometheus' conventions, labels that are bounded, whatever names hold."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from loader.errors import UserError
from modfs.export.measures import ALL, COUNTER, DUPLICATES, LONGEST, Measured
from modfs.export.read import measure, of_recording
from modfs.export.write import as_json, export_schema, openmetrics, prometheus, write_whole
from tests.conftest import PROJECT
from tests.modfs.export.promtool import PROMTOOL, needs_promtool
from tests.modfs.pictures import hostile
from tests.recordings import SEEDS, TRACES

REPORT = SEEDS / "255-vcpu-without-early-check.stats"
EARLY = next(path for path in TRACES if path.name.startswith("udev8-early"))
RULES = PROJECT / "examples/prometheus"


def samples(text: bytes) -> dict[str, float]:
    """What a scraper reads: each sample's name with its labels, and the number."""
    rows = (line.rpartition(" ") for line in text.decode().splitlines() if line[:1] != "#")
    return {name: float(value) for name, _, value in rows}


def test_a_published_report() -> None:
    """The numbers are those in the report, read by eye."""
    read = samples(prometheus(measure(REPORT, 3)))
    assert read["modfs_source_up"] == 1
    assert read["modfs_modules_loaded_total"] == 67
    assert read['modfs_module_load_failures_total{step="load"}'] == 1411
    assert read['modfs_module_load_failures_total{step="becoming"}'] == 0
    assert read['modfs_module_load_wasted_bytes_total{step="load"}'] == 14588526272
    assert read['modfs_module_duplicate_loads_total{module="kvm"}'] == 249
    # 1411 duplicates: three of 249, and the rest
    assert read['modfs_module_duplicate_loads_total{module="other"}'] == 1411 - 3 * 249


def test_a_recording_has_what_the_kernel_counts_nowhere(tmp_path: Path) -> None:
    """A trace of a booted kernel: its README tells of 119 and 2 failures, two of an init."""
    read = samples(prometheus(measure(EARLY, 20)))
    assert read['modfs_module_load_failures_total{step="becoming"}'] == 119
    assert read['modfs_module_init_failures_total{error="ENODEV",module="powernow_k8"}'] == 2
    by_module = {n: v for n, v in read.items() if n.startswith("modfs_module_wasted_bytes_total")}
    by_step = {n: v for n, v in read.items() if "load_wasted_bytes_total" in n}
    assert sum(by_module.values()) == sum(by_step.values()) > 0


def test_labels_are_bounded() -> None:
    measured = Measured(5)
    values: dict[tuple[str, ...], int] = {(f"m{n:03}",): n for n in range(200)}
    values |= {("other",): 1, ("x" * 500,): 1000}
    measured.set_all(DUPLICATES, values)
    found = measured.samples[DUPLICATES]
    assert len(found) == 6 and sum(found.values()) == sum(values.values())
    assert max(len(name) for (name,) in found) == LONGEST
    assert found["other",] == sum(range(196)) + 1


@needs_promtool
@pytest.mark.parametrize("source", [REPORT, EARLY], ids=["stats", "trace"])
def test_the_text_pleases_promtool(source: Path) -> None:
    text = prometheus(measure(source, 5))
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize("write", [prometheus, openmetrics])
def test_names_that_hold_anything(write: Callable[[Measured], bytes]) -> None:
    """A name with a line end would be a second sample, one with a quote another label."""
    measured = Measured(50)
    of_recording(measured, hostile.recording())
    made = write(measured).decode()
    label = r'[a-z]+="(?:[^"\\\n]|\\["\\n])*"'
    line = re.compile(rf"modfs_[a-z_]+(\{{{label}(,{label})*\}})? \S+")
    rows = [row for row in made.split("\n") if row and not row.startswith("#")]
    assert all(line.fullmatch(row) for row in rows)
    by_module = [row for row in rows if row.startswith("modfs_module_wasted_bytes_total")]
    assert len(by_module) == len(hostile.NAMES)


def test_openmetrics() -> None:
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    text = openmetrics(measure(REPORT, 3)).decode()
    assert text.endswith("# EOF\n")
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    found = {family.name: family for family in families}
    (loaded,) = found["modfs_modules_loaded"].samples
    assert (loaded.name, loaded.value) == ("modfs_modules_loaded_total", 67)


def test_json_and_its_schema() -> None:
    said = json.loads(as_json(measure(REPORT, 3)))
    jsonschema.validate(said, export_schema())
    (loaded,) = [one for one in said["measures"] if one["name"] == "modfs_modules_loaded_total"]
    assert loaded["samples"] == [{"labels": {}, "value": 67}]


def test_names_follow_the_conventions() -> None:
    for one in ALL:
        assert re.fullmatch(r"modfs_[a-z]+(_[a-z]+)*", one.name), one.name
        assert one.kind != COUNTER or not one.name.endswith("_total"), one.name
        assert one.about.endswith("."), one.name


def test_a_file_that_is_whole_at_any_moment(tmp_path: Path) -> None:
    file = tmp_path / "modfs.prom"
    old = os.umask(0o077)
    try:
        write_whole(file, b"a\n")
        write_whole(file, b"b\n")
    finally:
        os.umask(old)
    assert file.read_bytes() == b"b\n" and os.listdir(tmp_path) == ["modfs.prom"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    with pytest.raises(OSError):
        write_whole(tmp_path / "none" / "modfs.prom", b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", b"")
    assert sorted(os.listdir(tmp_path)) == ["folder", "modfs.prom"]


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no trace event in it, and it is no recording"):
        measure(PROJECT / "LICENSE", 5)
    with pytest.raises(FileNotFoundError):
        measure(tmp_path, 5)
    (tmp_path / "stats").write_text("no\n")
    with pytest.raises(UserError, match="stats, line 1: "):
        measure(tmp_path, 5)


def test_a_real_kernels_folder(tmp_path: Path) -> None:
    """Its files are all that there is: no status, no table of inits."""
    (tmp_path / "stats").write_text(REPORT.read_text())
    (tmp_path / "unloaded_tainted").write_text("nvidia (POE) 2\n")
    read = samples(prometheus(measure(tmp_path, 3)))
    assert read['modfs_modules_unloaded_tainted_total{module="nvidia",taints="POE"}'] == 2
    assert "modfs_requests_total" not in read


# -- the examples --------------------------------------------------------------------------------


@needs_promtool
@pytest.mark.parametrize(
    "words", [("check", "rules", "rules.yml"), ("test", "rules", "rules.test.yml")]
)
def test_the_alerts(words: tuple[str, ...]) -> None:
    done = subprocess.run([PROMTOOL, *words], cwd=RULES, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def dashboard_expressions() -> list[str]:
    panels = json.loads((RULES / "grafana-dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_the_examples_name_measures_that_there_are() -> None:
    names = {f"{one.name}_total" if one.kind == COUNTER else one.name for one in ALL}
    for text in (*dashboard_expressions(), (RULES / "rules.yml").read_text()):
        found = set(re.findall(r"\bmodfs_[a-z_]+", text))
        assert found and found <= names


@needs_promtool
def test_the_dashboards_expressions(tmp_path: Path) -> None:
    """As rules, which promtool reads; what Grafana fills in is filled in."""
    rules = [
        {"record": f"panel:{n}", "expr": expr.replace("$__rate_interval", "5m")}
        for n, expr in enumerate(dashboard_expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([PROMTOOL, "check", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rules)} rules found" in done.stdout

"""Measures written: Prometheus' text, OpenMetrics, JSON; to a file that is whole at any moment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from loader.documents.document import Table, about, schema
from loader.errors import UserError
from modfs.export.measures import ALL, COUNTER, Measured

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

MISSING = "the package prometheus-client is missing: pip install 'modfs[export]'"


class Collected:
    """Measures for prometheus_client, read anew whenever they are asked for."""

    def __init__(self, read: Callable[[], Measured]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """A family for each measure that the source has."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        measured = self._read()
        for measure in ALL:
            if measure not in measured.samples:
                continue
            kind = CounterMetricFamily if measure.kind == COUNTER else GaugeMetricFamily
            family = kind(measure.name, measure.about, labels=measure.labels)
            for labels, value in measured.samples[measure].items():
                family.add_metric(labels, value)
            yield family


def registry(read: Callable[[], Measured]) -> CollectorRegistry:
    """One that has nothing but the source's measures. UserError: prometheus_client is missing."""
    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        raise UserError(MISSING, status=1) from None
    made = CollectorRegistry(auto_describe=False)
    made.register(Collected(read))
    return made


def prometheus(measured: Measured) -> bytes:
    """The text format 0.0.4, which node_exporter's textfile collector reads. UserError."""
    collected = registry(lambda: measured)
    from prometheus_client.exposition import generate_latest

    return generate_latest(collected)


def openmetrics(measured: Measured) -> bytes:
    """OpenMetrics 1.0. UserError."""
    collected = registry(lambda: measured)
    from prometheus_client.openmetrics.exposition import generate_latest

    content: bytes = generate_latest(collected)  # type: ignore[no-untyped-call]
    return content


class SampleTable(Table):
    """One number."""

    labels: Annotated[dict[str, str], about("By their names.")]
    value: Annotated[int, about("In the unit that the measure's name ends with.")]


class MeasureTable(Table):
    """One measure with all its samples."""

    name: Annotated[str, about("As Prometheus has it.")]
    type: Annotated[str, about("counter or gauge.")]
    help: Annotated[str, about("What it is.")]
    samples: Annotated[tuple[SampleTable, ...], about("One for each set of labels.")]


class ExportTable(Table):
    """What modfs export --json prints."""

    measures: tuple[MeasureTable, ...]


def as_json(measured: Measured) -> bytes:
    """One JSON object, as `modfs schema export` describes it."""
    made = tuple(
        MeasureTable(
            name=f"{measure.name}_total" if measure.kind == COUNTER else measure.name,
            type=measure.kind,
            help=measure.about,
            samples=tuple(
                SampleTable(labels=dict(zip(measure.labels, labels, strict=True)), value=value)
                for labels, value in measured.samples[measure].items()
            ),
        )
        for measure in ALL
        if measure in measured.samples
    )
    return msgspec.json.format(msgspec.json.encode(ExportTable(measures=made)), indent=1) + b"\n"


def export_schema() -> dict[str, Any]:
    """The JSON Schema of what --json prints."""
    return schema("export", "What modfs export --json prints: measures of a source.", ExportTable)


def write_whole(file: Path, content: bytes) -> None:
    """Make ``file`` have that content, and never half of it. OSError.

    The file beside it that is made first does not end in .prom, so that nobody collects it; who
    collects runs as another user, so all may read.
    """
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with open(descriptor, "wb") as opened:
            opened.write(content)
        os.chmod(beside, 0o644)  # whatever the umask
        os.replace(beside, file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise

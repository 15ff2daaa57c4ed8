"""All fuzzers by their names."""

from __future__ import annotations

from tests.fuzz import (
    fuzz_documents,
    fuzz_engine,
    fuzz_image,
    fuzz_lines,
    fuzz_machine,
    fuzz_packed,
    fuzz_peers,
    fuzz_raw,
    fuzz_shown,
    fuzz_traces,
    fuzz_tree,
)
from tests.fuzz.target import Target

_ALL = (
    fuzz_image,
    fuzz_packed,
    fuzz_lines,
    fuzz_tree,
    fuzz_machine,
    fuzz_documents,
    fuzz_engine,
    fuzz_peers,
    fuzz_raw,
    fuzz_traces,
    fuzz_shown,
)

TARGETS: dict[str, Target] = {target.name: target for module in _ALL for target in module.TARGETS}

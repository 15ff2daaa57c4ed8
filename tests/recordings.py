"""Where the recordings of booted kernels are, for the tests of every room."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "oracle/data"
SEEDS = DATA / "seeds"
"""Two published reports."""
TRANSCRIPTS = sorted((DATA / "transcripts").glob("*/*.jsonl"))
TRACES = sorted((DATA / "traces").glob("*.txt.zst"))
"""Traces of booted kernels, with the kernel's own statistics beside them."""
STOCK = sorted((DATA / "traces").glob("stock-*.txt"))
"""Traces of distributions' kernels, which have no statistics."""

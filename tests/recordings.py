"""Where the recordings of booted kernels are, for the tests of every room."""

from __future__ import annotations

from pathlib import Path

DATA = Path(__file__).parent / "oracle/data"
SEEDS = DATA / "seeds"
"""Two published reports."""
TRANSCRIPTS = sorted((DATA / "transcripts").glob("*/*.jsonl"))

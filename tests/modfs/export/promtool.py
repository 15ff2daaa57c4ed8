"""promtool, of Debian's package prometheus: make test-pictures installs it."""

from __future__ import annotations

import shutil

import pytest

PROMTOOL = shutil.which("promtool") or ""
needs_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="promtool is not installed: make test-pictures installs it"
)

"""Kernels are booted only by `make test-kernels`: that takes minutes."""

from __future__ import annotations

import os

collect_ignore = (
    [] if os.environ.get("MODFS_TEST_KERNELS") else ["test_kernels.py", "test_conformance.py"]
)

"""Versions of installed packages, as importlib.metadata has them."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from modfs import installed


@pytest.mark.parametrize("package", ["modfs", "fusepy", "mfusepy", "click", "zstandard", "pytest"])
def test_those_that_are_here(package: str) -> None:
    assert installed.version(package) == importlib.metadata.version(package)


@pytest.mark.parametrize(
    "name", ["odd-1.2.dist-info", "odd-1.2.egg-info", "Odd-1.2-py3.11.egg-info"]
)
def test_as_distributions_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", ["/nowhere", str(tmp_path)])
    assert installed.version("odd") == "1.2"


def test_one_that_is_not() -> None:
    assert installed.version("nonesuch") is None

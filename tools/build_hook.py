"""Puts the manual pages and completions into a wheel, made from the command that it installs."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_UNITS = "lib/systemd/system/modfs@.service"


class ShareHook(BuildHookInterface):  # type: ignore[type-arg]
    """Files below share/ of wherever the wheel is installed to."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the build; an editable one has no such files."""
        if self.target_name != "wheel" or version == "editable":
            return
        sys.path.insert(0, self.root)
        from tools.manual.share import share

        self._made = tempfile.TemporaryDirectory()
        data = f"{self.metadata.core.raw_name}-{self.metadata.version}.data/data"
        for number, (place, text) in enumerate(share(self.metadata.version).items()):
            path = Path(self._made.name, str(number))
            path.write_text(text)
            build_data["force_include"][str(path)] = f"{data}/share/{place}"
        unit = "tools/systemd/modfs@.service"
        build_data["force_include"][str(Path(self.root, unit))] = f"{data}/{_UNITS}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """After the build."""
        if hasattr(self, "_made"):
            self._made.cleanup()

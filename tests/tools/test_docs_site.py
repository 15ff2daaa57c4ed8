"""The documents as a site: it is built without a warning, and nothing leads nowhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from modfs.cli import VERBS
from tests.conftest import PROJECT


def test_the_site(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=PROJECT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = {page.name: page.read_text() for page in (tmp_path / "site").glob("*.html")}
    assert {"index.html", "behaviour.html", "changes.html", "recordings.html"} <= pages.keys()
    assert all(f'<h2 id="modfs-{verb}">' in pages["commands.html"] for verb in VERBS)
    assert 'href="security.html"' in pages["index.html"]
    for name, page in pages.items():  # nothing is fetched from elsewhere
        assert not re.search(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', page), name
        if name != "404.html":
            for target in re.findall(r'href="([^":#?]+\.html)', page):
                assert (tmp_path / "site" / target).exists(), (name, target)

"""python -m tools.manual FOLDER: writes the pages and completions below FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import modfs
from tools.manual.share import share

if __name__ == "__main__":
    for place, text in share(modfs.__version__).items():
        path = Path(sys.argv[1], place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

"""docs/library.md and the docstring of loader print what they say; the public names are there."""

from __future__ import annotations

import ast
import doctest
import re
from pathlib import Path

import pytest

import loader
from tests.conftest import PROJECT

EXAMPLE = re.compile(r"^```python\n(.*?)^```(?:\n\n```text\n(.*?)^```)?$", re.DOTALL | re.MULTILINE)


def test_the_documents_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All in order, as one program would run them."""
    monkeypatch.chdir(tmp_path)
    examples = EXAMPLE.findall((PROJECT / "docs/library.md").read_text())
    names: dict[str, object] = {}
    for code, output in examples:
        exec(compile(code, "docs/library.md", "exec"), names)
        assert capsys.readouterr().out == output
    assert len(examples) == 3


def test_the_docstrings_example() -> None:
    assert doctest.testmod(loader).failed == 0


def test_every_public_name_is_there() -> None:
    for name in loader.__all__:
        assert getattr(loader, name) is not None
    assert set(loader.__all__) <= set(dir(loader))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = loader.Nothing


def test_type_checkers_know_the_same_names() -> None:
    source = ast.parse(Path(loader.__file__).read_text())
    (block,) = (node for node in source.body if isinstance(node, ast.If))
    names = [alias.name for node in block.body if isinstance(node, ast.ImportFrom)
             for alias in node.names]  # fmt: skip
    assert sorted(names) == loader.__all__


def test_asking_for_one_name_imports_no_more_than_it() -> None:
    import subprocess
    import sys

    program = "import loader, sys; loader.FinitModule; print('simpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n"

"""--environment: what the file says, and what is said of a wrong one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loader.engine.init_routines import InitRoutine
from loader.engine.init_routines_file import read_init_routines
from loader.errors import UserError
from modfs.cli.engine import EngineOptions


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "env.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def test_names_may_have_a_dash(tmp_path: Path) -> None:
    text = (
        '{"init": {"crc32c-intel": {"returns": "EIO", "unless_loaded": ["a-b"], "holds": ["c-d"]}}}'
    )
    routines = read_init_routines(written(tmp_path, text))
    expected = InitRoutine(returns=-5, unless_loaded=("a_b",), holds=("c_d",))
    assert routines.of("crc32c_intel") == expected


@pytest.mark.parametrize("text", ['"2"', '"2 s"', '"2000 ms"', "2", "2.0"])
def test_seconds(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, f'{{"init": {{"m": {{"seconds": {text}}}}}}}')
    assert read_init_routines(path).of("m").seconds == 2.0


MISTAKES = [
    ('{"init":{"m":{"seconds":"soon"}}}', "line 1: init.m.seconds: a time such as"),
    ('{"init":{"m":\n{"seconds":-1}}}', "line 2: init.m.seconds: a time such as"),
    ('{"init":{"m":{"seconds":1e10}}}', "line 1: init.m.seconds: a time such as"),
    ('{"init":\n{"m":{},\n"n":{"secnds":1}}}', "line 3: init.n.secnds: is not known; did you mean"),
    ('{"init":{"m":{"returns":"EWHAT"}}}', "line 1: init.m.returns: 'EWHAT' is no errno"),
    ('{"init":{"m":{"returns":1.5}}}', "line 1: init.m.returns: an errno such as"),
    ('{"init":{"m":{"when":"debug"}}}', "line 1: init.m.when: a parameter and its text"),
    ('{"init":{"m":{"holds":"x"}}}', "line 1: init.m.holds: a list"),
    ('{"init":{"m":{"unless_loaded":["x",1]}}}', "line 1: init.m.unless_loaded[1]: a module's"),
    ('{"init":{"m":{"references":-1}}}', "line 1: init.m.references: a whole number from 0"),
    ('{"init":{"m":3}}', "line 1: init.m: a table or object"),
    ('{"init":{"a-b":{},\n"a_b":{}}}', "line 2: init.a_b: the module a_b is described twice"),
    ('{"init":{"m":{},\n"m":{}}}', "line 2: init.m: is there twice"),
    ('{"inits":{}}', "line 1: inits: is not known; did you mean init?"),
    ("{}", "line 1: init is missing"),
    ("[]", "line 1: a table or object"),
    ("{", "line 1: not JSON"),
    ('{"init":\n"\udc80"}', "line 2: not text: it is not UTF-8"),
]


@pytest.mark.parametrize(("text", "said"), MISTAKES)
def test_mistakes(tmp_path: Path, text: str, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        EngineOptions(environment=path).live()
    assert str(caught.value).startswith(f"{path}, {said}")


def test_an_empty_file(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    with pytest.raises(UserError) as caught:
        EngineOptions(environment=path).live()
    assert str(caught.value) == f"{path}: the file is empty"


@pytest.mark.parametrize("text", [text for text, _ in MISTAKES[:1] + MISTAKES[-2:]])
def test_a_mount_tells_them_in_one_line(
    tmp_path: Path, environment: dict[str, str], text: str
) -> None:
    (tmp_path / "mnt").mkdir()
    file = written(tmp_path, text)
    words: list[str | Path] = ["modfs", "mount", "--environment", file, tmp_path / "mnt"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("modfs mount: ") and "env.json, line " in done.stderr


def test_who_has_no_file_does_not_wait_for_its_reader() -> None:
    """msgspec takes as long to import as a third of a mount."""
    program = (
        "import sys; from modfs.cli.engine import EngineOptions; import modfs.cli.mount;"
        "import modfs.mount.serve; EngineOptions().check(); EngineOptions().live();"
        "print([name for name in sys.modules if 'msgspec' in name or 'documents' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr

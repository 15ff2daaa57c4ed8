"""Documents: where a mistake is and what it is, and that nothing else comes of one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, field

from loader.documents.document import (
    Count,
    Document,
    Given,
    Mistake,
    Table,
    about,
    by_name,
    json_document,
    json_lines,
    toml_document,
)
from loader.documents.kinds import (
    Compression,
    Feature,
    KernelRelease,
    ModuleName,
    ModuleOrAlias,
    Seconds,
    Size,
)
from loader.documents.places import places
from loader.engine.init_routines_file import read_init_routines
from loader.errors import UserError
from loader.simulate.machine_file import read_machine
from loader.simulate.scenario import Scenario
from loader.synthesize.spec_file import read_specs
from modfs.verify.transcript import Transcript


class Part(Table):
    size: Size
    at: Given[Seconds] = UNSET
    names: tuple[ModuleName, ...] = ()
    kind: Literal["one", "two"] = "one"
    count: Annotated[Count, about("How many.")] = 0


class Whole(Table):
    parts: dict[str, Part] = field(default_factory=dict)
    several: list[Part] = field(default_factory=list)
    either: str | Part = ""


TOML = """# a comment, with [brackets] and = signs
either = "x [ { = , # no comment"

[parts]
a = { size = 1, at = "2 ms" }
"b c".size = 2
d-e.kind = "two"
d-e.size = "0x10"

[parts.f]
size = '''
4'''
names = [
    "x-y",   # the first
    "z",
]

[[several]]
size = 1

[[several]]
size = 2
kind = "one"
"""


def read(document: Document) -> Whole:
    return document.read(Whole, lambda whole: whole)


def test_a_right_one() -> None:
    whole = read(toml_document(TOML))
    assert whole.parts["a"].at == 0.002 and whole.parts["d-e"].size == 16
    assert whole.parts["f"].names == ("x_y", "z")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("size = 1, at", "size = true, at", "t, line 5: parts.a.size: a size such as"),
        ('"2 ms"', '"2 mss"', "t, line 5: parts.a.at: a time such as .*, not '2 mss'"),
        ('"2 ms"', "nan", "t, line 5: parts.a.at: a number is needed, not nan"),
        ('"2 ms"', "1e400", "t, line 5: parts.a.at: a number is needed, not inf"),
        ('"2 ms"', "-1", "t, line 5: parts.a.at: a time such as .*, from 0 to 1e.09, not -1"),
        ('"2 ms"', "1e30", "t, line 5: parts.a.at: a time such as .*, from 0 to 1e.09, not 1e.30"),
        ('c".size = 2', 'c".size = -2', "t, line 6: parts.'b c'.size: a size"),
        ('c".size = 2', 'c".sise = 2', "t, line 6: parts.'b c'.sise: is not known; did you mean s"),
        ('"two"', '"tow"', "t, line 7: parts.d-e.kind: one of one, two is .*; did you mean two?"),
        ('"0x10"', '"0xg"', "t, line 8: parts.d-e.size: a size"),
        ("'''\n4'''", "'''\nx'''", "t, line 11: parts.f.size: a size"),
        ('    "z"', "    3", "t, line 15: parts.f.names.1.: a module's name is needed, not 3"),
        ('"one"', "1", "t, line 23: several.1..kind: one of one, two is needed, not 1"),
        ('"one"', '"one"\ncount = 1000001', "t, line 24: several.1..count: a whole .* to 1000000"),
        ('"one"', '"one"\ncount = 1.5', "t, line 24: several.1..count: a whole number .*, not 1.5"),
        ("\nsize = 1\n", "\n", "t, line 18: several.0.: size is missing: a size such as"),
        ("[parts.f]", "[parts]", "t, line 10: not TOML: Cannot declare"),
        ("[parts.f]", "[parts.f", "t, line 10: not TOML: Expected"),
        ('kind = "one"\n', 'kind = "one', "t, line 23: not TOML: "),
        ("[[several]]\nsize = 2", "[more]\nsize = 2", "t, line 21: more: is not known"),
        ("either", "parts = 3\neither", "t, line .: (not TOML|parts: )"),
        ('either = "x', 'either = 3\n#"x', "t, line 2: either: a text or a table .* needed, not 3"),
        ('"x [', '"x \\u0000 [', "t, line 2: either: a text cannot have a null character"),
        ("# a", "\udc80", "t, line 1: not text: it is not UTF-8"),
        ("comment", "\0", "t, line 1: not TOML: "),
        ("= 2\nkind", "= " + "9" * 5000 + "\nkind", "t, line 22: a number has too many digits"),
        ("= 2\nkind", "= " + "[" * 40 + "]" * 40 + "\nkind", "t, line 22: .*too deep"),
        ("= 2\nkind", "= " + "[" * 9999 + "\nkind", "t: .*too deep"),
    ],
)
def test_toml_mistakes(old: str, new: str, message: str) -> None:
    assert old in TOML
    content = TOML.replace(old, new, 1).encode("utf-8", "surrogateescape")
    with pytest.raises(UserError) as caught:
        read(toml_document(content, "t"))
    assert re.match(message, str(caught.value)) and str(caught.value).isprintable()


JSON = """{
 "either": "x: {[,",
 "parts": {
  "a": {"size": 1,
        "at": 2},
  "b\\tc": {"size"
   : "2 kB", "names": ["p",
    "q"]}
 },
 "several": [
  {"size": 1}, {"size": 2,
   "kind": "one"}
 ]
}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"at": 2', '"at": "soon"', "j, line 5: parts.a.at: a time such as .*, not 'soon'"),
        ('"at": 2', '"at": NaN', "j, line 5: parts.a.at: a number is needed, not nan"),
        ('"at": 2', '"at": 1e400', "j, line 5: parts.a.at: a number is needed, not inf"),
        ('"at": 2', '"at": ' + "9" * 400, "j, line 5: parts.a.at: a time such as"),
        ('"at": 2', '"at": ' + "9" * 5000, "j, line 5: a number has too many digits"),
        ('"at": 2', '"at": 2, "size": 3', "j, line 5: parts.a.size: is there twice"),
        ('"at": 2', '"at": 2,', "j, line 5: not JSON: "),
        ('"2 kB"', "null", r"j, line 6: parts.'b\\tc'.size: a size such as .*, not null"),
        ('"q"', '""', r"j, line 8: parts.'b\\tc'.names.1.: a module's name is needed, not ''"),
        ('"one"', '"three"', "j, line 12: several.1..kind: one of one, two"),
        ('"x: {[,"', '"\\ud800"', "j, line 2: either: half a character"),
        ('"either"', '"ether"', "j, line 2: ether: is not known; did you mean either?"),
        ('"either"', '"e\\nther"', r"j, line 2: 'e\\nther': is not known; did you mean either?"),
        ("{\n", "[\n", "j, line 2: not JSON"),
        ("{\n", "\0\n", "j, line 1: not JSON"),
    ],
)
def test_json_mistakes(old: str, new: str, message: str) -> None:
    assert old in JSON
    with pytest.raises(UserError) as caught:
        read(json_document(JSON.replace(old, new, 1), "j"))
    assert re.match(message, str(caught.value)) and str(caught.value).isprintable()


@pytest.mark.parametrize("content", ["", "\n", " \n\t", "\ufeff"])
@pytest.mark.parametrize("parse", [toml_document, json_document, lambda *a: list(json_lines(*a))])
def test_an_empty_file(parse: Callable[..., Any], content: str) -> None:
    with pytest.raises(UserError, match=r"^f: the file is empty$"):
        parse(content.encode(), "f")


@pytest.mark.parametrize("value", ["[1]", "3", '"x"', "null"])
def test_a_top_level_that_is_no_object(value: str) -> None:
    with pytest.raises(UserError, match="f, line 1: a table or object"):
        read(json_document(value, "f"))


def test_lines_end_only_where_json_has_it() -> None:
    """U+2028 and U+0085 are characters in a string, not ends of lines."""
    lines = ["# a comment", "", '{"either": "a\u2028b\u0085c"}\r', '{"either": 1}', "nonsense"]
    documents = json_lines("\n".join(lines), "f")
    assert read(next(documents)).either == "a\u2028b\u0085c"
    with pytest.raises(UserError, match="f, line 4: either: a text"):
        read(next(documents))
    with pytest.raises(UserError, match="f, line 5: not JSON: Expecting value, column 1"):
        next(documents)


def test_a_mark_of_the_byte_order_is_no_mistake() -> None:
    assert read(json_document(b'\xef\xbb\xbf{"either": "x"}')).either == "x"


def test_what_is_made_of_a_table_may_find_mistakes() -> None:
    def make(whole: Whole) -> dict[str, int]:
        return by_name(whole.parts, "parts", one)

    def one(name: str, part: Part) -> int:
        if part.kind == "two":
            raise Mistake("that kind cannot be", "kind")
        return part.size

    with pytest.raises(UserError, match=r"^t, line 7: parts.d-e.kind: that kind cannot be$"):
        toml_document(TOML, "t").read(Whole, make)
    text = '[parts]\na_b.size = 1\n\na-b.size = 2\nc-d.size = "3"'
    with pytest.raises(UserError, match=r"^t, line 4: parts.a-b: the module a_b is .*twice"):
        toml_document(text, "t").read(Whole, make)
    right = text.replace("a-b", "e-f")
    assert toml_document(right).read(Whole, make) == {"a_b": 1, "e_f": 2, "c_d": 3}


def test_a_key_that_looks_like_a_path() -> None:
    """msgspec's messages end with a path, and have the key before it."""
    for key in ("x - at `$.several`", "x - at `$.parts[...]`", "` - at `$[0]", "", "`"):
        with pytest.raises(UserError, match="is not known"):
            read(Document({key: 1}))


def test_places_of_json_are_those_of_its_keys() -> None:
    found = list(places(JSON, is_json=True))
    assert (("parts", "b\tc", "names", 1), 8) in found
    assert (("several", 1, "kind"), 12) in found


@pytest.mark.parametrize(
    ("kind", "value", "made"),
    [
        (Size, "20 MB", 20_000_000),
        (Size, "16k", 16384),
        (Size, "2M", 2 << 20),
        (Size, "1 GiB", 1 << 30),
        (Size, "0x4c0", 0x4C0),
        (Size, "7", 7),
        (Seconds, "2", 2.0),
        (Seconds, "2 ms", 0.002),
        (ModuleName, "crc32c-intel", "crc32c_intel"),
        (ModuleOrAlias, "snd-pcm", "snd_pcm"),
        (ModuleOrAlias, "pci:v-d-", "pci:v-d-"),
        (KernelRelease, "6.12.9-amd64", "6.12.9-amd64"),
        (Compression, "zst", "zstd"),
    ],
)
def test_kinds(kind: Any, value: object, made: object) -> None:
    assert kind.read(value) == made


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (Size, "9" * 400, "a size"),
        (Size, "9" * 5000, "a size"),
        (Size, "9" * 20 + " TB", "a size"),
        (Size, 2**63, "a size .* from 0 to 9.22e.18"),
        (Size, "-1", "a size"),
        (Size, True, "a size .* not true"),
        (Size, "٣", "a size"),
        (Seconds, "1" * 30, "a time"),
        (Seconds, float("nan"), "a time .* not nan"),
        (ModuleName, "a/b", "no module can have the name 'a/b'"),
        (ModuleName, "n" * 56, "no module can have the name"),
        (ModuleName, ["x"], "a module's name is needed, not a list"),
        (KernelRelease, "5.10", "6.4 is the first"),
        (KernelRelease, 6.12, "a kernel release such as .* is needed, not 6.12"),
        (KernelRelease, "9" * 5000 + ".1", "is not a kernel release"),
        (Feature, "early_check", "no feature 'early_check'.*did you mean early-check"),
        (Feature, "idempotant", "did you mean idempotent"),
        (Compression, "lz4", "no compression 'lz4'"),
    ],
)
def test_wrong_values(kind: Any, value: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        kind.read(value)
    assert len(str(caught.value)) < 250


# -- the formats: a value or a UserError, and nothing else ----------------------------------------

EXAMPLES: dict[str, tuple[Callable[[Path], object], list[dict[str, Any]]]] = {
    "machine": (
        read_machine,
        [
            {
                "processors": 2,
                "kernel": "6.4",
                "without": ["early-check"],
                "memory": "2 GiB",
                "storage": {"latency": "1 ms"},
                "userspace": {"looks_for": "coming"},
                "costs": {"fork": 0.1, "read": "1 GB/s", "jitter": 0.1},
                "modules": {"a-b": {"size": "20 kB", "text": 4096, "depends": ["c"]}},
                "coldplug": [{"devices": [{"count": "processors", "modules": ["a-b"]}]}],
            }
        ],
    ),
    "modules": (
        read_specs,
        [
            {
                "module": [
                    {
                        "name": "a-b",
                        "text": "4 kB",
                        "exports": ["x", "y"],
                        "aliases": "z",
                        "parameters": {"n": "int", "m": {"type": "array of int", "max": 3}},
                        "modinfo": {"author": "me"},
                        "module_layout_crc": 7,
                    }
                ],
                "builtin": [{"name": "c", "total_size": 32768, "text_size": 8192}],
            }
        ],
    ),
    "environment": (
        read_init_routines,
        [
            {
                "comment": "x",
                "init": {
                    "a-b": {"seconds": "2 ms", "returns": "EIO", "when": "n=1"},
                    "c": {"returns": -5, "unless_loaded": ["a-b"], "references": 1, "holds": []},
                },
            }
        ],
    ),
    "scenario": (
        Scenario.read,
        [
            {"kernel": "6.4", "without": [], "compression": "zstd", "steps": {"read": "1 ms"}},
            {"module": "a-b", "memory": 32768, "text": 8192, "init": 0.1, "depends": ["c"]},
            {"at": 0.0, "actor": "x", "load": "a-b", "params": "n=1", "flags": 4},
            {"at": "1 ms", "load": "c.ko", "times": 3, "every": 0.1},
            {"at": 2, "unload": "a-b"},
        ],
    ),
    "transcript": (
        Transcript.load,
        [
            {"release": "6.12", "without": ["idempotent"], "compression": "zstd", "steps": 4},
            {"op": "finit_module", "file": "files/a.ko", "result": "OK", "open": "O_RDWR"},
            {"op": "finit_module", "threads": 2, "files": ["a"], "results": {"OK": 2}},
            {"op": "delete_module", "name": "a", "flags": 2048, "result": "ENOENT"},
            {"cat": "stats", "text": "x\n"},
        ],
    ),
}
_JUNK = st.one_of(
    st.sampled_from([-1, 0, 1, 3.5, 4096, 2**31, 2**63, 10**30, 1e300, True]),
    st.sampled_from(["", "x", "a-b", "1e400", "20 kB", "\0", "\u2028", "EIO", "6.12", "nan"]),
    st.sampled_from([[], {}, [1], ["x"], {"x": 1}, [[]]]),
)
_PIECES = st.binary(max_size=8) | st.sampled_from([b'"', b"{", b"[", b"]", b"\n", b"="])


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\0", "\\u0000")


def _written(name: str, documents: list[Any]) -> str:
    if name in ("machine", "modules"):
        (document,) = documents
        items = document.items() if isinstance(document, dict) else [("x", document)]
        return "\n".join(f"{json.dumps(key)} = {_toml(value)}" for key, value in items)
    return "\n".join(map(json.dumps, documents))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The value, at one place in it something else: another value, another key, nothing."""
    if isinstance(value, list | dict) and value and draw(st.integers(0, 9)):
        value = value.copy()
        key = draw(st.sampled_from(list(value) if isinstance(value, dict) else range(len(value))))
        how = draw(st.integers(0, 9))
        if how == 0:
            del value[key]
        elif how == 1 and isinstance(value, dict):
            value[draw(st.sampled_from(["x", "a-b", "size", "", "a.b", "\n", "`"]))] = value[key]
        else:
            value[key] = draw(changed(value[key]))
        return value
    return draw(_JUNK)


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents") / "file"


def is_value_or_one_line(name: str, file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        EXAMPLES[name][0](file)
    except UserError as error:
        assert str(error).startswith(f"{file}") and str(error).isprintable()


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_right(name: str, file: Path) -> None:
    file.write_text(_written(name, EXAMPLES[name][1]))
    assert EXAMPLES[name][0](file)


@pytest.mark.parametrize("name", EXAMPLES)
@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_changed_documents(name: str, file: Path, data: st.DataObject) -> None:
    documents = list(EXAMPLES[name][1])
    index = data.draw(st.integers(0, len(documents) - 1))
    documents[index] = data.draw(changed(documents[index]))
    is_value_or_one_line(name, file, _written(name, documents).encode())


@pytest.mark.parametrize("name", EXAMPLES)
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_changed_texts(name: str, file: Path, data: st.DataObject) -> None:
    content = _written(name, EXAMPLES[name][1]).encode()
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, min(len(content), start + 20)))
    piece = data.draw(_PIECES)
    is_value_or_one_line(name, file, content[:start] + piece + content[end:])


@pytest.mark.parametrize("name", EXAMPLES)
@settings(deadline=None, max_examples=50)
@given(content=st.binary(max_size=60))
def test_any_bytes(name: str, file: Path, content: bytes) -> None:
    is_value_or_one_line(name, file, content)

"""Words for modules, sizes and times, each read in one place."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loader.errors import UserError
from loader.words import (
    MODULE_FILE,
    canonical,
    did_you_mean,
    module_name,
    module_or_alias,
    parse_rate,
    parse_seconds,
    parse_size,
    shown,
)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("crc32c-intel.ko", "crc32c_intel"),
        ("/lib/modules/6.12/kernel/fs/xfs/xfs.ko.zst", "xfs"),
        ("a.b.ko", "a"),
        ("plain", "plain"),
        (Path("x/y-z.ko"), "y_z"),
    ],
)
def test_the_name_in_a_files_name(path: str | Path, name: str) -> None:
    assert module_name(path) == name


@pytest.mark.parametrize("name", ["a.ko", "a-b.ko.zst", "a.ko.gz", "a.ko.xz", "a.1.ko", "a\nb.ko"])
def test_what_is_a_modules_file(name: str) -> None:
    assert MODULE_FILE.fullmatch(name)


@pytest.mark.parametrize("name", [".ko", "a.ko.bz2", "a.o", "a", "x/a.ko", "a.ko.zst.gz", "a.KO"])
def test_what_is_none(name: str) -> None:
    assert not MODULE_FILE.fullmatch(name)


def test_names_and_aliases() -> None:
    assert canonical("a-b-c_d") == "a_b_c_d"
    assert module_or_alias("fs-xfs") == "fs_xfs"
    assert module_or_alias("cpu:type:x86,ven*-") == "cpu:type:x86,ven*-"


# -- sizes, times, rates --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (4096, 4096),
        ("0", 0),
        ("16k", 16 * 1024),
        ("16 K", 16 * 1024),
        ("20 MB", 20_000_000),
        ("2 MiB", 2 * 1024**2),
        ("1.5G", 3 * 1024**3 // 2),
        ("1 TB", 10**12),
        ("0x4c0", 1216),
        (" 7 B ", 7),
        (2**63 - 1, 2**63 - 1),
    ],
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("unit", ["K", "M", "G", "T", "KB", "MB", "GB", "KiB", "MiB", "GiB"])
def test_sizes_are_those_that_other_programs_read(unit: str) -> None:
    """numfmt: a letter alone and the IEC's are powers of 1024, with a B those of 1000."""
    kind = "si" if unit.endswith("B") and "i" not in unit else "iec"
    number = f"3{unit[0]}"
    done = subprocess.run(
        ["numfmt", f"--from={kind}", number], capture_output=True, text=True, check=True
    )
    assert parse_size(f"3 {unit}") == int(done.stdout)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(2, 2), (0.002, 0.002), ("2 ms", 0.002), ("5us", 5e-6), ("5 µs", 5e-6), ("1 s", 1)],
)
def test_times(text: object, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


def test_rates() -> None:
    assert parse_rate("900 MB/s") == 900_000_000
    assert parse_rate(5) == 5
    for nothing in (0, "0 MB/s", "900 MB"):
        with pytest.raises(UserError, match="a rate above 0"):
            parse_rate(nothing)


@pytest.mark.parametrize(
    "value",
    ["", "x", "1 X", "-1", -1, "1e3", "1,5", None, True, [], {}, float("nan"), float("inf"),
     2**63, "9" * 31, "1 2", "0x", "1e400", 10**400],
)  # fmt: skip
def test_what_is_no_size_or_time(value: object) -> None:
    for parse in (parse_size, parse_seconds, parse_rate):
        with pytest.raises(UserError, match="is needed"):
            parse(value)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none(), st.binary()))
def test_whatever_it_is_nothing_else_comes_of_it(value: object) -> None:
    for parse in (parse_size, parse_seconds, parse_rate):
        try:
            found = parse(value)
        except UserError as error:
            assert "\n" not in str(error) and len(str(error)) < 200
        else:
            assert 0 <= found < 2**63


# -- what a message repeats -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "'a'"),
        ("a\nb", "'a\\nb'"),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ([1, 2], "a list"),
        ({"a": 1}, "a table"),
        (1.5, "1.5"),
    ],
)
def test_wrong_values_are_shown_on_one_line(value: object, text: str) -> None:
    assert shown(value) == text


def test_and_not_all_of_what_is_long() -> None:
    assert len(shown("x" * 1000)) < 70 and shown("x" * 1000).endswith("…")
    assert len(shown(10**6000)) < 70


def test_did_you_mean() -> None:
    assert did_you_mean("secnds", ["returns", "seconds"]) == "; did you mean seconds?"
    assert did_you_mean("zzz", ["returns", "seconds"]) == ""
    assert did_you_mean("x", []) == ""

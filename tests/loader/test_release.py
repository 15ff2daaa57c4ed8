"""Releases differ as behaviour.md tells."""

from __future__ import annotations

import re

import pytest

from loader.errors import UserError
from loader.release import (
    CHANGES,
    FEATURES,
    RELEASES,
    Release,
    choose_release,
    parse_release,
    release,
)


def test_each_change_is_a_field() -> None:
    fields = set(Release.__dataclass_fields__) - {"name"}
    assert {change.field for change in CHANGES} == fields
    assert set(FEATURES.values()) <= fields


def test_each_change_is_of_a_release_and_cites_its_commit() -> None:
    for change in CHANGES:
        assert change.release in RELEASES
        assert re.fullmatch("(?:[0-9a-f]{12})?", change.commit), change


@pytest.mark.parametrize(
    ("uname", "row"),
    [
        ("6.4", "6.4"),
        ("6.7.12", "6.6"),
        ("6.12.117-1-amd64", "6.12"),
        ("6.17.0-rc3", "6.17"),
        ("7.0.1", "7.0"),
        ("7.3.4+deb13-amd64", "7.3"),
        ("7.12", "7.3"),
    ],
)
def test_a_full_name_picks_the_nearest_below(uname: str, row: str) -> None:
    assert release(uname).name == row


@pytest.mark.parametrize("name", ["6.3.9", "5.10", "six", "", "6"])
def test_not_a_release(name: str) -> None:
    with pytest.raises(ValueError, match=r"6\.4|not a kernel release"):
        release(name)


def test_what_came_when() -> None:
    """behaviour.md sections 2 and 3."""
    by_name = {name: release(name) for name in RELEASES}
    assert by_name["6.4"].early_check and not by_name["6.4"].idempotent
    assert by_name["6.5"].idempotent and not by_name["6.5"].idempotent_wait_interruptible
    assert by_name["6.11"].idempotent_wait_interruptible
    assert not by_name["6.12"].symbol_names_checked and by_name["6.13"].symbol_names_checked
    assert not by_name["6.13"].extended_modversions and by_name["6.14"].extended_modversions
    assert not by_name["6.15"].static_call_sites_ro and by_name["6.16"].static_call_sites_ro
    assert not by_name["6.15"].module_namespaces and by_name["6.16"].module_namespaces
    assert not by_name["6.18"].unpacked_file_reviewed and by_name["6.19"].unpacked_file_reviewed
    assert not by_name["7.0"].init_eexist_is_ebusy and by_name["7.1"].init_eexist_is_ebusy
    assert not by_name["7.0"].export_flags and by_name["7.1"].export_flags
    assert not by_name["7.1"].string_tables_typed and by_name["7.2"].string_tables_typed


def test_features_can_be_taken_away() -> None:
    bare = release("6.12", ("idempotent", "early-check"))
    assert not bare.idempotent and not bare.early_check
    assert bare.idempotent_wait_interruptible
    with pytest.raises(ValueError, match="known are idempotent, early-check"):
        release("6.12", ("speed",))


@pytest.mark.parametrize(
    ("text", "name", "without"),
    [
        ("6.12", "6.12", ()),
        ("6.12.9-amd64", "6.12", ()),
        ("6.4 without early-check", "6.4", ("early-check",)),
        (" 6.12  without early-check,idempotent ", "6.12", ("idempotent", "early-check")),
        ("6.4 without idempotent", "6.4", ()),  # it came with 6.5
    ],
)
def test_kernels_are_named_by_a_text(text: str, name: str, without: tuple[str, ...]) -> None:
    found = parse_release(text)
    assert found == release(name, without)
    assert (found.name, found.without) == (name, without)
    assert parse_release(found.title) == found


@pytest.mark.parametrize("text", ["6.12 without", "6.12 without speed", "6.12 without idempotent,"])
def test_a_text_that_names_no_kernel(text: str) -> None:
    with pytest.raises(UserError, match="known are idempotent, early-check"):
        parse_release(text)


@pytest.mark.parametrize(
    ("kernel", "without", "title"),
    [
        (None, (), "6.12 without idempotent"),
        (None, ("early-check",), "6.12 without idempotent, early-check"),
        ("6.13", (), "6.13"),
        ("6.13", ("early-check",), "6.13 without early-check"),
        ("6.13 without idempotent", ("early-check",), "6.13 without idempotent, early-check"),
    ],
)
def test_the_kernel_of_a_file_and_another(
    kernel: str | None, without: tuple[str, ...], title: str
) -> None:
    """A kernel that is named replaces all that the file says; what is taken away comes on top."""
    assert choose_release(kernel, without, "6.12", ("idempotent",)).title == title

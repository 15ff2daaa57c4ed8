"""What follows -o, as mount(8) and fuse(8) have it."""

from __future__ import annotations

import pytest

from loader.errors import UserError
from modfs.mount.options import MountOptions, mount_options

OWN = frozenset(("kernel", "modules"))


def parse(*texts: str) -> MountOptions:
    return MountOptions.parse(texts, OWN)


def test_nothing_is_said() -> None:
    assert parse() == MountOptions((), (), 0o600)


def test_what_is_whose() -> None:
    found = parse("allow_other,kernel=6.12,ro", "modules=/lib/a=b,max_read=4096")
    assert found.fuse == ("allow_other", "ro", "max_read=4096")
    assert found.own == (("kernel", "6.12"), ("modules", "/lib/a=b"))


def test_what_is_for_fstab_says_nothing() -> None:
    """mount(8), FILESYSTEM-INDEPENDENT MOUNT OPTIONS; systemd.mount(5) for x-*."""
    words = "rw,auto,noauto,nofail,_netdev,user,users,nodev,nosuid,exec,noatime,defaults"
    assert parse(f"{words},x-systemd.automount,x-gvfs-hide,comment=why") == MountOptions()


def test_empty_words_and_values() -> None:
    found = parse("", ",,kernel=,modules,")
    assert (found.own, found.fuse) == ((("kernel", ""), ("modules", "")), ())


@pytest.mark.parametrize(("text", "mode"), [("0660", 0o660), ("666", 0o666), ("0", 0)])
def test_the_mode_of_control(text: str, mode: int) -> None:
    assert parse(f"control_mode={text}").control_mode == mode


@pytest.mark.parametrize("text", ["", "9", "1000", "-1", "rw", "0x1ff", "7777777777"])
def test_what_is_no_mode(text: str) -> None:
    with pytest.raises(UserError, match="not a mode such as 0660"):
        parse(f"control_mode={text}")


def test_fuse_is_told_what_our_files_are() -> None:
    """subtype is what /proc/mounts shows behind "fuse."; sizes are not to be remembered."""
    found = mount_options(("allow_other",))
    assert {"fsname=modfs", "subtype=modfs", "direct_io", "default_permissions"} <= set(found)
    assert found[-1] == "allow_other"
    assert not any("," in word or " " in word for word in found)

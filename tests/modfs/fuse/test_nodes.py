"""Numbers of paths, as long as the kernel knows them."""

from __future__ import annotations

from modfs.fuse.files import Nature
from modfs.fuse.nodes import Nodes
from modfs.fuse.protocol import FUSE_ROOT_ID


def test_a_path_has_one_number_until_it_is_forgotten() -> None:
    nodes = Nodes(lambda path: Nature())
    first = nodes.look_up(b"/a")
    assert nodes.look_up(b"/a") is first and first.lookups == 2
    assert nodes.look_up(b"/b").number != first.number
    nodes.forget(first.number, 1)
    assert nodes.get(first.number) is first
    nodes.forget(first.number, 1)
    assert nodes.get(first.number) is None and len(nodes) == 2
    assert nodes.look_up(b"/a").number > first.number


def test_what_is_not_known_can_be_forgotten() -> None:
    nodes = Nodes(lambda path: Nature())
    nodes.forget(77, 5)
    nodes.forget(FUSE_ROOT_ID, 5)
    root = nodes.get(FUSE_ROOT_ID)
    assert root is not None and root.path == b"/"


def test_nothing_is_kept_of_what_is_forgotten() -> None:
    nodes = Nodes(lambda path: Nature())
    for number in range(1000):
        nodes.forget(nodes.look_up(b"/%d" % number).number, 1)
    assert len(nodes) == 1
    assert not nodes._paths

"""make record without a kernel: what a boot that goes wrong comes to. (Kernels: tests/oracle.)"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from loader.errors import UserError
from modfs.conformance.answers import Answer, Answered
from modfs.conformance.scenario import Step
from tools.record.guest import Guest
from tools.record.kernels import kernel

STEPS: list[Step] = [{"cat": "/proc/modules"}] * 3


class _Boots(Guest):
    """A guest whose boots get as far as they are told to."""

    def __init__(self, folder: Path, *reached: int) -> None:
        self.folder, self.symbols = folder, "all"
        self.reached = list(reached)
        self.accelerators: list[str] = []
        (folder / "root").mkdir()
        (folder / "t.console").write_text("Kernel panic")

    def _booted(self, name: str, steps: Sequence[Step], accelerator: str) -> Answered:
        self.accelerators.append(accelerator)
        count = self.reached.pop(0)
        return Answered(name, tuple(steps[:count]), (Answer(text=""),) * count)


@pytest.mark.parametrize(
    ("reached", "boots"),
    [((3,), 1), ((0, 3), 2), ((1, 3), 2), ((1, 2), 2)],
    ids=["at once", "panic at boot", "panic later", "twice"],
)
def test_a_boot_that_ends_early_is_tried_once_more(
    reached: tuple[int, ...], boots: int, tmp_path: Path
) -> None:
    guest = _Boots(tmp_path, *reached)
    assert len(guest.perform("t", STEPS).steps) == reached[-1]
    assert guest.accelerators == ["tcg", "tcg,thread=single"][:boots]


def test_a_kernel_that_never_comes_up_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="before the first step:\nKernel panic"):
        _Boots(tmp_path, 0, 0).perform("t", STEPS)


def test_an_image_is_where_debian_has_it(tmp_path: Path) -> None:
    """In /boot until 7.1, among its modules since 7.2."""
    modules = tmp_path / "lib/modules/6.17.13-x"
    modules.mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    for place in (tmp_path / "boot/vmlinuz-6.17.13-x", modules / "vmlinuz"):
        place.touch()
        (modules / "modules.order").touch()
        found, config = kernel(str(place), 1)
        assert (found.release, found.image, found.modules, config) == (
            "6.17.13-x", place, modules, None
        )  # fmt: skip
    with pytest.raises(UserError, match="neither a version"):
        kernel("nothing", 1)

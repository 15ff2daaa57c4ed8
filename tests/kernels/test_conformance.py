"""modfs record --conformance on Debian's own kernels under QEMU: what they answer, replayed here.

Nothing but modfs, Python and some of the kernel's modules is in the guest. The recording comes out
as base64 of a tar archive, and `modfs verify` takes it as a person would.
"""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from loader.release import has_statistics
from modfs.conformance.scenario import scenarios
from tests.kernels.guest import Guest
from tools.record.debian import fetch

VERSIONS = [
    version
    for version in os.environ.get("MODFS_TEST_KERNELS", "").split()
    if has_statistics(version)
]
# Of which the recorder learns what modules must be like, and the versions of all that its own use:
# msleep and six param_ops.
MODULES = ("dummy", "loop", "tun", "veth", "bridge", "fat", "vfat", "isofs", "xfs", "nfs",
           "virtio_net", "BusLogic", "acpi-cpufreq", "bonding", "mlx4_core")  # fmt: skip
HARMLESS = {one.name for one in scenarios() if one.harmless}
UNSIGNED_AND_NO_MORE = {0, 1 << 13}  # TAINT_UNSIGNED_MODULE

_SCRIPT = r"""
echo "@""BEFORE $(cat /proc/sys/kernel/tainted)"
python3 -m modfs record --conformance -o /tmp/out; echo "@""STATUS $?"
echo "@""LEFT $(grep -c . /proc/modules)"
echo "@""TAINTED $(cat /proc/sys/kernel/tainted)"
echo "@""TAR"; tar -c -C /tmp/out . | base64; echo "@""END"
echo 1 > /proc/sys/kernel/modules_disabled
python3 -m modfs record --conformance -o /tmp/no; echo "@""DISABLED $?"
"""


@pytest.fixture(scope="module", params=VERSIONS)
def printed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    guest = Guest(fetch(request.param), (), tmp_path_factory.mktemp(request.param))
    guest.lay_out_tree(MODULES)
    return guest.run(_SCRIPT)


def said(printed: str, word: str) -> int:
    (found,) = re.findall(rf"^@{word} (\d+)$", printed, re.MULTILINE)
    return int(found)


def test_the_kernel_is_as_before(printed: str) -> None:
    assert said(printed, "STATUS") == 0
    assert said(printed, "LEFT") <= 1  # fuse, which the guest itself loads
    assert said(printed, "TAINTED") & ~said(printed, "BEFORE") in UNSIGNED_AND_NO_MORE


def test_every_step_agrees(printed: str, tmp_path: Path) -> None:
    packed = printed.partition("@TAR\n")[2].partition("@END\n")[0]
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed))) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # 3.11.4
        archive.extractall(tmp_path, **safely)  # type: ignore[arg-type]
    assert {path.stem for path in (tmp_path / "transcripts").glob("*.jsonl")} == HARMLESS
    command = [sys.executable, "-m", "modfs", "verify", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"(\d+) of (\d+) transcripts, (\d+) of (\d+) steps agree$", done.stdout)
    assert found, done.stdout
    assert found[1] == found[2] == str(len(HARMLESS))
    assert found[3] == found[4] and int(found[3]) > 400  # all modules were made


def test_a_kernel_that_loads_no_more_is_left_alone(printed: str) -> None:
    assert said(printed, "DISABLED") == 2
    assert "modules_disabled is 1" in printed

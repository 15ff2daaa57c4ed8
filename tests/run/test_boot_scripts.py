"""What loads modules at boot, as Debian ships it: modprobe.d, initramfs-tools, dracut."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.run.conftest import Done

Run = Callable[..., Done]
INITRAMFS = Path("/usr/share/initramfs-tools/scripts")
DRACUT = Path("/usr/lib/dracut/modules.d")
LOADED = "cut -d' ' -f1 /proc/modules | tac | tr '\\n' ' '"
# A root whose every folder can be written to: what is written stays in the sandbox.
ROOT = """
mkdir root layers; mount -t tmpfs none layers; mkdir layers/upper layers/work
mount -t overlay -o lowerdir=/,upperdir=layers/upper,workdir=layers/work none root
for folder in proc sys dev run lib/modules; do mount --rbind /$folder root/$folder; done
"""
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes such a root")


def inside(script: str, prepare: str = "") -> str:
    """A shell script that runs another in a root of its own. ``prepare``: what is put into it."""
    written = f"cat >tmp/script <<'EOF'\n{script}\nEOF\n"
    return f"set -e; {ROOT} cd root; {prepare}\n{written} chroot . sh tmp/script"


def test_modprobe_d(run: Run, tmp_path: Path) -> None:
    """modprobe.d(5): each word does what it says."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/all.conf").write_text(
        "options middle n=8\nblacklist top\nsoftdep slow pre: base post: middle\n"
        "install stuck /bin/false\ninstall bad modprobe -C conf --ignore-install base && echo ran\n"
    )
    done = run(
        "export MODPROBE_OPTIONS='-C conf'; say() { echo $1 $(lsmod | tail -n +2 | wc -l); };"
        f" modprobe slow; {LOADED}; cat /sys/module/middle/parameters/n;"
        " modprobe -b pci:v00001234d00005678; say blacklisted; modprobe top; say loaded;"
        " modprobe stuck || say refused; modprobe -r top slow; say removed; modprobe bad; say bad"
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "base slow middle 8"
    assert lines[1:4] == ["blacklisted 3", "loaded 4", "refused 4"]
    assert lines[4:] == ["removed 0", "ran", "bad 1"]


@root_only
@pytest.mark.skipif(not INITRAMFS.is_dir(), reason="initramfs-tools-core is not installed")
def test_initramfs_tools_loads_what_conf_modules_names(run: Run) -> None:
    """scripts/functions, load_modules: with comments, empty lines and parameters."""
    modules = r"# first\n\n  # indented\nmiddle n=9\nnothing_of_that_name\nslow\n"
    done = run(
        inside(
            f". {INITRAMFS}/functions\nload_modules\n{LOADED}\ncat /sys/module/middle/parameters/n",
            f"mkdir conf; printf '{modules}' >conf/modules",
        )
    )
    assert done.stdout == "base middle slow 9\n"
    assert "Module nothing_of_that_name not found" in done.stderr


@root_only
@pytest.mark.skipif(
    not (INITRAMFS / "init-top/udev").exists(), reason="udev or initramfs-tools-core is missing"
)
def test_udev_of_an_initramfs(run: Run, tmp_path: Path) -> None:
    """init-top/udev starts udevd and triggers all devices; init-bottom/udev ends it."""
    (tmp_path / "devices").write_text(
        "P: /devices/pci0000:00/0000:00:05.0\nE: SUBSYSTEM=pci\nE: MODALIAS=pci:v00001234d0005\n"
    )
    done = run(
        inside(
            "export SYSTEMD_IGNORE_CHROOT=1 rootmnt=/root\n"
            f"sh {INITRAMFS}/init-top/udev >&2\n{LOADED}\n"
            f"sh {INITRAMFS}/init-bottom/udev >&2"
        ),
        options=("--devices", "devices"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "base middle top "


@root_only
@pytest.mark.skipif(not DRACUT.is_dir(), reason="dracut-core is not installed")
def test_dracut_loads_what_the_command_line_names(run: Run) -> None:
    """rd.driver.pre is loaded first, rd.driver.blacklist by no alias, rd.driver.post at the end."""
    done = run(
        inside(
            ". /lib/dracut-lib.sh\n"
            f". {DRACUT}/90kernel-modules/parse-kernel.sh\n{LOADED}; echo\n"
            "modprobe -b pci:v00001234d00005678\n"
            "for hook in /lib/dracut/hooks/initqueue/settled/*.sh; do . $hook; done\n"
            f"{LOADED}",
            "mount -t tmpfs none run;"
            " mkdir -p run/initramfs etc/cmdline.d lib/dracut/hooks/initqueue/settled;"
            " echo 'rd.driver.pre=slow,base rd.driver.blacklist=top rd.driver.post=middle'"
            f" >etc/cmdline.d/test.conf; cp {DRACUT}/99base/dracut-*lib.sh lib;"
            " for name in getarg getargs; do cp lib/dracut/dracut-util bin/dracut-$name; done;"
            f" cp {DRACUT}/99base/initqueue.sh sbin/initqueue;"
            f" cp {DRACUT}/90kernel-modules/insmodpost.sh sbin; chmod +x sbin/initqueue sbin/*.sh",
        ),
        shell="bash",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["slow base ", "slow base middle "]
    assert shutil.which("initqueue") is None  # all of it was in there

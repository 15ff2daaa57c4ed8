"""The tree's own modprobe beside the real one: exit status, and what is loaded then."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from loader.engine.threads import LiveKernel
from loader.synthesize.spec import ModuleSpec, ParameterSpec
from loader.synthesize.trees import write_tree
from loader.tree.tree import Tree

SPECS = (
    ModuleSpec("base", exports=("base_symbol",), parameters=(ParameterSpec("n", "int"),)),
    ModuleSpec("top", depends=("base",), aliases=("fs-top", "both", "glob*x")),
    ModuleSpec("twin", aliases=("both", "fs-twin")),
    ModuleSpec("soft", softdeps=("pre: twin post: bad",)),
    ModuleSpec("bad", aliases=("fs-bad",)),
    ModuleSpec("needs_bad", softdeps=("pre: nothing bad",)),
    ModuleSpec("black", aliases=("fs-black",)),
    ModuleSpec("never"),
    ModuleSpec("always"),
    ModuleSpec("other"),
    ModuleSpec("chained"),
    ModuleSpec("round"),
    ModuleSpec("with_options", parameters=(ParameterSpec("n", "int"),)),
    ModuleSpec("wrong_options", parameters=(ParameterSpec("n", "int"),)),
    ModuleSpec("conf_soft"),
)
CONFIG = {
    "10-first.conf": """\
# a comment
alias net-pf-99 top
alias odd-* twin
alias to-black black
blacklist black
options with-options n=7
options wrong_options n=x
softdep conf_soft pre: other post: twin
""",
    "20-second.conf": """\
install never /bin/false
install always /bin/true
install chained /sbin/modprobe --ignore-install chained $CMDLINE_OPTS && \\
    /sbin/modprobe other
install nothing-but-a-line /bin/true
install bad-line exit 3
install fallback false || modprobe twin; true
not a line of kmod's
""",
}
STRINGS = (
    *("top", "fs-top", "both", "globx", "glob-1-x", "soft", "bad", "fs-bad", "needs_bad", "black"),
    *("fs-black", "to-black", "never", "always", "chained", "nothing-but-a-line", "bad-line"),
    *("fallback", "with_options", "wrong-options", "conf_soft", "net-pf-99", "odd-one", "nope"),
    *("", "fs-nope", "a b;c", "[", "symbol:base_symbol", "with-options"),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("modprobe")
    write_tree(root, SPECS)
    folder = root / "lib/modules"
    folder.mkdir(parents=True)
    (folder / "1.0").symlink_to(root)
    subprocess.run(["depmod", "-b", root, "1.0"], check=True, capture_output=True)
    (folder / "1.0").unlink()
    (root / "modprobe.d").mkdir()
    for name, text in CONFIG.items():
        (root / "modprobe.d" / name).write_text(text)
    (root / "environment.json").write_text(json.dumps({"init": {"bad": {"returns": "ENODEV"}}}))
    return root


def ours(tree: Path, string: str) -> tuple[int, list[str], str]:
    from loader.engine.init_routines_file import read_init_routines

    routines = read_init_routines(tree / "environment.json")
    live = LiveKernel(tree=Tree.open(tree), init_routines=routines)
    status = live.request_module(string)
    modules = live.snapshot().modules
    values = "".join(text for module in modules for name, text, _ in module.parameters if text)
    return status >> 8, [module.name for module in modules], values


SCRIPT = """
printf '%s\\0' "$@" > strings
for string; do
    modprobe -q -- "$string"; echo $?
    cut -d' ' -f1 /proc/modules | tr '\\n' ' '; echo
    cat /sys/module/*/parameters/n 2>/dev/null | tr -d '\\n'; echo
    while read name rest; do rmmod $name; done < /proc/modules
done
"""


def test_the_same_comes_of_it(tree: Path, environment: dict[str, str], tmp_path: Path) -> None:
    words = ["modfs", "run", "--modules", str(tree)]
    words += ["--environment", str(tree / "environment.json"), "--", "sh", "-c", SCRIPT, "sh"]
    done = subprocess.run(
        [*words, *STRINGS],
        env=environment | {"MODPROBE_OPTIONS": f"-C {tree}/modprobe.d"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    theirs = {
        string: (int(lines[at]), lines[at + 1].split(), lines[at + 2])
        for string, at in zip(STRINGS, range(0, len(lines), 3), strict=True)
    }
    assert {string: ours(tree, string) for string in STRINGS} == theirs
    assert os.listdir(tree / "modprobe.d")

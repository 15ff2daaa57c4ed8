"""The same input to another program: where both take it they must agree.

What a kernel does otherwise than the program is a rule in the function that compares.
"""

from __future__ import annotations

import errno
import functools
import re
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from loader.errors import UserError
from loader.image import signature
from loader.image.compression import DecompressError, decompress
from loader.image.elf import ElfError, ElfModule
from loader.synthesize.builder import build_module
from loader.synthesize.spec import ModuleSpec
from loader.tree.tree import Tree
from modfs.control.grammar import _words
from tests.fuzz import fuzz_image, fuzz_packed, seeds
from tests.fuzz.elf import damaged_module
from tests.fuzz.fuzz_packed import LIMIT, Packed
from tests.fuzz.mutate import Chance, text_of
from tests.fuzz.target import Target

Bytes = subprocess.CompletedProcess[bytes]


def run(*words: str | Path, given: bytes | None = None, cwd: str | None = None) -> Bytes:
    """A program, in English, with ``given`` as its input."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    return subprocess.run(words, input=given, capture_output=True, env=environment, cwd=cwd)


# -- .modinfo: kmod's modinfo ---------------------------------------------------------------------

_FIELDS = ("depends", "vermagic", "alias", "license", "intree", "description", "softdep")


def make_modinfo(chance: Chance) -> bytes:
    return damaged_module(chance, chance.choice(seeds.whole_modules()))


def check_modinfo(data: bytes) -> str:
    try:
        ours = _our_elf(data)
    except ElfError:
        return "ours refuses"
    with tempfile.NamedTemporaryFile(suffix=".ko", prefix="modfs-fuzz-") as file:
        file.write(data)
        file.flush()
        said = run("modinfo", "-0", file.name)
    if said.returncode:
        return "theirs refuses"
    entries = [entry.partition(b"=") for entry in said.stdout.split(b"\0")]
    for field in _FIELDS:
        theirs = [value for tag, _, value in entries if tag.decode("latin-1") == field]
        mine = [value.encode("utf-8", "surrogateescape") for value in ours.values(field)]
        assert theirs == mine, field
    return "both"


def _our_elf(data: bytes) -> ElfModule:
    """Only as far as modinfo looks. It skips a .modinfo of no bytes, and reads one section name as
    the first that has it, whatever else is wrong with the file."""
    elf = ElfModule(data, int.from_bytes(data[18:20], "little"))
    if not elf.index_info or elf.sh_type[elf.index_info] in (0, 8):
        raise ElfError("modinfo reads what is there even of sections without content")
    return elf


# -- signatures: openssl --------------------------------------------------------------------------


def check_openssl(signed: fuzz_image.Signed) -> str:
    """A good signature can only be of the module that was signed; what openssl verifies is never
    malformed (but for the trailer, which it does not see)."""
    verdict = signature.check(signed.data, False, seeds.keyring(), False)
    module, _ = _message(signed.data)
    good = _openssl_verifies(signed.data)
    if verdict.signed:
        assert module == _message(seeds.recorded("files")["signed.ko"])[0]
        # The kernel does not look at versions, at the list of digests, at what follows.
        return "both" if good else "ours alone"
    if good:
        trailer = signed.data[len(module) :][-40:-32]
        malformed = verdict.failure and verdict.failure.errno == errno.EBADMSG
        assert not malformed or trailer != b"\0\0\2\0\0\0\0\0", "openssl verifies it"
        return "theirs alone"
    return "neither"


def _message(data: bytes) -> tuple[bytes, bytes]:
    """The module and the message, by the length in the trailer."""
    end = len(data) - 40
    start = end - int.from_bytes(data[end + 8 : end + 12], "big")
    return data[: max(start, 0)], data[max(start, 0) : end]


def _openssl_verifies(data: bytes) -> bool:
    module, message = _message(data)
    with tempfile.TemporaryDirectory(prefix="modfs-fuzz-") as name:
        folder = Path(name)
        (folder / "module").write_bytes(module)
        (folder / "message").write_bytes(message)
        options = ("-verify", "-binary", "-inform", "DER", "-in", "message", "-content", "module")
        trust = ("-noverify", "-nointern", "-certfile", _certificate(), "-out", "out")
        return run("openssl", "cms", *options, *trust, cwd=name).returncode == 0


@functools.cache
def _certificate() -> Path:
    """The recorded kernel's certificate as PEM, for openssl."""
    folder = tempfile.mkdtemp(prefix="modfs-fuzz-certificate-")
    path = Path(folder, "certificate.pem")
    run("openssl", "x509", "-inform", "DER", "-in", seeds.DATA / "signing_key.x509", "-out", path)
    return path


# -- packed files: zstd, gzip, xz -----------------------------------------------------------------


def check_program(packed: Packed) -> str:
    """What we take, the program begins with as well; what it takes whole, we take."""
    try:
        ours: bytes | None = decompress(packed.kind, packed.data, LIMIT, packed.strict)
    except DecompressError:
        ours = None
    said = run(*_PROGRAMS[packed.kind], given=packed.data)
    if ours is None:
        whole = said.returncode == 0 and len(said.stdout) <= LIMIT
        assert not whole or _kernel_refuses(packed), "only the program takes it"
        return "theirs alone" if whole else "neither"
    if _contents_agree(packed, said.returncode):
        assert said.stdout.startswith(ours), "another content"
    return "both" if said.returncode == 0 else "ours alone"


_GZIP_NAME = 0x08  # the kernel does not look at the other flags of a header
_PROGRAMS = {
    "zstd": ("zstd", "-dcq", "--memory=128MB"),
    "gzip": ("gzip", "-dcq"),
    "xz": ("xz", "-dcq", "--single-stream", "--format=xz"),
}


def _contents_agree(packed: Packed, status: int) -> bool:
    """Whether what comes out must be the same. Not of damaged zstd data without an error: releases
    make different things of it. gzip finds errors at the end that a kernel does not look for."""
    if packed.kind == "zstd":
        return status == 0 and (packed.strict or packed.data in seeds.packed("zstd"))
    return status == 0 or (packed.kind == "gzip" and not packed.data[3] & ~_GZIP_NAME)


def _kernel_refuses(packed: Packed) -> bool:
    """Behaviour.md 2.5: what a kernel refuses though it is well formed."""
    data = packed.data
    if packed.kind == "gzip":  # of the header's optional parts only the name; nothing but deflate
        return bool(data[3] & ~_GZIP_NAME) or data[2] != 8
    if packed.kind == "xz":  # CRC64, SHA-256, the delta filter, start offsets; an empty input
        return not data or data[7] > 1 or data[12] != 0 or len(data) <= 32
    # Skippable and legacy frames; and releases of zstd do not agree on what is damaged: those up to
    # 1.5.5 do not mind bits that are left behind the sequences.
    return packed.strict or data not in seeds.packed("zstd")


def make_packed(kind: str, chance: Chance) -> Packed:
    return fuzz_packed.make(kind, chance)


# -- words: shlex and a shell ---------------------------------------------------------------------

_LETTERS = (*"ab=-/.,:5 '\"\\\t", "  ", "''", '""', "\\ ")


def make_words(chance: Chance) -> str:
    return "rmmod " + text_of(chance, _LETTERS, 20)


def check_shlex(line: str) -> str:
    try:
        theirs: list[str] | None = shlex.split(line)
    except ValueError:
        theirs = None
    try:
        ours: list[str] | None = list(_words(line))
    except UserError:
        ours = None
    assert ours == theirs
    return "both" if ours is not None else "neither"


def make_shell_words(chance: Chance) -> str:
    parts = (*_LETTERS, "$'", "\\n", "\\'", "#", "a#b", "\\\\", "é", "\\$", '"\\`"')
    return "rmmod " + text_of(chance, parts, 16)


# $ that begins no $'; a backslash in $'' before what bash knows more of than we do.
_MORE = re.compile(r"""\$(?!')|\$'.*\\[^nrtvf\\'"]""")


def check_shell(line: str) -> str:
    """bash, for lines that mean no more to it than words."""
    try:
        ours = list(_words(line))
    except UserError:
        return "ours refuses"
    if _MORE.search(line) or line.endswith("\\"):
        return "more than words to bash"
    said = run("bash", "-c", f"printf '%s\\0' {line}\n")
    assert said.returncode == 0, said.stderr
    theirs = said.stdout.split(b"\0")[:-1]
    assert [word.encode("utf-8", "surrogateescape") for word in ours] == theirs
    return "both"


# -- trees: depmod's indexes, read by modprobe ----------------------------------------------------

_RELEASE = "6.12.117"
_NAMES = ("a", "b-c", "b_d", "e.1", "long-name_x", "f")
_ALIASES = (
    "pci:v1*",
    "x-y",
    "x[a-c]y",
    "x[-]y",
    "cpu:*,f*",
    "a",
    "b_c",
    "?",
    "fs-[!x]*",
    "n-[0-9]",
)
_SOFT = ("pre: a", "post: b-c", "pre: b_d x-y post: f", "pre: nothing a", "post: a post: f")
_ASKED = ("a", "b-c", "b_c", "b-d", "f", "pci:v12", "x-y", "x_y", "xby", "x-by", "z", "fs-a", "n-5")


class Modules(NamedTuple):
    """A tree's modules."""

    specs: tuple[ModuleSpec, ...]


def make_modules(chance: Chance) -> Modules:
    names = [name for name in _NAMES if "." not in name and chance.random() < 0.8] or ["a"]
    specs = []
    for position, name in enumerate(names):
        others = [one.replace("-", "_") for one in names[:position] if chance.random() < 0.5]
        aliases = tuple(alias for alias in _ALIASES if chance.random() < 0.25)
        soft = tuple(one for one in _SOFT if chance.random() < 0.15)
        imports = tuple(f"use_{one}" for one in others)
        exports = (f"use_{name.replace('-', '_')}",)
        spec = ModuleSpec(name, aliases=aliases, softdeps=soft, imports=imports, exports=exports)
        specs.append(spec)
    return Modules(tuple(specs))


def check_modules(modules: Modules) -> str:
    with tempfile.TemporaryDirectory(prefix="modfs-fuzz-") as name:
        root = Path(name, "lib/modules", _RELEASE)
        for spec in modules.specs:
            path = root / spec.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(build_module(spec))
        (root / "modules.builtin").write_text("kernel/z.ko\n")
        (root / "modules.order").write_text("".join(f"{spec.path}\n" for spec in modules.specs))
        done = run("depmod", "-b", name, _RELEASE)
        assert done.returncode == 0, done.stderr
        tree = Tree.open(root)
        modprobe = functools.partial(run, "modprobe", "-d", name, "-S", _RELEASE)
        for asked in _ASKED:
            theirs = modprobe("-R", asked).stdout.decode().split()
            # It names a module once for each of its aliases that match.
            assert list(tree.resolve(asked)) == list(dict.fromkeys(theirs)), asked
        for spec in modules.specs:
            said = modprobe("-n", "--show-depends", spec.name).stdout.decode().splitlines()
            files = [line.split()[1] for line in said if line.startswith("insmod")]
            once = list(dict.fromkeys(files))  # a dry run names again what would be there by then
            assert [str(one.path) for one in tree.probe_list(spec.name)] == once, spec.name
    return "both"


TARGETS = (
    Target("modinfo-peer", make_modinfo, check_modinfo, 150),
    Target("openssl-peer", fuzz_image.make_signed, check_openssl, 60),
    *(
        Target(f"{kind}-peer", functools.partial(make_packed, kind), check_program, 120)
        for kind in ("zstd", "gzip", "xz")
    ),
    Target("huffman-peer", fuzz_packed.make_literals, check_program, 100),
    Target("shlex-peer", make_words, check_shlex, 600),
    Target("bash-peer", make_shell_words, check_shell, 150),
    Target("modprobe-peer", make_modules, check_modules, 12),
)

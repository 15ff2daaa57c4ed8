"""modprobe -q -- STRING, as kmod's program does it; who runs it makes the system calls.

It looks the string up, leaves alone what is live or built in, passes over what an alias led to and
a blacklist names, and inserts each module after what it needs, with the parameters of modprobe.d;
or runs its install line instead. That it ends well says little: a soft dependency that failed or
an alias that was blacklisted is no failure.

Install lines are a shell's, and this is none. It understands those that are common: true, false,
exit N and modprobe, joined by &&, || and ``;``. Of anything else it says that there is no such
program (127), and runs nothing.
"""

from __future__ import annotations

import errno
import re
import shlex
from collections.abc import Callable, Generator
from pathlib import Path
from typing import NamedTuple, Protocol

from loader.tree.modprobe_config import ModprobeConfig
from loader.tree.probe_list import Found, Probe
from loader.words import module_name

EXIT_SUCCESS, EXIT_FAILURE = 0, 1
_NO_SUCH_PROGRAM = 127
_DEEPEST = 16  # modprobes that install lines start in one another: more are without end


class Insert(NamedTuple):
    """Insert the module in a file. Answered with 0 or the errno."""

    path: Path
    params: str


class Modules(Protocol):
    """A module tree, or what stands for one."""

    @property
    def config(self) -> ModprobeConfig: ...

    def lookup(self, string: str) -> tuple[Found, ...]: ...

    def probe_list(self, name: str) -> tuple[Probe, ...]: ...

    def is_builtin(self, name: str) -> bool: ...


Run = Generator[Insert, int, int]


def modprobe(modules: Modules, string: str, is_live: Callable[[str], bool]) -> Run:
    """The program's exit status. ``is_live(name)``: does /sys/module/NAME/initstate say so?"""
    return (yield from _Modprobe(modules, is_live).run(string))


class _Modprobe:
    """One run, and the modprobes that its install lines start."""

    def __init__(self, modules: Modules, is_live: Callable[[str], bool], depth: int = 0) -> None:
        self._modules = modules
        self._is_live = is_live
        self._depth = depth

    def run(
        self,
        string: str,
        *,
        params: str = "",
        ignore_install: bool = False,
        blacklist: bool = False,
    ) -> Run:
        """``blacklist``: names are subject to it as well (-b)."""
        found = self._modules.lookup(string)
        number = 0 if found else errno.ENOENT
        for module in found:
            number = yield from self._probe(module, params, ignore_install, blacklist)
        return EXIT_FAILURE if number else EXIT_SUCCESS

    def _is_there(self, name: str) -> bool:
        return self._is_live(name) or self._modules.is_builtin(name)

    def _probe(self, module: Found, params: str, ignore_install: bool, blacklist: bool) -> Run:
        """kmod_module_probe_insert_module: 0 or an errno."""
        if self._is_there(module.name):
            return 0
        config = self._modules.config
        if module.name in config.blacklist and (module.alias or blacklist):
            return 0
        probes = self._modules.probe_list(module.name)
        if not probes:  # a name that has an install line and nothing else
            probes = (Probe(Path(f"{module.name}.ko"), True),)
        for probe in probes:
            name = module_name(probe.path)
            target = name == module.name
            alias = module.alias if target else ""
            number = 0
            if not self._is_there(name):
                words = (config.options_of(name, alias), params if target else "")
                options = " ".join(filter(None, words))
                command = config.install_of(name, alias)
                if command is None or (target and ignore_install):
                    number = yield Insert(probe.path, options)
                elif (yield from self._install(command, options)):
                    number = errno.EPERM  # any will do: it is told to nobody
            if number and number != errno.EEXIST and probe.required:
                return number
        return 0

    # -- install lines ----------------------------------------------------------------------------

    def _install(self, command: str, options: str) -> Run:
        """The exit status of the command."""
        status = 0
        for joint, words in _commands(command.replace("$CMDLINE_OPTS", options)):
            if (joint == "&&" and status) or (joint == "||" and not status):
                continue
            if words[:1] == ["exit"]:
                return int(words[1]) & 0xFF if words[1:] and words[1].isdigit() else status
            status = yield from self._command(words)
        return status

    def _command(self, words: list[str]) -> Run:
        program = words[0].rpartition("/")[2] if words else "true"
        if program in ("true", ":"):
            return 0
        if program == "false":
            return 1
        if program != "modprobe" or self._depth == _DEEPEST:
            return _NO_SUCH_PROGRAM
        options, names = _options(words[1:])
        if options - _KNOWN_OPTIONS or not names:
            return EXIT_FAILURE
        inner = _Modprobe(self._modules, self._is_live, self._depth + 1)
        return (
            yield from inner.run(
                names[0],
                params=" ".join(names[1:]),
                ignore_install=bool(options & {"-i", "--ignore-install"}),
                blacklist=bool(options & {"-b", "--use-blacklist"}),
            )
        )


_KNOWN_OPTIONS = frozenset(
    ("-i", "--ignore-install", "-b", "--use-blacklist", "-q", "--quiet", "-v", "--verbose", "-s")
)
_JOINTS = re.compile(r"(&&|\|\||;)")


def _commands(line: str) -> list[tuple[str, list[str]]]:
    """The commands of a line, each with what joins it to the one before. Those that are more than
    words are one that does not exist."""
    joint, commands = ";", []
    for part in _JOINTS.split(line):
        if _JOINTS.fullmatch(part):
            joint = part
        elif part.strip():
            commands.append((joint, _words(part)))
    return commands


def _words(text: str) -> list[str]:
    if re.search(r"[$`|&<>(){}*?\[\]!#~]", text):
        return ["?"]
    try:
        return shlex.split(text)
    except ValueError:
        return ["?"]


def _options(words: list[str]) -> tuple[set[str], list[str]]:
    options: set[str] = set()
    for position, word in enumerate(words):
        if word == "--":
            return options, words[position + 1 :]
        if not word.startswith("-"):
            return options, words[position:]
        short = not word.startswith("--")
        options |= {f"-{letter}" for letter in word[1:]} if short else {word}
    return options, []

"""Descriptions of devices, as umockdev-record prints them: a paragraph for each, of lines

P: /devices/PATH          where it is, first of all
E: KEY=VALUE              a property, of its uevent file; SUBSYSTEM is needed
A: FILE=TEXT              an attribute, with \\n and the like
H: FILE=HEX               an attribute in bytes
L: FILE=TARGET            a link
N:, S:                    its node in /dev, which is not made here
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loader.errors import UserError, in_words
from loader.words import shown

_PATH = re.compile(r"/devices(/[^/\0]+)+")
_ESCAPE = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"b": b"\b", b"f": b"\f", b"v": b"\v"}
_NAME_MAX = 255
# udev finds these out anew; no kernel says them.
_OF_UDEV = ("DEVLINKS", "TAGS", "CURRENT_TAGS", "USEC_INITIALIZED", "__DEVCONTEXT")


@dataclass(frozen=True, slots=True)
class Device:
    """``path``: from /sys on. ``properties``: what the kernel tells of it in this order, without
    SUBSYSTEM. ``attributes``, ``links``: by their paths below the device's folder."""

    path: str
    subsystem: str
    properties: tuple[tuple[str, str], ...]
    attributes: dict[str, bytes]
    links: dict[str, str]


def read_devices(path: Path) -> tuple[Device, ...]:
    """Those of a file. UserError: it cannot be read, or says something else, with its line."""
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        raise UserError(f"{path}: {in_words(error)}") from None
    found: dict[str, Device] = {}
    for number, lines in _paragraphs(text):
        device = _device(f"{path}:{number}", lines)
        if device.path in found:
            raise UserError(f"{path}:{number}: {shown(device.path)} is described twice")
        found[device.path] = device
    if not found:
        raise UserError(f"{path}: no device is described, as umockdev-record prints them")
    return tuple(found.values())


def _paragraphs(text: str) -> Iterator[tuple[int, list[str]]]:
    """Each with the number of its first line."""
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line and not line.startswith("#"):
            lines.append(line)
        elif lines and not line:
            yield number - len(lines), lines
            lines = []


def _device(place: str, lines: list[str]) -> Device:
    """UserError."""
    kind, _, path = lines[0].partition(": ")
    if kind != "P" or not _PATH.fullmatch(path) or not _is_name(path[1:]):
        raise UserError(f"{place}: a device begins with a line such as P: /devices/system/cpu/cpu0")
    properties: dict[str, str] = {}
    attributes: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for line in lines[1:]:
        kind, _, rest = line.partition(": ")
        key, equals, value = rest.partition("=")
        if kind in "NS" and rest:
            continue
        if kind not in "EAHL" or not equals or not _is_name(key):
            raise UserError(f"{place}: {shown(path)}: {shown(line)} is no line of a description")
        if kind == "E":
            properties[key] = value
        elif kind == "L":
            links[key] = value
        else:
            attributes[key] = _bytes(place, path, key, value) if kind == "H" else _plain(value)
    if "SUBSYSTEM" not in properties or not _is_name(properties["SUBSYSTEM"], "/\0"):
        raise UserError(f"{place}: {shown(path)}: E: SUBSYSTEM= is missing")
    subsystem = properties.pop("SUBSYSTEM")
    return Device(path, subsystem, tuple(_of_kernel(properties)), attributes, links)


def _is_name(key: str, without: str = "\0") -> bool:
    return not {*without} & {*key} and all(_is_part(part) for part in key.split("/"))


def _is_part(name: str) -> bool:
    """Of a path: NAME_MAX is 255 bytes; with a longer one a whole directory cannot be listed."""
    return name not in ("", ".", "..") and len(os.fsencode(name)) <= _NAME_MAX


def _of_kernel(properties: dict[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in properties.items():
        if key == "DEVNAME":  # which the kernel says without /dev
            yield key, value.removeprefix("/dev/")
        elif key not in _OF_UDEV and not key.startswith("ID_"):
            yield key, value


def _plain(value: str) -> bytes:
    """As g_strcompress."""

    def plain(found: re.Match[bytes]) -> bytes:
        escaped = found[1]
        if escaped[:1].isdigit() and escaped[:1] < b"8":
            return bytes([int(escaped, 8) & 0xFF])
        return _ESCAPED.get(escaped, escaped)

    return _ESCAPE.sub(plain, os.fsencode(value))


def _bytes(place: str, path: str, key: str, value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise UserError(f"{place}: {shown(path)}: H: {shown(key)}: no hexadecimal") from None

"""The signature at the end of a module file (kernel/module/signing.c, module_signature.c).

    module | PKCS#7 message | struct module_signature, 12 bytes | marker, 28 bytes

The whole tail is cut off before anything else looks at the file. Whether the signature is good
needs the kernel's keys: a :class:`Keyring`. Without one every well-formed signature is believed,
as a kernel believes those of its own build.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from loader.errors import Failure
from loader.keyring import Keyring, Signature, SignatureError

MARKER = b"~Module signature appended~\n"
_TRAILER = 12  # bytes: sizeof(struct module_signature)
_PKEY_ID_PKCS7 = 2

# DER tags and object identifiers that occur in a PKCS#7 signature
_INTEGER, _OCTETS, _OID, _SEQUENCE, _SET = 0x02, 0x04, 0x06, 0x30, 0x31
_CONTEXT_0, _CONTEXT_1, _SKID = 0xA0, 0xA1, 0x80
_OID_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_OID_DATA = bytes.fromhex("2a864886f70d010701")

_DIGESTS: dict[bytes, str] = {
    bytes.fromhex("2b0e03021a"): "sha1",
    bytes.fromhex("608648016503040204"): "sha224",
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
    bytes.fromhex("608648016503040208"): "sha3_256",
    bytes.fromhex("608648016503040209"): "sha3_384",
    bytes.fromhex("60864801650304020a"): "sha3_512",
}


class Verdict(NamedTuple):
    """What became of the signature check (module_sig_check).

    ``length``: bytes of module left after the cut. ``signed``: a good signature by a known key;
    otherwise the module taints. ``failure``: set if the load ends here. ``log``: lines logged.
    """

    length: int
    signed: bool
    failure: Failure | None = None
    log: tuple[str, ...] = ()


def appended_length(data: bytes) -> int | None:
    """Bytes of module before an appended signature; None if there is no marker."""
    return len(data) - len(MARKER) if data.endswith(MARKER) and len(data) > len(MARKER) else None


def module_length(data: bytes) -> int:
    """Bytes of module before a well-formed appended signature; all of them if there is none."""
    return check(data, False, None, False).length


def check(data: bytes, mangled: bool, keyring: Keyring | None, enforce: bool) -> Verdict:
    """Cut off and check the signature of the module in ``data``.

    ``mangled``: a flag to ignore versions or vermagic was given; the marker is not looked for.
    """
    length = None if mangled else appended_length(data)
    if length is None:
        return _unsigned(len(data), "unsigned module", enforce)
    if length <= _TRAILER:
        return Verdict(length, False, Failure(errno.EBADMSG))
    trailer = data[length - _TRAILER : length]
    signature_length = int.from_bytes(trailer[8:], "big")
    if signature_length >= length - _TRAILER:
        return Verdict(length, False, Failure(errno.EBADMSG))
    if trailer[2] != _PKEY_ID_PKCS7:
        line = "module: not signed with expected PKCS#7 message"
        return _unsigned(length, "module with unsupported crypto", enforce, line)
    if any(trailer[:2]) or any(trailer[3:8]):
        line = "module: PKCS#7 signature info has unexpected non-zero params"
        return Verdict(length, False, Failure(errno.EBADMSG), (line,))
    end = length - _TRAILER
    return _verify(data, end - signature_length, end, keyring, enforce)


def _unsigned(length: int, reason: str, enforce: bool, *log: str) -> Verdict:
    """Errors that only matter where signatures are enforced."""
    if enforce:
        failure = Failure(errno.EKEYREJECTED, (f"Loading of {reason} is rejected",))
        return Verdict(length, False, failure, log)
    return Verdict(length, False, None, log)


def _verify(data: bytes, length: int, end: int, keyring: Keyring | None, enforce: bool) -> Verdict:
    """verify_pkcs7_signature of the message between ``length`` and ``end``, and its errors."""
    try:
        signatures = parse_pkcs7(data[length:end])
        if keyring is not None:
            keyring.verify(data[:length], signatures)
    except SignatureError as error:
        if error.errno == errno.ENOPKG:
            return _unsigned(length, "module with unsupported crypto", enforce)
        if error.errno == errno.ENOKEY:
            return _unsigned(length, "module with unavailable key", enforce)
        return Verdict(length, False, Failure(error.errno))
    return Verdict(length, True)


# -- PKCS#7 ---------------------------------------------------------------------------------------


class _Reader:
    """Takes the DER elements of one sequence in order; anything unexpected is EBADMSG."""

    __slots__ = ("data", "position")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def at(self, tag: int) -> bool:
        """Is the next element of this kind?"""
        return self.position < len(self.data) and self.data[self.position] == tag

    def take(self, tag: int) -> bytes:
        """The content of the next element, which must be of this kind."""
        data, start = self.data, self.position + 2
        if start > len(data) or data[start - 2] != tag:
            raise SignatureError(errno.EBADMSG)
        length = data[start - 1]
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(data[start : start + size], "big")
            start += size
            if not 0 < size <= 4:
                raise SignatureError(errno.EBADMSG)
        end = self.position = start + length
        if end > len(data):
            raise SignatureError(errno.EBADMSG)
        return data[start:end]

    def enter(self, tag: int) -> _Reader:
        """A reader of the next element's own elements."""
        return _Reader(self.take(tag))

    def optional(self, tag: int) -> bytes | None:
        """Like take, but None if the next element is of another kind."""
        return self.take(tag) if self.at(tag) else None


def parse_pkcs7(message: bytes) -> tuple[Signature, ...]:
    """The signatures of a PKCS#7 SignedData message with detached content.

    SignatureError: EBADMSG malformed; ENOPKG a digest that the kernel does not have;
    EKEYREJECTED what is no plain module signature (crypto/asymmetric_keys/pkcs7_parser.c).
    """
    content_info = _Reader(message).enter(_SEQUENCE)
    if content_info.take(_OID) != _OID_SIGNED_DATA:
        raise SignatureError(errno.EBADMSG)
    signed_data = content_info.enter(_CONTEXT_0).enter(_SEQUENCE)
    signed_data.take(_INTEGER)
    signed_data.take(_SET)
    if signed_data.enter(_SEQUENCE).take(_OID) != _OID_DATA:
        raise SignatureError(errno.EKEYREJECTED)
    signed_data.optional(_CONTEXT_0)
    signed_data.optional(_CONTEXT_1)
    infos = signed_data.enter(_SET)
    signatures = []
    while infos.position < len(infos.data):
        signatures.append(_signer_info(infos.enter(_SEQUENCE)))
    return tuple(signatures)


def _signer_info(info: _Reader) -> Signature:
    info.take(_INTEGER)
    key_id = info.take(_SKID) if info.at(_SKID) else info.take(_SEQUENCE)
    digest = _DIGESTS.get(info.enter(_SEQUENCE).take(_OID))
    if digest is None:
        raise SignatureError(errno.ENOPKG)
    if info.optional(_CONTEXT_0) is not None:  # authenticated attributes
        raise SignatureError(errno.EKEYREJECTED)
    info.take(_SEQUENCE)
    return Signature(digest, key_id, info.take(_OCTETS))

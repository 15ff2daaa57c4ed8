"""The keys that a kernel trusts, and the check of a module's signature by them.

Needs the package cryptography, which is imported when a key is given: it takes longer than all the
rest.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from loader.errors import UserError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_INTEGER = 0x02  # DER tag


class Signature(NamedTuple):
    """One SignerInfo of a PKCS#7 message, as far as a module needs it."""

    digest: str
    key_id: bytes  # subject key identifier, or issuer and serial number as they stand in the DER
    value: bytes


class SignatureError(Exception):
    """The message cannot be used: ``errno`` is EBADMSG, ENOPKG or EKEYREJECTED."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.errno = number


# -- keys -----------------------------------------------------------------------------------------


class Keyring:
    """The keys that the kernel trusts (.builtin_trusted_keys): X.509 certificates."""

    def __init__(self, certificates: tuple[Certificate, ...] = ()) -> None:
        self.certificates = certificates

    @classmethod
    def load(cls, *paths: Path) -> Keyring:
        """Certificates from files, DER or PEM.

        OSError: cannot be read. UserError: no certificate, or `cryptography` is not installed.
        """
        try:
            from cryptography import x509
        except ImportError:
            raise UserError("signatures need the package cryptography") from None
        certificates = []
        for path in paths:
            data = path.read_bytes()
            pem = data.lstrip().startswith(b"-----BEGIN")
            load = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
            try:
                certificates.append(load(data))
            except ValueError:
                raise UserError(f"{path} is no X.509 certificate") from None
        return cls(tuple(certificates))

    def verify(self, module: bytes, signatures: tuple[Signature, ...]) -> None:
        """pkcs7_validate_trust: one signature by a known key must be good.

        SignatureError: ENOKEY none is by a known key; EKEYREJECTED it does not match.
        """
        for signature in signatures:
            for certificate in self.certificates:
                if signature.key_id in _key_ids(certificate):
                    _verify_one(certificate, module, signature)
                    return
        raise SignatureError(errno.ENOKEY)


def _key_ids(certificate: Certificate) -> tuple[bytes, ...]:
    """How a SignerInfo may name the key: its identifier, or issuer and serial number."""
    from cryptography import x509

    number = certificate.serial_number
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")  # DER's INTEGER
    named = certificate.issuer.public_bytes() + bytes((_INTEGER, len(serial))) + serial
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return (named,)
    return named, extension.value.digest


def _verify_one(certificate: Certificate, module: bytes, signature: Signature) -> None:
    import hashlib

    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

    algorithm = getattr(hashes, signature.digest.upper())()
    prehashed = utils.Prehashed(algorithm)
    digest = hashlib.new(signature.digest, module).digest()
    key = certificate.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature.value, digest, padding.PKCS1v15(), prehashed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature.value, digest, ec.ECDSA(prehashed))
        else:
            raise SignatureError(errno.ENOPKG)
    except InvalidSignature:
        raise SignatureError(errno.EKEYREJECTED) from None

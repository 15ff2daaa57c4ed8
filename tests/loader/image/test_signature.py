"""Signatures: cut off, checked, enforced. Recorded verdicts are in tests/oracle."""

from __future__ import annotations

import datetime
import errno
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from loader.image.signature import MARKER, check
from loader.keyring import Keyring

MODULE = b"\x7fELF" + bytes(range(256)) * 8
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def certificate(key: Key, serial: int) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "modfs test key")])
    day = datetime.datetime(2026, 1, 1)
    after = day.replace(year=2036)
    builder = x509.CertificateBuilder(name, name, key.public_key(), serial, day, after)
    return builder.sign(key, hashes.SHA256())


KEY = rsa.generate_private_key(65537, 2048)
CERT = certificate(KEY, 77)
EC_KEY = ec.generate_private_key(ec.SECP384R1())
EC_CERT = certificate(EC_KEY, 300)


def message(module: bytes = MODULE, key: Key = KEY, cert: x509.Certificate = CERT) -> bytes:
    """A detached PKCS#7 signature without attributes or certificates, as sign-file makes it."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data(module)
    builder = builder.add_signer(cert, key, hashes.SHA256())
    options = pkcs7.PKCS7Options
    return builder.sign(
        serialization.Encoding.DER,
        [options.DetachedSignature, options.NoAttributes, options.NoCerts, options.Binary],
    )


def appended(module: bytes, signature: bytes, id_type: int = 2, hash_: int = 0) -> bytes:
    trailer = bytes([0, hash_, id_type, 0, 0, 0, 0, 0]) + len(signature).to_bytes(4, "big")
    return module + signature + trailer + MARKER


SIGNED = appended(MODULE, message())
KNOWN = Keyring((CERT, EC_CERT))


def test_unsigned() -> None:
    assert check(MODULE, False, KNOWN, False) == (len(MODULE), False, None, ())
    verdict = check(MODULE, False, KNOWN, True)
    assert verdict.failure == (errno.EKEYREJECTED, ("Loading of unsigned module is rejected",))


def test_known_key() -> None:
    assert check(SIGNED, False, KNOWN, True) == (len(MODULE), True, None, ())
    with_ec = appended(MODULE, message(MODULE, EC_KEY, EC_CERT))
    assert check(with_ec, False, KNOWN, True) == (len(MODULE), True, None, ())


def test_unknown_key() -> None:
    nobody = Keyring(())
    assert check(SIGNED, False, nobody, False) == (len(MODULE), False, None, ())
    verdict = check(SIGNED, False, nobody, True)
    rejected = "Loading of module with unavailable key is rejected"
    assert verdict.failure == (errno.EKEYREJECTED, (rejected,))


@pytest.mark.parametrize("position", [10, len(MODULE) - 1, len(MODULE) + len(message()) - 5])
def test_damaged(position: int) -> None:
    damaged = bytearray(SIGNED)
    damaged[position] ^= 1
    verdict = check(bytes(damaged), False, KNOWN, False)
    assert verdict.failure == (errno.EKEYREJECTED, ())


def test_no_key_given_believes_what_is_well_formed() -> None:
    assert check(SIGNED, False, None, True).signed


def test_flags_that_mangle_leave_the_signature_in_place() -> None:
    assert check(SIGNED, True, KNOWN, False) == (len(SIGNED), False, None, ())


@pytest.mark.parametrize(
    ("data", "number"),
    [
        (MODULE + bytes(12) + MARKER, None),  # no PKCS#7: only a note in the log
        (appended(MODULE, b"", id_type=1), None),
        (b"short" + MARKER, errno.EBADMSG),
        (appended(b"", message()), errno.EBADMSG),  # the signature is all there is
        (appended(MODULE, message(), hash_=4), errno.EBADMSG),
        (appended(MODULE, message()[:-20]), errno.EBADMSG),
        (appended(MODULE, b"\x30\x80" + message()[2:]), errno.EBADMSG),
        (appended(MODULE, bytes(30)), errno.EBADMSG),
    ],
)
def test_malformed(data: bytes, number: int | None) -> None:
    verdict = check(data, False, KNOWN, False)
    assert (verdict.failure.errno if verdict.failure else None) == number


def test_loading_certificates(tmp_path: Path) -> None:
    der, pem = tmp_path / "der", tmp_path / "pem"
    der.write_bytes(CERT.public_bytes(serialization.Encoding.DER))
    pem.write_bytes(CERT.public_bytes(serialization.Encoding.PEM))
    assert Keyring.load(der, pem).certificates == (CERT, CERT)
    pem.write_text("no certificate")
    with pytest.raises(ValueError, match=r"no X\.509 certificate"):
        Keyring.load(pem)

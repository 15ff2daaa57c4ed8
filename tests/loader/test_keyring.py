"""Keys, and signatures that openssl made with them."""

from __future__ import annotations

import errno
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from loader.errors import UserError
from loader.image.signature import parse_pkcs7
from loader.keyring import Keyring, Signature, SignatureError
from tests.recordings import DATA

MODULE = b"what is signed" * 100
KINDS = {
    "rsa": ["-newkey", "rsa:2048"],
    "ec": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"],
    "ed25519": ["-newkey", "ed25519"],
}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """KIND.pem and KIND.key of each kind."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is missing")
    folder = tmp_path_factory.mktemp("keys")
    for kind, options in KINDS.items():
        command = ["openssl", "req", "-x509", "-nodes", "-subj", "/CN=modfs test", *options]
        command += ["-keyout", f"{folder}/{kind}.key", "-out", f"{folder}/{kind}.pem"]
        subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture
def signed(keys: Path, tmp_path: Path) -> Callable[..., tuple[Signature, ...]]:
    def sign(kind: str, *options: str, digest: str = "sha256") -> tuple[Signature, ...]:
        """MODULE's signatures as sign-file would write them."""
        (tmp_path / "module").write_bytes(MODULE)
        command = ["openssl", "cms", "-sign", "-binary", "-noattr", "-nocerts", "-outform", "DER"]
        command += ["-md", digest, "-in", f"{tmp_path}/module", *options]
        command += ["-signer", f"{keys}/{kind}.pem", "-inkey", f"{keys}/{kind}.key"]
        done = subprocess.run(command, check=True, capture_output=True)
        return parse_pkcs7(done.stdout)

    return sign


def refused(keyring: Keyring, module: bytes, signatures: tuple[Signature, ...]) -> int:
    with pytest.raises(SignatureError) as caught:
        keyring.verify(module, signatures)
    return caught.value.errno


@pytest.mark.parametrize("kind", ["rsa", "ec"])
@pytest.mark.parametrize("digest", ["sha256", "sha512"])
@pytest.mark.parametrize("options", [(), ("-keyid",)])  # issuer and number, or the key's own name
def test_openssls_signatures(
    keys: Path,
    signed: Callable[..., tuple[Signature, ...]],
    kind: str,
    digest: str,
    options: tuple[str, ...],
) -> None:
    signatures = signed(kind, *options, digest=digest)
    assert [signature.digest for signature in signatures] == [digest]
    keyring = Keyring.load(keys / f"{kind}.pem")
    keyring.verify(MODULE, signatures)
    assert refused(keyring, MODULE + b"!", signatures) == errno.EKEYREJECTED
    assert refused(Keyring(), MODULE, signatures) == errno.ENOKEY
    other = "ec" if kind == "rsa" else "rsa"
    assert refused(Keyring.load(keys / f"{other}.pem"), MODULE, signatures) == errno.ENOKEY


def test_one_good_signature_of_a_known_key_is_enough(
    keys: Path, signed: Callable[..., tuple[Signature, ...]]
) -> None:
    keyring = Keyring.load(keys / "ec.pem")
    keyring.verify(MODULE, (*signed("rsa"), *signed("ec")))
    assert refused(keyring, MODULE, ()) == errno.ENOKEY


def test_a_kind_of_key_that_the_kernel_does_not_check(keys: Path) -> None:
    keyring = Keyring.load(keys / "ed25519.pem")
    certificate = keyring.certificates[0]
    from cryptography.x509 import SubjectKeyIdentifier

    found = certificate.extensions.get_extension_for_class(SubjectKeyIdentifier)
    signature = Signature("sha256", found.value.digest, hashlib.sha256(MODULE).digest())
    assert refused(keyring, MODULE, (signature,)) == errno.ENOPKG


def test_the_recorded_kernels_key_is_read_as_it_is() -> None:
    """In PEM or in DER, several in order."""
    path = DATA / "signing_key.x509"
    keyring = Keyring.load(path, path)
    assert len(keyring.certificates) == 2
    assert keyring.certificates[0] == keyring.certificates[1]


@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x80", b"\0" * 99])
def test_what_is_no_certificate(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(text)
    with pytest.raises(UserError, match=r"key is no X\.509 certificate"):
        Keyring.load(path)
    with pytest.raises(FileNotFoundError):
        Keyring.load(tmp_path / "absent")

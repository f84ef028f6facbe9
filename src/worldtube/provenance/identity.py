"""Who signs here: the secret of the watermark, certificate and key, and whom else this installation knows.

Owns the folder `provenance` of WORLDTUBE_HOME (default `~/.worldtube`), made whole on first use:

    secret            hexadecimal, mode 600: who has it can find the mark, and remove it
    certificate.pem   leaf and root, valid for ten years; the root's own key is thrown away once it has signed
    key.pem           PKCS #8, mode 600
    known/*.pem       roots of others whose signatures are to be trusted; put them there by hand
    settings.json     optional: a certificate of one's own, see `Settings`

Hosts that are to be one installation share this folder. Knows nothing of files that are signed.
"""

import importlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from worldtube.errors import DataError, RequestError, unknown
from worldtube.files import home, publish

CLAIM_SIGNING = "1.3.6.1.4.1.62558.2.1"
"""C2PA's purpose for keys; readers that do not know it want e-mail protection beside it."""
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
LIFE = timedelta(days=3652)
ALGORITHMS = ("es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `settings.json` may say; paths are relative to its folder."""

    certificate: str = "certificate.pem"
    """PEM file of the leaf and what it was signed by, leaf first."""
    key: str | None = None
    """PEM file of its key, PKCS #8; `key.pem` when neither this nor `sign` is said."""
    sign: str | None = None
    """`module:function` in place of a key (a KMS, an HSM): bytes -> signature, for ES256 raw r and s, not DER."""
    algorithm: str = "es256"
    """One of ALGORITHMS."""
    tsa_url: str | None = None
    """Time-stamp authority (RFC 3161), asked at every signing; without one files expire with the certificate."""

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise unknown("signature algorithm", self.algorithm, ALGORITHMS)
        if self.key is not None and self.sign is not None:
            raise RequestError(
                f"key {self.key!r} and sign {self.sign!r} exclude each other; say one"
            )


@dataclass(frozen=True, kw_only=True)
class Identity:
    """An installation's secret and certificates."""

    secret: bytes = field(repr=False)
    """Key of the watermark, 32 bytes."""
    certificate: str
    """PEM, leaf first."""
    key: str | Callable[[bytes], bytes] = field(repr=False)
    """PEM of the private key, or what signs in its place."""
    algorithm: str = "es256"
    tsa_url: str | None = None
    own: tuple[str, ...] = ()
    """PEM of every chain that signed or signs here, leaf first."""
    known: Mapping[str, str] = field(default_factory=dict)
    """name -> PEM of the roots of others."""

    @property
    def serials(self) -> frozenset[int]:
        """Serial numbers of our leaves: a name can be taken by others, a number that we gave cannot be signed with."""
        return frozenset(_serial(split(chain)[0]) for chain in self.own)

    @property
    def anchors(self) -> str:
        """PEM of what our leaves hang from."""
        return "".join(dict.fromkeys(one for chain in self.own for one in split(chain)[1:]))


def load(folder: str | Path | None = None) -> Identity:
    """The identity in a folder (`provenance` of `home()` when not said), made when there is none yet.

    Raises DataError for one that is damaged, RequestError for settings that cannot be.
    """
    folder = Path(folder or home() / "provenance")
    if not folder.is_dir():
        _make(folder)
    settings = _settings(folder / "settings.json")
    try:
        secret = bytes.fromhex((folder / "secret").read_text().strip())
        if len(secret) < 16:
            raise ValueError(
                f"{folder / 'secret'} holds {len(secret)} bytes, 16 or more are needed"
            )
        certificate = (folder / settings.certificate).read_text()
        if settings.sign is not None:
            key: str | Callable[[bytes], bytes] = _function(settings.sign)
        else:
            key = (folder / (settings.key or "key.pem")).read_text()
        # A certificate of one's own takes the place of the local one, whose files stay ours all the same.
        chains = [certificate, *(p.read_text() for p in sorted(folder.glob("certificate*.pem")))]
        own = tuple(chain for chain in dict.fromkeys(chains) if split(chain))
        known = {
            p.stem: "".join(split(p.read_text())) for p in sorted((folder / "known").glob("*.pem"))
        }
    except (OSError, ValueError) as error:
        raise DataError(f"the signing identity in {folder} cannot be used: {error}") from error
    return Identity(
        secret=secret,
        certificate=certificate,
        key=key,
        algorithm=settings.algorithm,
        tsa_url=settings.tsa_url,
        own=own,
        known=known,
    )


def split(chain: str) -> list[str]:
    """The certificates of a PEM text. Raises ValueError where there is none."""
    end = "-----END CERTIFICATE-----"
    *found, _ = chain.split(end)
    if not found:
        raise ValueError("a certificate file holds no PEM certificate")
    return [f"{one.strip()}\n{end}\n" for one in found]


def _serial(certificate: str) -> int:
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode()).serial_number


def _settings(path: Path) -> Settings:
    if not path.exists():
        return Settings()
    try:
        told: Any = json.loads(path.read_text())
    except ValueError as error:
        raise RequestError(f"{path} is not JSON: {error}") from error
    names = [one.name for one in fields(Settings)]
    if not isinstance(told, dict):
        raise RequestError(f"{path} holds no object (accepted: {', '.join(names)})")
    for name in told:
        if name not in names:
            raise unknown(f"setting in {path}", name, names)
    return Settings(**told)


def _function(name: str) -> Callable[[bytes], bytes]:
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(
            f"sign {name!r} cannot be imported ({error}); module:function is accepted"
        ) from error


def _make(folder: Path) -> None:
    """Put a new identity in its place in one step: of two processes that begin at once, one wins for both."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".provenance."))  # mode 700
    except OSError as error:
        raise RequestError(
            f"no signing identity can be made in {folder.parent}: {error.strerror};"
            " set WORLDTUBE_HOME to a folder that can be written"
        ) from error
    try:
        (made / "known").mkdir()
        certificate, key = new_certificate()
        _write_private(made / "secret", secrets.token_hex(32) + "\n")
        _write_private(made / "key.pem", key)
        (made / "certificate.pem").write_text(certificate)
        try:
            publish(made, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _write_private(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def new_certificate(
    name: str = "worldtube local signer", life: timedelta = LIFE
) -> tuple[str, str]:
    """(leaf and root, the leaf's key), PEM: a certificate as C2PA wants it, under a root made for it alone.

    Both purposes are named: readers that do not know C2PA's own call a leaf without the other one invalid.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    start = datetime.now(UTC) - timedelta(minutes=5)  # clocks differ
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def named(common: str) -> x509.Name:
        oid = x509.NameOID
        pairs = ((oid.ORGANIZATION_NAME, "worldtube"), (oid.COMMON_NAME, common))
        return x509.Name([x509.NameAttribute(*pair) for pair in pairs])

    def certificate(subject: str, public: ec.EllipticCurvePublicKey, *, ca: bool) -> Any:
        use = dict.fromkeys(
            (
                *("digital_signature", "content_commitment", "key_encipherment"),
                *("data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"),
                *("encipher_only", "decipher_only"),
            ),
            False,
        )
        use |= {"key_cert_sign": True, "crl_sign": True} if ca else {"digital_signature": True}
        builder = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(f"{name}, root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + life)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), True)
            .add_extension(x509.KeyUsage(**use), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), False
            )
        )
        if not ca:
            purposes = [x509.ObjectIdentifier(one) for one in (CLAIM_SIGNING, EMAIL_PROTECTION)]
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
        return builder.sign(root_key, hashes.SHA256())

    chain = (
        certificate(name, key.public_key(), ca=False),
        certificate(f"{name}, root", root_key.public_key(), ca=True),
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return "".join(one.public_bytes(pem).decode() for one in chain), private.decode()

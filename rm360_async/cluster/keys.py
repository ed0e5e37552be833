"""How the keys of a cluster are made: an authority of its own, and one certificate that coordinator and nodes share.

The key of the authority is thrown away: no further certificate can be made, and who has the folder belongs to the
cluster.
"""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rm360_async.cluster.key_files import AUTHORITY, CERTIFICATE, KEY, Keys
from rm360_async.domain.errors import BadRequest, Cause
from rm360_async.system.files import create_file
from rm360_async.system.os_errors import os_errors

_DAYS = 3650


def make_keys(folder: Path) -> None:
    """Write ca.pem, node.pem and node.key (mode 0600) into a folder. Raises BadRequest if it has some already."""
    found = [name for name in (AUTHORITY, CERTIFICATE, KEY) if (folder / name).exists()]
    if found:
        raise BadRequest(f"{folder} has {found[0]} already; remove it first, if no node needs it any more")
    keys = new_keys()
    with os_errors("write keys in", folder, "check its owner and mode", Cause.NOT_WRITABLE):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        create_file(folder / KEY, keys.key.encode(), private=True)
        create_file(folder / CERTIFICATE, keys.certificate.encode(), private=True)
        create_file(folder / AUTHORITY, keys.authority.encode(), private=True)


def new_keys() -> Keys:
    """Return new keys as texts."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _certificate("rm360 cluster authority", authority_key, authority_key, None)
    certificate = _certificate("rm360 cluster", key, authority_key, authority)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Keys(authority.public_bytes(pem).decode(), certificate.public_bytes(pem).decode(), private.decode())


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    signing_key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate | None,
) -> x509.Certificate:
    """Return a certificate; without an authority that of one."""
    now = datetime.datetime.now(datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        issuer_name=subject if authority is None else authority.subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - datetime.timedelta(days=1),  # clocks differ
        not_valid_after=now + datetime.timedelta(days=_DAYS),
    )
    constraints = x509.BasicConstraints(ca=authority is None, path_length=None)
    return builder.add_extension(constraints, critical=True).sign(signing_key, hashes.SHA256())

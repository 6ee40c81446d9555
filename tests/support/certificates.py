"""Certificates of the tests' own: an authority, a server on 127.0.0.1, and a client."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_AT = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)


def write(folder):
    """Write ``ca.pem``, ``cert.pem`` and ``key.pem`` (a client's), ``server.pem`` and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), _name("authority")
    authority = _unsigned(name, key, name, key, ca=True).sign(key, hashes.SHA256())
    _save(folder / "ca.pem", authority)
    for file, secret in (("cert", "key"), ("server", "server-key")):
        own = ec.generate_private_key(ec.SECP256R1())
        signed = _unsigned(_name(file), own, name, key, ca=False).sign(key, hashes.SHA256())
        _save(folder / f"{file}.pem", signed)
        pem = own.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (folder / f"{secret}.pem").write_bytes(pem)


def _name(text):
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _unsigned(subject, key, issuer, signer, *, ca):
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_AT)
        .not_valid_after(_AT + dt.timedelta(days=2))
        .add_extension(here, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _save(path, certificate):
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

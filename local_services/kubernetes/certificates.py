"""The certificates, keys and tokens of one rig."""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

import jwt
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

ISSUER = "https://kubernetes.default.svc"

_LIFE = dt.timedelta(days=30)
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_LEEWAY = 60.0
"""Seconds that the API server accepts a token beyond its end."""

_USERS = {
    "admin": ("admin", "system:masters"),
    "controllers": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": ("system:node:rig-node", "system:masters"),
    "operator": ("kuberay-operator", "system:masters"),
}
"""Who has a kubeconfig: the user's name in Kubernetes, and its group."""


@dataclass(frozen=True)
class Certificates:
    """The paths of what was written."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The certificate that signed the API server's, for clients."""
        return self.folder / "ca.crt"

    @property
    def server(self) -> Path:
        """The API server's and the kubelet's certificate."""
        return self.folder / "server.crt"

    @property
    def server_key(self) -> Path:
        """The key of :attr:`server`."""
        return self.folder / "server.key"

    @property
    def accounts_key(self) -> Path:
        """The key that signs the tokens of ServiceAccounts."""
        return self.folder / "accounts.key"

    @property
    def accounts_public_key(self) -> Path:
        """What tokens of ServiceAccounts are checked with."""
        return self.folder / "accounts.pub"

    @property
    def users(self) -> Path:
        """The users and their tokens, as the API server reads them."""
        return self.folder / "users.csv"

    def kubeconfig(self, user: str) -> Path:
        """Return the path of a kubeconfig."""
        return self.folder / f"{user}.kubeconfig"

    def token(self, user: str) -> str:
        """Return the bearer token of one of the users."""
        return str(yaml.safe_load(self.kubeconfig(user).read_text())["users"][0]["user"]["token"])

    def account_token(self, *, namespace: str, name: str, uid: str, life: float) -> str:
        """Return a ServiceAccount's token that is refused after ``life`` seconds.

        Kubernetes itself gives out none of less than ten minutes. The API server remembers for
        10 s that a token was good, so it may pass for so much longer.
        """
        now = dt.datetime.now(dt.timezone.utc).timestamp()
        account = {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}}
        claims = {
            "iss": ISSUER,
            "aud": [ISSUER],
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "iat": int(now) - int(_LEEWAY),
            "exp": int(now + life - _LEEWAY),
            "jti": secrets.token_hex(8),
            "kubernetes.io": account,
        }
        return jwt.encode(claims, self.accounts_key.read_text(), algorithm="RS256")


def write_certificates(folder: Path, *, server: str, addresses: list[str]) -> Certificates:
    """Make a CA and all that it signs, and a kubeconfig for each user.

    :param server: The API server's URL.
    :param addresses: The addresses that its certificate is for.
    """
    folder.mkdir(mode=0o700)
    made = Certificates(folder)
    ca_key, server_key, accounts_key = (_key() for _ in range(3))
    ca = _certificate("rig-ca", ca_key, signed_by=None, key_of_issuer=ca_key, addresses=[])
    serving = _certificate(
        "kube-apiserver", server_key, signed_by=ca, key_of_issuer=ca_key, addresses=addresses
    )
    made.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    made.server.write_bytes(serving.public_bytes(serialization.Encoding.PEM))
    made.server_key.write_bytes(_private(server_key))
    made.accounts_key.write_bytes(_private(accounts_key))
    made.accounts_public_key.write_bytes(_public(accounts_key))
    _write_users(made, server)
    return made


def _write_users(made: Certificates, server: str) -> None:
    lines = []
    for number, (user, (name, group)) in enumerate(_USERS.items()):
        token = secrets.token_hex(20)
        lines.append(f'{token},{name},{number},"{group}"\n')
        config = _kubeconfig(user, token, server=server, ca=made.ca)
        made.kubeconfig(user).write_text(yaml.safe_dump(config))
    made.users.write_text("".join(lines))


def _kubeconfig(user: str, token: str, *, server: str, ca: Path) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "rig", "cluster": {"server": server, "certificate-authority": str(ca)}}
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [
            {"name": "rig", "context": {"cluster": "rig", "user": user, "namespace": "default"}}
        ],
        "current-context": "rig",
    }


def _certificate(
    name: str,
    key: rsa.RSAPrivateKey,
    *,
    signed_by: x509.Certificate | None,
    key_of_issuer: rsa.RSAPrivateKey,
    addresses: list[str],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signed_by.subject if signed_by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=signed_by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key_of_issuer.public_key()),
            critical=False,
        )
        .add_extension(_usage(is_ca=signed_by is None), critical=True)
    )
    if signed_by:
        names = [x509.DNSName(name) for name in _NAMES]
        numbers = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        builder = builder.add_extension(
            x509.SubjectAlternativeName([*names, *numbers]), critical=False
        )
    return builder.sign(key_of_issuer, hashes.SHA256())


def _usage(*, is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not is_ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _private(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _public(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

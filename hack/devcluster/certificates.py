"""Certificates by the openssl command: one authority, short requests rendered here."""

import ipaddress
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import HostError, StartError

# Development clusters live hours; ten years outlive any of them.
DAYS = 3650


@dataclass(frozen=True)
class Identity:
    """Who a certificate speaks for; names are the DNS names and addresses of a server."""

    common_name: str
    groups: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


def request_config(identity: Identity, *, authority: bool = False) -> str:
    """Render the openssl configuration of one certificate."""
    subject = [f"{n}.O = {group}" for n, group in enumerate(identity.groups)]
    subject.append(f"CN = {identity.common_name}")
    if authority:
        extensions = [
            "basicConstraints = critical, CA:TRUE",
            "keyUsage = critical, keyCertSign, cRLSign",
            "subjectKeyIdentifier = hash",
        ]
    else:
        usage = "serverAuth, clientAuth" if identity.names else "clientAuth"
        extensions = [
            "basicConstraints = critical, CA:FALSE",
            "keyUsage = critical, digitalSignature",
            f"extendedKeyUsage = {usage}",
        ]
        if identity.names:
            listed = ", ".join(_alternative(name) for name in identity.names)
            extensions.append(f"subjectAltName = {listed}")
    lines = ["[req]", "prompt = no", "distinguished_name = subject", "x509_extensions = ext"]
    return "\n".join([*lines, "[subject]", *subject, "[ext]", *extensions, ""])


def _alternative(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return f"DNS:{name}"
    return f"IP:{name}"


@dataclass(frozen=True)
class Pki:
    """A folder with an authority and what it signed."""

    folder: Path

    def certificate(self, name: str) -> Path:
        """Return the path of a certificate."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Return the path of a private key."""
        return self.folder / f"{name}.key"

    def create_authority(self, name: str) -> None:
        """Create a self-signed authority."""
        self._issue(name, request_config(Identity(f"mopt-devcluster-{name}"), authority=True))

    def issue(self, name: str, identity: Identity, authority: str = "ca") -> None:
        """Create a key and a certificate signed by an authority of this folder."""
        signer: list[str | Path] = [
            "-CA",
            self.certificate(authority),
            "-CAkey",
            self.key(authority),
        ]
        self._issue(name, request_config(identity), signer)

    def create_signing_key(self, name: str) -> None:
        """Create the key pair of service account tokens: NAME.key and NAME.pub."""
        curve = ("-pkeyopt", "ec_paramgen_curve:prime256v1")
        _openssl("genpkey", "-algorithm", "EC", *curve, "-out", self.key(name))
        public = self.folder / f"{name}.pub"
        _openssl("pkey", "-in", self.key(name), "-pubout", "-out", public)

    def _issue(self, name: str, config: str, signer: Sequence[str | Path] = ()) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        request = self.folder / f"{name}.cnf"
        request.write_text(config)
        _openssl(
            *("req", "-x509", "-config", request, "-days", str(DAYS)),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", self.key(name), "-out", self.certificate(name)),
            *signer,
        )


def _openssl(*arguments: str | Path) -> None:
    try:
        answer = subprocess.run(
            ["openssl", *map(str, arguments)], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise HostError("openssl is not installed; install the package openssl (3.0+)") from None
    if answer.returncode:
        detail = (answer.stderr.strip().splitlines() or ["no output"])[-1]
        raise StartError(f"openssl {arguments[0]} failed: {detail}; OpenSSL 3.0 or newer is needed")

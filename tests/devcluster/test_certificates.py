"""Certificate requests, a real chain, kubeconfigs and reserved ports."""

import base64
import json
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from devcluster.certificates import Identity, Pki, request_config
from devcluster.kubeconfig import render_kubeconfig
from devcluster.ports import port_of, reserve


def test_server_request() -> None:
    config = request_config(Identity("api", ("one", "two"), ("kubernetes", "10.0.0.1", "::1")))
    assert config == (
        "[req]\nprompt = no\ndistinguished_name = subject\nx509_extensions = ext\n"
        "[subject]\n0.O = one\n1.O = two\nCN = api\n"
        "[ext]\nbasicConstraints = critical, CA:FALSE\n"
        "keyUsage = critical, digitalSignature\n"
        "extendedKeyUsage = serverAuth, clientAuth\n"
        "subjectAltName = DNS:kubernetes, IP:10.0.0.1, IP:::1\n"
    )


def test_client_may_not_serve() -> None:
    config = request_config(Identity("admin", ("system:masters",)))
    assert "extendedKeyUsage = clientAuth\n" in config
    assert "subjectAltName" not in config


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
def test_issued_certificate_verifies_against_its_authority(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    pki.create_authority("ca")
    pki.issue("api", Identity("api", names=("localhost", "127.0.0.1")))
    pki.create_signing_key("sa")
    chain = ("-CAfile", str(pki.certificate("ca")), "-verify_ip", "127.0.0.1")
    command = ["openssl", "verify", *chain, str(pki.certificate("api"))]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(cafile=str(pki.certificate("ca")))
    context.load_cert_chain(pki.certificate("api"), pki.key("api"))
    assert (tmp_path / "sa.pub").read_text().startswith("-----BEGIN PUBLIC KEY-----")


def test_kubeconfig_verifies_the_server_and_needs_no_other_file() -> None:
    document = json.loads(render_kubeconfig("https://127.0.0.1:1", b"ca", b"crt", b"key"))
    cluster = document["clusters"][0]["cluster"]
    assert cluster == {
        "server": "https://127.0.0.1:1",
        "certificate-authority-data": base64.b64encode(b"ca").decode(),
    }
    assert set(document["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert document["current-context"] == document["contexts"][0]["name"]


def test_reserved_port_is_closed_to_others_and_open_to_the_server() -> None:
    with reserve("127.0.0.1") as holder, reserve("127.0.0.1") as other:
        port = port_of(holder)
        assert port != port_of(other)
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            server.bind(("127.0.0.1", port))
            server.listen()
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                server.accept()[0].close()

"""Kubeconfigs: self-contained JSON, which is YAML to every client."""

import base64
import json

NAME = "mopt-devcluster"


def render_kubeconfig(server: str, authority: bytes, certificate: bytes, key: bytes) -> str:
    """Render a kubeconfig that verifies the server and logs in by certificate.

    Args:
        server: URL of the API server.
        authority: PEM of the authority that signed the server's certificate.
        certificate: PEM of the client's certificate.
        key: PEM of the client's key.
    """
    cluster = {"server": server, "certificate-authority-data": _encoded(authority)}
    user = {
        "client-certificate-data": _encoded(certificate),
        "client-key-data": _encoded(key),
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": NAME, "cluster": cluster}],
        "users": [{"name": NAME, "user": user}],
        "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
        "current-context": NAME,
    }
    return json.dumps(document, indent=1) + "\n"


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode("ascii")

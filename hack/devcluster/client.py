"""A minimal API client: GET and POST as JSON over the administrator's certificate."""

import http.client
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .certificates import Pki

# Seconds for one request; start-up polling needs quick failures.
TIMEOUT = 5.0


@dataclass(frozen=True)
class ApiClient:
    """Talks to one API server."""

    address: str
    port: int
    pki: Pki
    context: ssl.SSLContext = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Load the certificates once."""
        authority = self.pki.certificate("ca")
        # ssl's own errors do not name the file.
        authority.read_bytes()
        context = ssl.create_default_context(cafile=str(authority))
        context.load_cert_chain(self.pki.certificate("admin"), self.pki.key("admin"))
        object.__setattr__(self, "context", context)

    def get(self, path: str) -> Any | None:
        """Return the JSON (or text) of a path; None while it cannot be had."""
        status, body = self._request("GET", path, None)
        return body if status == http.client.OK else None

    def create(self, path: str, document: dict[str, Any]) -> bool:
        """Create an object; an existing one is fine."""
        status, _body = self._request("POST", path, document)
        return status in (http.client.CREATED, http.client.CONFLICT)

    def _request(self, method: str, path: str, document: Any) -> tuple[int, Any]:
        connection = http.client.HTTPSConnection(
            self.address, self.port, timeout=TIMEOUT, context=self.context
        )
        try:
            payload = None if document is None else json.dumps(document)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException):
            # Not there yet, or gone: callers poll or report it as unhealthy.
            return 0, None
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text


def is_ready(client: ApiClient) -> bool:
    """Say whether Pods can be created: API ready and the default service account there."""
    if client.get("/readyz") != "ok":
        return False
    return client.get("/api/v1/namespaces/default/serviceaccounts/default") is not None


def api_port(folder: Path) -> int | None:
    """Return the API server's port that `up` wrote down, None when it never came so far."""
    try:
        return int((folder / "api-port").read_text())
    except (FileNotFoundError, ValueError):
        return None

"""How the operator reaches the API server: as a Pod, else by KUBECONFIG.

Two clients, one identity: kopf's for the watches, the official asyncio client for all else.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import kopf
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from mopt_operator.errors import OperatorError
from mopt_operator.times import utc_now
from mopt_operator.version import product_version

from .server_time import ServerTime

MANAGER = "mopt-operator"
"""Whose fields they are that the operator writes (metadata.managedFields)."""
USER_AGENT = f"{MANAGER}/{product_version()}"
_WRITES = frozenset({"POST", "PUT", "PATCH"})
# Told of each request: its method, the answer's status and the seconds it took.
Asked = Callable[[str, str, float], object]
# As client-go counts a request without an answer.
NO_ANSWER = "<error>"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class Client(ApiClient):
    """The official client; it says who it is, learns the API server's time and counts requests.

    Args:
        asked: Called after each request.

    Attributes:
        time: The API server's clock.
    """

    def __init__(self, configuration: Configuration, asked: Asked = lambda *_: None) -> None:
        super().__init__(configuration)
        self._asked = asked
        self.user_agent = USER_AGENT
        self.time = ServerTime()

    async def call_api(self, method: str, url: str, *rest: Any, **more: Any) -> Any:
        """See ApiClient."""
        if method in _WRITES:
            url += f"{'&' if '?' in url else '?'}{urlencode({'fieldManager': MANAGER})}"
        asked, began, status = utc_now(), time.monotonic(), NO_ANSWER
        try:
            response = await super().call_api(method, url, *rest, **more)
            status = str(response.status)
        finally:
            self._asked(method, status, time.monotonic() - began)
        self.time.see(response.getheader("Date"), asked)  # type: ignore[no-untyped-call]
        return response


class _Connection(kopf.ConnectionInfo):
    """kopf's connection; it says who it is."""

    def as_http_headers(self) -> dict[str, str]:
        return super().as_http_headers() | {"User-Agent": USER_AGENT}


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and (_ACCOUNT / "token").exists()


def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Return kopf's connection; it asks again when the token has expired."""
    if not _in_cluster():
        found = kopf.login_with_kubeconfig(**kwargs)
        return None if found is None else _Connection(**vars(found))
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return _Connection(
        # By address: kopf's helper needs the cluster's DNS.
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_path=str(_ACCOUNT / "ca.crt"),
        token=(_ACCOUNT / "token").read_text().strip(),
    )


@asynccontextmanager
async def api_client(asked: Asked = lambda *_: None) -> AsyncIterator[Client]:
    """Yield the official client.

    Args:
        asked: See Client.

    Raises:
        OperatorError: There is no usable identity.
    """
    configuration = Configuration()
    try:
        if _in_cluster():
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        else:
            await load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    # TypeError: the client's answer to a context that names no user of the file.
    except (ConfigException, TypeError) as error:
        raise OperatorError(f"neither in a Pod nor with a usable KUBECONFIG: {error}") from error
    async with Client(configuration, asked) as client:
        yield client

"""How the operator reaches the API server: as a Pod, else by KUBECONFIG.

Two clients, one identity: kopf's for the watches, the official asyncio client for all else.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import kopf
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from mopt_operator.errors import OperatorError

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def _in_cluster() -> bool:
    return "KUBERNETES_SERVICE_HOST" in os.environ and (_ACCOUNT / "token").exists()


def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """Return kopf's connection; it asks again when the token has expired."""
    if not _in_cluster():
        return kopf.login_with_kubeconfig(**kwargs)
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    return kopf.ConnectionInfo(
        # By address: kopf's helper needs the cluster's DNS.
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_path=str(_ACCOUNT / "ca.crt"),
        token=(_ACCOUNT / "token").read_text().strip(),
    )


@asynccontextmanager
async def api_client() -> AsyncIterator[ApiClient]:
    """Yield the official client.

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
    async with ApiClient(configuration) as client:
        yield client

"""Who may read /metrics by a token: judged by a real API server."""

from __future__ import annotations

import shutil
import urllib.error
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config
from light_cluster import Api, MakeOperator
from operator_clock import Clock

from devcluster.certificates import Identity, Pki
from mopt_operator.cluster import bearers
from mopt_operator.cluster.bearers import Bearers
from mopt_operator.cluster.client import Client
from mopt_operator.cluster.requests import Requests
from mopt_operator.errors import Refused

pytestmark = pytest.mark.cluster

RBAC = "/apis/rbac.authorization.k8s.io/v1"
HOME = "kube-system"
ACCOUNTS = f"/api/v1/namespaces/{HOME}/serviceaccounts"
READER = "mopt-metrics"
SERVER = Identity("operator", names=("127.0.0.1",))


def bind(api: Api, role: str, account: str) -> None:
    body = {
        "metadata": {"name": f"{role.rpartition(':')[2]}-{account}"},
        "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": HOME}],
    }
    api.call("POST", f"{RBAC}/clusterrolebindings", body)


@pytest.fixture(scope="module")
def accounts(api: Api) -> Iterator[None]:
    """A judge, one who may get /metrics, one who may not."""
    names = ("judge", "prometheus", "nobody")
    for name in names:
        api.call("POST", ACCOUNTS, {"metadata": {"name": name}})
    rules = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    api.call("POST", f"{RBAC}/clusterroles", {"metadata": {"name": READER}, "rules": rules})
    bind(api, "system:auth-delegator", "judge")
    bind(api, "system:auth-delegator", "operator")
    bind(api, READER, "prometheus")
    yield
    for name in names:
        api.call("DELETE", f"{ACCOUNTS}/{name}")
    for name in ("auth-delegator-judge", "auth-delegator-operator", f"{READER}-prometheus"):
        api.call("DELETE", f"{RBAC}/clusterrolebindings/{name}")
    api.call("DELETE", f"{RBAC}/clusterroles/{READER}")


def token_of(api: Api, account: str, *audiences: str) -> str:
    spec = {"expirationSeconds": 600} | ({"audiences": list(audiences)} if audiences else {})
    answer = api.call("POST", f"{ACCOUNTS}/{account}/token", {"spec": spec})
    return str(answer["status"]["token"])


@pytest.fixture
def asked() -> list[str]:
    """Return the methods of the requests that are made."""
    return []


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def connected(kubeconfig: Path, asked: list[str]) -> AsyncIterator[Requests]:
    configuration = Configuration()
    await load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with Client(configuration, lambda method, *_: asked.append(method)) as client:
        yield Requests(client)


@pytest.fixture
async def judge(
    accounts: None,
    account_kubeconfig: Callable[[str, str], Path],
    asked: list[str],
    clock: Clock,
) -> AsyncIterator[Bearers]:
    async with connected(account_kubeconfig(HOME, "judge"), asked) as requests:
        yield Bearers(requests, clock)


async def test_the_api_server_says_who_may_read(judge: Bearers, api: Api) -> None:
    assert await judge.judge(token_of(api, "prometheus")) is HTTPStatus.OK
    assert await judge.judge(token_of(api, "nobody")) is HTTPStatus.FORBIDDEN
    assert await judge.judge("nonsense") is HTTPStatus.UNAUTHORIZED
    other = token_of(api, "prometheus", "https://another.example.com")
    assert await judge.judge(other) is HTTPStatus.UNAUTHORIZED


async def test_verdict_is_remembered_for_a_while(
    judge: Bearers, api: Api, asked: list[str], clock: Clock
) -> None:
    token = token_of(api, "prometheus")
    binding = f"{RBAC}/clusterrolebindings/{READER}-prometheus"
    for _ in range(3):
        assert await judge.judge(token) is HTTPStatus.OK
    assert asked == ["POST", "POST"]
    api.call("DELETE", binding)
    try:
        clock.seconds += bearers.GRANTED_SECONDS
        assert await judge.judge(token) is HTTPStatus.FORBIDDEN
    finally:
        bind(api, READER, "prometheus")
    clock.seconds += bearers.REFUSED_SECONDS - 1
    assert await judge.judge(token) is HTTPStatus.FORBIDDEN
    clock.seconds += 1
    assert await judge.judge(token) is HTTPStatus.OK


async def test_many_tokens_are_not_kept(judge: Bearers, asked: list[str]) -> None:
    for number in range(bearers.MOST_KNOWN + 1):
        await judge.judge(f"nonsense-{number}")
    asked.clear()
    await judge.judge(f"nonsense-{bearers.MOST_KNOWN}")
    assert asked == []
    await judge.judge("nonsense-0")
    assert asked == ["POST"]


async def test_missing_role_is_an_error(
    accounts: None, api: Api, account_kubeconfig: Callable[[str, str], Path]
) -> None:
    async with connected(account_kubeconfig(HOME, "nobody"), []) as requests:
        with pytest.raises(Refused, match="tokenreviews"):
            await Bearers(requests).judge(token_of(api, "prometheus"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_operator_shows_metrics_to_whom_it_may(
    accounts: None, api: Api, make_operator: MakeOperator, tmp_path: Path
) -> None:
    pki, folder = Pki(tmp_path / "pki"), tmp_path / "tls"
    pki.create_authority("ca")
    pki.issue("operator", SERVER)
    folder.mkdir()
    shutil.copy(pki.certificate("ca"), folder / "ca.crt")
    shutil.copy(pki.certificate("operator"), folder / "tls.crt")
    shutil.copy(pki.key("operator"), folder / "tls.key")
    operator = make_operator(healthTls={"folder": str(folder), "bearerTokens": True})
    operator.start()
    assert "mopt_leader 1.0" in operator.page("metrics", token_of(api, "prometheus"))
    for token, code in (("", 401), ("nonsense", 401), (token_of(api, "nobody"), 403)):
        with pytest.raises(urllib.error.HTTPError) as refused:
            operator.page("metrics", token)
        assert refused.value.code == code
        refused.value.close()
    assert operator.stop() == 0

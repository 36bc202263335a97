"""The HTTP port over TLS: who may read what, and a certificate that is renewed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from http import HTTPStatus
from pathlib import Path

import aiohttp
import pytest
from free_ports import free_address

from devcluster.certificates import Identity, Pki
from mopt_operator.config.settings import HealthTls
from mopt_operator.errors import OperatorError, Unreachable
from mopt_operator.loop import http
from mopt_operator.loop.certificates import Certificates
from mopt_operator.loop.http import Heartbeat, application, serve

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
SERVER = Identity("operator", names=("127.0.0.1",))


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    """Return an authority, and one that nobody trusts."""
    pki = Pki(tmp_path / "pki")
    for authority in ("ca", "other"):
        pki.create_authority(authority)
    pki.issue("prometheus", Identity("prometheus"))
    pki.issue("stranger", Identity("stranger"), "other")
    return pki


@pytest.fixture
def secret(pki: Pki, tmp_path: Path) -> Path:
    """Return a folder as a Secret with a certificate is mounted."""
    folder = tmp_path / "tls"
    folder.mkdir()
    shutil.copy(pki.certificate("ca"), folder / "ca.crt")
    put(pki, folder)
    return folder


def put(pki: Pki, folder: Path) -> None:
    """Make a new certificate of the operator's, and put it there."""
    pki.issue("operator", SERVER)
    shutil.copy(pki.certificate("operator"), folder / "tls.crt")
    shutil.copy(pki.key("operator"), folder / "tls.key")


async def page() -> bytes:
    return b"mopt_leader 1.0\n"


async def get(pki: Pki, url: str, client: str = "") -> int:
    context = ssl.create_default_context(cafile=str(pki.certificate("ca")))
    if client:
        context.load_cert_chain(pki.certificate(client), pki.key(client))
    async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
        await answer.read()
        return answer.status


async def test_pages_are_served_with_the_secret_s_certificate(pki: Pki, secret: Path) -> None:
    address = free_address()
    tls = HealthTls(folder=str(secret))
    async with serve(address, application(list, page, Heartbeat()), tls):
        for name in ("healthz", "readyz", "metrics"):
            assert await get(pki, f"https://{address}/{name}") == 200
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                await session.get(f"http://{address}/metrics")


async def test_metrics_are_for_clients_of_the_authority(pki: Pki, secret: Path) -> None:
    address = free_address()
    tls = HealthTls(folder=str(secret), client_certificates=True)
    async with serve(address, application(list, page, Heartbeat()), tls):
        assert await get(pki, f"https://{address}/healthz") == 200
        assert await get(pki, f"https://{address}/metrics") == 403
        assert await get(pki, f"https://{address}/metrics", "prometheus") == 200
        with pytest.raises(aiohttp.ClientError):
            await get(pki, f"https://{address}/metrics", "stranger")


async def judge(token: str) -> HTTPStatus:
    if token == "unlucky":
        raise Unreachable("POST tokenreviews: no answer")
    return {"good": HTTPStatus.OK, "other": HTTPStatus.FORBIDDEN}.get(
        token, HTTPStatus.UNAUTHORIZED
    )


@pytest.mark.parametrize(
    ("shown", "status", "words"),
    [
        ("", 401, "a bearer token is required"),
        ("Basic good", 401, "a bearer token is required"),
        ("Bearer ", 401, "a bearer token is required"),
        ("Bearer bad", 401, "a bearer token is required"),
        ("Bearer other", 403, "bind it to a ClusterRole"),
        ("Bearer unlucky", 503, "cannot be judged: POST tokenreviews: no answer"),
        ("bearer good", 200, "mopt_leader"),
    ],
)
async def test_metrics_are_for_tokens_that_are_judged_well(
    shown: str, status: int, words: str
) -> None:
    address = free_address()
    headers = {"Authorization": shown} if shown else {}
    async with (
        serve(address, application(list, page, Heartbeat(), judge)),
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"http://{address}/healthz") as answer:
            assert answer.status == 200
        async with session.get(f"http://{address}/metrics", headers=headers) as answer:
            assert answer.status == status
            assert words in await answer.text()


def in_use(pki: Pki, address: str) -> bytes:
    """Return the certificate that a new connection is shown."""
    host, _, port = address.partition(":")
    context = ssl.create_default_context(cafile=str(pki.certificate("ca")))
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return found


async def test_renewed_certificate_is_used_without_a_restart(
    pki: Pki, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "RENEW_SECONDS", 0.01)
    address = free_address()
    tls = HealthTls(folder=str(secret))
    async with serve(address, application(list, page, Heartbeat()), tls):
        before = await asyncio.to_thread(in_use, pki, address)
        put(pki, secret)
        while await asyncio.to_thread(in_use, pki, address) == before:
            await asyncio.sleep(0.01)


def test_pair_that_does_not_match_leaves_the_old_one(
    pki: Pki, secret: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(HealthTls(folder=str(secret)))
    shutil.copy(pki.key("stranger"), secret / "tls.key")
    certificates.renew()
    assert "Cannot renew the certificate" in caplog.text
    put(pki, secret)
    caplog.clear()
    with caplog.at_level("INFO"):
        certificates.renew()
        certificates.renew()
    assert caplog.text.count("Renewed the certificate") == 1


@pytest.mark.parametrize("missing", ["tls.crt", "tls.key", "ca.crt"])
async def test_start_without_a_file_says_which_are_needed(secret: Path, missing: str) -> None:
    (secret / missing).unlink()
    tls = HealthTls(folder=str(secret), client_certificates=True)
    with pytest.raises(OperatorError, match=r"tls\.crt, tls\.key and ca\.crt in .*tls"):
        async with serve(free_address(), application(list, page, Heartbeat()), tls):
            pass

"""Answers of services that are no store, and of stores that are hostile: typed, never quoted."""

from __future__ import annotations

import socketserver
import threading
from pathlib import Path

import pytest
from hostile_store import TOKEN, Request, listing, operations, served

from mopt_api.jobs.plan import Credentials
from mopt_optimizer.errors import StoreUnreachable
from mopt_optimizer.store.registry import open_store

SECRET = "the-neighbour-s-secret"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int, tmp_path: Path) -> None:
    with served(lambda request: request.send(200, b"stolen")) as other:

        def away(request: Request) -> None:
            request.send(status, Location=f"{other.endpoint}/bucket/key")

        with served(away) as server:
            for operation in operations(server.store(), tmp_path).values():
                with pytest.raises(StoreUnreachable, match="a redirect, which is not followed"):
                    operation()
            assert TOKEN in str(server.requests)
    assert other.requests == []


ERROR = "<Error><Code>{code}</Code><Message>{message}</Message></Error>"
BODIES = {
    "html": ("text/html", f"<html>{SECRET}</html>".encode()),
    "json": ("application/json", f'{{"password": "{SECRET}"}}'.encode()),
    "text as xml": ("application/xml", SECRET.encode()),
    "html as xml": ("application/xml", f"<html><p>{SECRET}</p></html>".encode()),
    "error as text/xml": ("text/xml", ERROR.format(code="Broken", message="m").encode()),
    "no type": ("", SECRET.encode()),
    "code of another": ("application/xml", ERROR.format(code=f"{SECRET} x", message="").encode()),
    "no code": ("application/xml", f"<Error><Message>{SECRET}</Message></Error>".encode()),
    "not text": ("application/xml", b"\xff\xfe" + SECRET.encode("utf-16")),
    "nothing": ("application/xml", b""),
}


@pytest.mark.parametrize("body", BODIES)
def test_body_of_another_service_is_never_quoted(body: str, tmp_path: Path) -> None:
    kind, content = BODIES[body]
    status = 0

    def script(request: Request) -> None:
        if request.command == "HEAD":
            request.send(200, Content_Length="7")
        else:
            request.send(status, content, Content_Type=kind)

    with served(script) as server:
        attempts = operations(server.store(), tmp_path)
        del attempts["size"]  # A HEAD, which has no body.
        for status in (400, 403, 404, 409, 418, 500, 503):  # noqa: B007 - read by the script
            for attempt in attempts.values():
                with pytest.raises(
                    StoreUnreachable, match="not an answer of an S3 store"
                ) as caught:
                    attempt()
                assert SECRET not in str(caught.value)


def test_words_of_a_store_are_cleaned_and_cut(tmp_path: Path) -> None:
    said = "\x1b]0;owned\x07 \u202eredro\r\nmopt: forged \x85 " + "long " * 1000
    # XML has no escape for control characters: those that it takes arrive as they are.
    legal = said.replace("\x1b", "\x7f\x9b").replace("\x07", "")
    body = ERROR.format(code="SlowDown", message=legal).encode()

    def script(request: Request) -> None:
        request.send(200 if request.command == "HEAD" else 429, body)

    with served(script) as server:
        for name, attempt in operations(server.store(), tmp_path).items():
            if name == "size":
                continue
            with pytest.raises(StoreUnreachable, match="SlowDown") as caught:
                attempt()
            message = str(caught.value)
            assert message.isprintable()
            assert "\\x9b" in message
            assert len(message) < 400


XML = {
    "cut": b"<ListBucketResult><Name>bucket",
    "empty": b"",
    "text": b"no xml",
    "another root": b"<a/>",
    "no name": b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
    "no key": b"<ListBucketResult><Name>b</Name><Contents/></ListBucketResult>",
    "a date that is none": listing("folder/a").replace(
        b"</Key>", b"</Key><LastModified>yesterday</LastModified>"
    ),
    "a size that is none": listing("folder/a").replace(b"</Key>", b"</Key><Size>1e9</Size>"),
    "tags that are none": listing("folder/a").replace(b"</Key>", b"</Key><UserTags>x</UserTags>"),
    "another encoding": listing("folder/a").decode().encode("utf-16"),
    "not text": b"<ListBucketResult>\xff\xfe</ListBucketResult>",
    "deep": b"<a>" * 100_000,
    "deep and whole": b"<a>" * 100_000 + b"</a>" * 100_000,
    "entities that grow": b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;&b;">]><ListBucketResult>&c;</ListBucketResult>',
    "a file of ours": b'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    b"<ListBucketResult><Name>&a;</Name></ListBucketResult>",
    "5 MB": listing("folder/" + "a" * 5_000_000),
    "keys of another folder": listing("other/a"),
}


@pytest.mark.parametrize("name", XML)
@pytest.mark.parametrize("status", [200, 403])
def test_xml_that_is_no_answer_is_typed(status: int, name: str) -> None:
    with served(lambda request: request.send(status, XML[name])) as server:
        with pytest.raises(StoreUnreachable, match="not an answer of an S3 store") as caught:
            server.store().list("folder/")
        assert len(str(caught.value)) < 400


def test_banner_of_another_protocol_is_not_quoted(tmp_path: Path) -> None:
    class Banner(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(f"220 {SECRET}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Banner) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        environ = {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_address[1]}",
        }
        store = open_store("s3://bucket/key", Credentials.MODEL, environ)[0]
        for attempt in operations(store, tmp_path).values():
            with pytest.raises(StoreUnreachable, match="what it sends is not HTTP") as caught:
                attempt()
            assert SECRET not in str(caught.value)
        server.shutdown()
        thread.join()

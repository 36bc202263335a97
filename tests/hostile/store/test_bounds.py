"""Stores that send too much, too slowly or for ever: each call ends, with bounded memory."""

from __future__ import annotations

import gzip
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_store import Request, Script, listing, operations, served

from mopt_optimizer.errors import DataError, StoreUnreachable
from mopt_optimizer.store import s3, transport

LONG = 64 * 1024 * 1024
SOON = 60
"""Seconds within which a call ends that would never end, on a machine that is busy."""


def _claims(size: int, send: Script) -> Script:
    def script(request: Request) -> None:
        if request.command == "HEAD":
            request.send(200, Content_Length=str(size))
        else:
            send(request)

    return script


def _endless_chunks(request: Request) -> None:
    request.send(200, Content_Length="", Transfer_Encoding="chunked")
    request.write_for_ever(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def _endless_until_closed(request: Request) -> None:
    request.send(200, Content_Length="", Connection="close")
    request.write_for_ever(b"x" * 65536)


def _longer_than_stated(request: Request) -> None:
    request.send(200, Content_Length=str(10**12))
    request.write_for_ever(b"x" * 65536)


@pytest.mark.parametrize("lie", [_endless_chunks, _endless_until_closed, _longer_than_stated])
@pytest.mark.parametrize("operation", ["fetch", "read", "digest"])
def test_no_more_is_taken_than_the_store_said(lie: Script, operation: str, tmp_path: Path) -> None:
    with served(_claims(1_000_000, lie)) as server:
        with pytest.raises(StoreUnreachable, match="more than the 1000000 bytes"):
            operations(server.store(), tmp_path)[operation]()
        # Beyond what was taken are only the buffers of two sockets.
        assert server.sent < 1_000_000 + 16 * 1024 * 1024
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_no_more_is_taken_than_the_caller_allows() -> None:
    with served(_claims(LONG + 1, _endless_chunks)) as server:
        with pytest.raises(DataError, match=f"has {LONG + 1} bytes, more than the {LONG} taken"):
            server.store().read("key")
        assert [command for command, *_ in server.requests] == ["HEAD"]


@pytest.mark.parametrize("operation", ["fetch", "read", "digest"])
def test_transfer_of_nothing_ends(operation: str, tmp_path: Path) -> None:
    with served(_claims(10, lambda request: request.send(206))) as server:
        with pytest.raises(StoreUnreachable, match="breaks off"):
            operations(server.store(), tmp_path)[operation]()
        assert len(server.requests) < 8


def test_progress_of_single_bytes_ends(tmp_path: Path) -> None:
    def one(request: Request) -> None:
        request.send(206, b"x")

    with served(_claims(LONG, one)) as server:
        with pytest.raises(StoreUnreachable, match="breaks off"):
            server.store().fetch("key", tmp_path / "out")
        assert len(server.requests) < 8


def test_whole_object_in_place_of_its_rest_is_refused(tmp_path: Path) -> None:
    content = b"x" * (2 * 1024 * 1024)

    def script(request: Request) -> None:
        if request.headers.get("Range"):
            request.send(200, content)
            return
        request.send(200, content[: len(content) // 2], Content_Length=str(len(content)))
        request.close_connection = True

    with (
        served(_claims(len(content), script)) as server,
        pytest.raises(StoreUnreachable, match="where a part was asked for"),
    ):
        server.store().fetch("key", tmp_path / "out")


@pytest.mark.parametrize("length", ["-5", "five", "1e3", "9" * 5000])
@pytest.mark.parametrize("operation", ["fetch", "read", "digest", "size"])
def test_length_that_is_none_is_typed(length: str, operation: str, tmp_path: Path) -> None:
    with (
        served(lambda request: request.send(200, Content_Length=length)) as server,
        pytest.raises(StoreUnreachable),
    ):
        operations(server.store(), tmp_path)[operation]()


def test_compressed_object_is_taken_as_it_is_stored(tmp_path: Path) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)

    def script(request: Request) -> None:
        request.send(200, bomb, Content_Encoding="gzip")

    with served(script) as server:
        assert server.store().fetch("key", tmp_path / "out") == hashlib.sha256(bomb).hexdigest()
        assert server.store().read("key") == bomb


def _pages(page: Callable[[int], bytes]) -> Script:
    def script(request: Request) -> None:
        request.send(200, page(len(request.server.requests)))

    return script


PAGES: dict[str, Callable[[int], bytes]] = {
    "of nothing": lambda number: listing(more=True, token=str(number)),
    "of the same": lambda _: listing("folder/a", "folder/b", more=True, token="same"),
    "without a token": lambda _: listing("folder/a", more=True, token=""),
}


@pytest.mark.parametrize("pages", PAGES)
def test_list_without_an_end_ends(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "LIST_REQUESTS", 50)
    with served(_pages(PAGES[pages])) as server:
        with pytest.raises(StoreUnreachable, match="its answers have no end"):
            server.store().list("folder/")
        assert len(server.requests) == 50


def test_list_of_ever_new_names_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "MAX_KEYS", 10_000)

    def page(number: int) -> bytes:
        return listing(*(f"folder/{number}-{n}" for n in range(1000)), more=True, token=str(number))

    with served(_pages(page)) as server:
        with pytest.raises(DataError, match="holds more than 10000 objects"):
            server.store().list("folder/")
        assert len(server.requests) == 11


def test_list_that_takes_for_ever_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "LIST_SECONDS", 0.5)

    def script(request: Request) -> None:
        time.sleep(0.2)
        request.send(200, listing(more=True))

    with served(script) as server:
        started = time.monotonic()
        with pytest.raises(StoreUnreachable, match="its answers have no end"):
            server.store().list("folder/")
        assert time.monotonic() - started < SOON


def test_list_holds_each_key_once_in_order() -> None:
    def script(request: Request) -> None:
        first = len(request.server.requests) == 1
        request.send(200, listing("folder/b", "folder/a", more=first))

    with served(script) as server:
        assert server.store().list("folder/") == ["folder/a", "folder/b"]


def _head_drips(request: Request) -> None:
    request.write(b"HTTP/1.1 200 OK\r\nX: ")
    request.write_for_ever(b"x", pause=0.05)


def _head_has_no_end(request: Request) -> None:
    request.write(b"HTTP/1.1 200 OK\r\nX: ")
    request.write_for_ever(b"x" * 60_000 + b"\r\nX: ")


def _nothing_but_continue(request: Request) -> None:
    request.write_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


def _body_drips(request: Request) -> None:
    request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    request.write_for_ever(b"<", pause=0.05)


def _chunk_drips(request: Request) -> None:
    request.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    request.write_for_ever(b"0", pause=0.05)


def _body_has_no_end(request: Request) -> None:
    request.write(b"HTTP/1.1 403 No\r\nConnection: close\r\n\r\n")
    request.write_for_ever(b"x" * 65536)


def _silent(request: Request) -> None:
    request.server.ended.wait()


ENDLESS = {
    "head drips": _head_drips,
    "head has no end": _head_has_no_end,
    "nothing but continue": _nothing_but_continue,
    "silent": _silent,
    "body drips": _claims(100_000, _body_drips),
    "chunk drips": _claims(100_000, _chunk_drips),
    "body has no end": _claims(100_000, _body_has_no_end),
}


@pytest.mark.parametrize("lie", ENDLESS)
def test_no_answer_takes_for_ever(
    lie: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(s3, "ANSWER_SECONDS", 0.1)
    monkeypatch.setattr(s3, "TRANSFER_SECONDS", 0.1)
    with served(ENDLESS[lie]) as server:
        attempts = operations(server.store(), tmp_path)
        if ENDLESS[lie] not in (_head_drips, _head_has_no_end, _nothing_but_continue, _silent):
            del attempts["size"]  # A HEAD, which has no body.
        for attempt in attempts.values():
            started = time.monotonic()
            with pytest.raises(StoreUnreachable):
                attempt()
            # A few tries, each at most twice the longest pause.
            assert time.monotonic() - started < SOON
        # What the buffers of two sockets hold, each time.
        assert server.sent < len(server.requests) * 8 * 1024 * 1024


def test_store_does_not_say_when_it_is_asked_again() -> None:
    with served(lambda request: request.send(503, Retry_After="86400")) as server:
        started = time.monotonic()
        with pytest.raises(StoreUnreachable):
            server.store().size("key")
        assert time.monotonic() - started < SOON
        assert len(server.requests) == 3


def test_slow_upload_is_awaited() -> None:
    with served(lambda request: request.send(200)) as server:
        # Longer than a connection may take, and more than the buffers of two sockets.
        server.delay = lambda: time.sleep(transport.CONNECT_SECONDS + 1)
        server.store().put_bytes("key", b"x" * (12 * 1024 * 1024))
        assert len(server.requests) == 1

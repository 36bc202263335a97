"""What the HTTP side adds to KServe's: bodies have a bound, and every refusal is one line."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from kserve.errors import InferenceError, InvalidInput, ModelNotFound, ModelNotReady

from mopt_api.text import one_line
from mopt_optimizer.serving.datatypes import HEADER_LENGTH

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

_BAD_REQUEST = 400
_BINARY = HEADER_LENGTH.encode()
_CONTENT_TYPE = b"content-type"
_SHORT = 200
_MOST_DISCARDED = 2**30
"""Bytes of a body that is refused which are read all the same."""


class TooLarge(Exception):
    """A body that is larger than the largest input."""


class Bodies:
    """ASGI middleware: refuses large bodies, and says what is in the others.

    Triton's clients name no content type, and FastAPI reads nothing without one.
    """

    def __init__(self, app: App, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most:
            await self._refuse(scope, receive, send)
            return
        others = [(k, v) for k, v in scope["headers"] if k != _CONTENT_TYPE]
        if _BINARY in headers:
            scope["headers"] = [*others, (_CONTENT_TYPE, b"application/octet-stream")]
        elif _CONTENT_TYPE not in headers:
            scope["headers"] = [*others, (_CONTENT_TYPE, b"application/json")]
        try:
            await self._app(scope, self._counting(receive), send)
        except TooLarge:
            await self._refuse(scope, receive, send)

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise TooLarge
            return message

        return counted

    async def _refuse(self, scope: Message, receive: Receive, send: Send) -> None:
        # A client that still writes does not read: it would see a connection that is reset.
        left, more = _MOST_DISCARDED, True
        while more and left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
        text = f"the body is larger than the largest inputs take: {self._most} bytes"
        response = JSONResponse({"error": text}, _BAD_REQUEST, {"connection": "close"})
        await response(scope, receive, send)


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    """Answer a body that is no request of the protocol."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {}
    # Between them is which of FastAPI's guesses at the body failed.
    where = ".".join(str(part) for part in first.get("loc", ())[2:]) or "it"
    why = first.get("ctx", {}).get("error") or first.get("msg", error)
    text = one_line(f"the request's JSON: {where}: {why}", _SHORT)
    return JSONResponse({"error": text}, _BAD_REQUEST)


def add_rules(app: FastAPI, most_bytes: int) -> None:
    """Add to KServe's application what it lacks; before the server starts."""
    app.add_middleware(Bodies, most_bytes=most_bytes)
    app.add_exception_handler(RequestValidationError, _malformed)


def add_configuration(app: FastAPI, name: str, configuration: Mapping[str, Any]) -> None:
    """Answer what a model's configuration is, of any version: there is one."""

    async def answer(model_name: str) -> Mapping[str, Any]:
        if model_name != name:
            raise ModelNotFound(model_name)
        return configuration

    for path in ("/v2/models/{model_name}", "/v2/models/{model_name}/versions/{model_version}"):
        app.add_api_route(f"{path}/config", answer, methods=["GET"])


class OneLine(logging.Filter):
    """Logs a refused request in one line, where KServe logs a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten a record."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (InvalidInput, ModelNotFound, ModelNotReady, InferenceError)):
            record.msg, record.args, record.exc_info = f"refused: {one_line(str(error))}", (), None
        return True


def largest_body(request_bytes: int) -> int:
    """Return the bytes that a body may have whose tensors have so many: JSON writes a float of four
    bytes in up to 25. Pure."""
    return 25 * request_bytes + 2**20

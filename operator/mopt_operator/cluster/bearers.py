"""Who may read /metrics: the bearers of tokens, as the API server judges them.

As controller-runtime's authorization filter does it: a TokenReview says whose a token is, a
SubjectAccessReview whether that user may get /metrics. It takes the built-in ClusterRole
system:auth-delegator:

    authentication.k8s.io  tokenreviews          create
    authorization.k8s.io   subjectaccessreviews  create
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from http import HTTPStatus

from mopt_operator.objects import Raw

from .requests import Requests

TOKEN_REVIEW = ("authentication.k8s.io/v1", "TokenReview")
ACCESS_REVIEW = ("authorization.k8s.io/v1", "SubjectAccessReview")
# What was granted counts for so long, and what was not: somebody may be mending it.
GRANTED_SECONDS, REFUSED_SECONDS = 60.0, 10.0
MOST_KNOWN = 64


class Bearers:
    """Judges tokens, and remembers each verdict for a while; the token's digest, not the token.

    Args:
        request: Without a fence: a standby is asked too, and a review changes nothing.
    """

    def __init__(self, request: Requests, clock: Callable[[], float] = time.monotonic) -> None:
        self._request = request
        self._clock = clock
        self._known: dict[bytes, tuple[float, HTTPStatus]] = {}
        # One after the other: who tries many tokens does not make the API server busy.
        self._turn = asyncio.Lock()

    async def judge(self, token: str) -> HTTPStatus:
        """Return OK, UNAUTHORIZED for a token that nobody has, or FORBIDDEN.

        Raises:
            OperatorError: The API server does not say; Refused where the ClusterRole is missing.
        """
        digest = hashlib.sha256(token.encode()).digest()
        async with self._turn:
            until, status = self._known.get(digest, (0.0, HTTPStatus.UNAUTHORIZED))
            if self._clock() >= until:
                status = await self._reviewed(token)
                self._remember(digest, status)
            return status

    def _remember(self, digest: bytes, status: HTTPStatus) -> None:
        seconds = GRANTED_SECONDS if status is HTTPStatus.OK else REFUSED_SECONDS
        self._known.pop(digest, None)
        self._known[digest] = (self._clock() + seconds, status)
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]

    async def _reviewed(self, token: str) -> HTTPStatus:
        said = await self._review(TOKEN_REVIEW, token=token)
        if not said.get("authenticated"):
            return HTTPStatus.UNAUTHORIZED
        user: Raw = said.get("user") or {}
        known = {key: user[key] for key in ("groups", "uid", "extra") if user.get(key)}
        access = await self._review(
            ACCESS_REVIEW,
            user=user.get("username", ""),
            nonResourceAttributes={"path": "/metrics", "verb": "get"},
            **known,
        )
        return HTTPStatus.OK if access.get("allowed") else HTTPStatus.FORBIDDEN

    async def _review(self, kind: tuple[str, str], **spec: object) -> Raw:
        """Return what the API server says of a review: its status."""
        version, name = kind
        body = {"apiVersion": version, "kind": name, "spec": spec}
        answer = await self._request("POST", f"/apis/{version}/{name.lower()}s", body=body)
        status: Raw = answer.get("status") or {}
        return status

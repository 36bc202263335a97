"""Lists, page by page, each page of about as many bytes, and counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from mopt_operator.objects import Raw

from .requests import JSON, Requests, parsed

# A page of a list is parsed in one go, on the event loop: it is asked for in objects, as many as
# make about so many bytes.
PAGE_BYTES = 2**20
FIRST_PAGE, LARGEST_PAGE = 50, 500  # objects; kubectl asks for 500

# Told of each page: the plural of what is listed, and the bytes of its JSON.
ListedBytes = Callable[[str, int], object]


def next_page(objects: int, size: int) -> int:
    """Return how many objects to ask for after a page of so many that took so many bytes."""
    fit = PAGE_BYTES * max(objects, 1) // max(size, 1)
    return min(max(fit, 1), LARGEST_PAGE)


class Pages:
    """Asks for lists.

    Args:
        listed: Called with each page.
    """

    def __init__(self, request: Requests, listed: ListedBytes = lambda *_: None) -> None:
        self._request = request
        self._listed = listed

    async def __call__(
        self, path: str, query: dict[str, str], accept: str = JSON
    ) -> AsyncIterator[Raw]:
        """Yield a list page by page; all pages are of the first one's moment.

        Args:
            query: Further parameters, such as a selector.
            accept: What of each object: JSON is all of it.

        Raises:
            ApiError: A page is refused, or took so long that the API server forgot its moment.
        """
        query = {"limit": str(FIRST_PAGE)} | query
        content = await self._content(path, query, accept)
        while True:
            page = parsed(content, f"GET {path}")
            query |= {
                "limit": str(next_page(len(page["items"] or ()), len(content))),
                "continue": page["metadata"].get("continue") or "",
            }
            if not query["continue"]:
                yield page
                return
            # The API server makes the next page while this one is taken in.
            following = asyncio.create_task(self._content(path, dict(query), accept))
            try:
                yield page
                del page
                content = await following
            finally:
                following.cancel()

    async def items(self, path: str, query: dict[str, str]) -> list[Raw]:
        """Return all objects of a list that is short.

        Raises:
            ApiError: See __call__.
        """
        return [raw async for page in self(path, query) for raw in page["items"] or ()]

    async def _content(self, path: str, query: dict[str, str], accept: str) -> bytes:
        content = await self._request.content("GET", path, accept=accept, query=query)
        self._listed(path.rpartition("/")[2], len(content))
        return content

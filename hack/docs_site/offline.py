"""What a page loads when it is read: files of the site alone."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

# Elements that load what they name; a link is only followed by whoever clicks on it.
_LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
# Relations of a link element that nothing is loaded for.
_NAMING = {"canonical", "prev", "next", "edit"}
# The theme fetches their scripts from elsewhere where a page has such a block.
_FETCHING_CLASSES = {"mermaid", "glightbox", "pyodide"}


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        address = given.get(_LOADING.get(tag, ""), "")
        named = tag == "link" and given.get("rel", "") in _NAMING
        if address.startswith(("http:", "https:", "//")) and not named:
            self.outside.append(address)
        fetching = _FETCHING_CLASSES & set(given.get("class", "").split())
        self.outside += [f"the script of a block {name}" for name in sorted(fetching)]


def requests_outside(site: Path) -> list[str]:
    """Return what pages would load from elsewhere, each with its page."""
    found = []
    for file in sorted(site.rglob("*.html")):
        page = _Page()
        page.feed(file.read_text())
        found += [f"{file.relative_to(site)}: {address}" for address in page.outside]
    return found

"""An HTML file taken apart: what it says, what it refers to, and whether it is well formed."""

from __future__ import annotations

from html.parser import HTMLParser

_VOID = frozenset({"br", "hr", "img", "input", "link", "meta"})
# What makes a browser fetch or go somewhere.
_REFERRING = frozenset(
    {"src", "href", "srcset", "action", "formaction", "data", "poster", "xlink:href"}
)


class HtmlPage(HTMLParser):
    """Attributes:
    elements: Names of all elements, in order.
    references: Values of all attributes that name a resource.
    texts: All text besides the style's, whitespace trimmed.
    faults: What is not well formed, in words.
    """

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.references: list[str] = []
        self.texts: list[str] = []
        self.faults: list[str] = []
        self.attributes: list[tuple[str, dict[str, str]]] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        self.faults += [f"{tag} is not closed" for tag in self._open]
        ids = [found["id"] for _, found in self.attributes if "id" in found]
        self.faults += [f"id {name} twice" for name in set(ids) if ids.count(name) > 1]
        for tag, found in self.attributes:
            self.faults += [
                f"{tag} is labelled by {name}, which does not exist"
                for name in found.get("aria-labelledby", "").split()
                if name not in ids
            ]

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        found = {name: value or "" for name, value in attrs}
        if len(found) != len(attrs):
            self.faults.append(f"{tag} has an attribute twice")
        self.attributes.append((tag, found))
        self.references += [value for name, value in found.items() if name in _REFERRING]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1] != tag:
            self.faults.append(f"</{tag}> closes {self._open[-1:]}")
        else:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"] and data.strip():
            self.texts.append(" ".join(data.split()))

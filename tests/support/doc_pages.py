"""The repository's pages for people, taken apart: blocks of code, links, headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from docs_site.staging import links as links_in
from docs_site.staging import pages
from mopt_api.spec import ModelOptimizationSpec

ROOT = Path(__file__).resolve().parents[2]
# Before a block of code that leaves something out on purpose.
EXCERPT = "<!-- excerpt -->"

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_HEADING = re.compile(r"^#{1,6} (.+?)\s*$", re.MULTILINE)


SPEC_FIELDS = {info.alias or name for name, info in ModelOptimizationSpec.model_fields.items()}
CHART_VALUES = set(yaml.safe_load((ROOT / "helm" / "mopt" / "values.yaml").read_text()))


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    page: str
    line: int
    language: str
    text: str
    excerpt: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def is_chart_values(document: dict[str, Any]) -> bool:
    """Whether a YAML document is a part of the chart's values; a part of a spec is none."""
    return set(document) <= CHART_VALUES and not set(document) <= SPEC_FIELDS


@cache
def page_names() -> tuple[str, ...]:
    """Return every page by its path in the repository; records are data."""
    found = (path for path in pages(ROOT) if path.endswith(".md"))
    return ("README.md", *(path for path in found if "/records/" not in path))


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(*languages: str) -> list[Block]:
    """Return all pages' blocks in some languages."""
    return [b for page in page_names() for b in _blocks(page) if b.language in languages]


def _blocks(page: str) -> Iterator[Block]:
    text = text_of(page)
    for found in _FENCE.finditer(text):
        indent, language, code = found.groups()
        before = text[: found.start()]
        lines = [line.removeprefix(indent) for line in code.splitlines(keepends=True)]
        yield Block(
            page,
            before.count("\n") + 1,
            language,
            "".join(lines),
            before.rstrip().endswith(EXCERPT),
        )


def spans(page: str) -> list[str]:
    """Return what stands as code within a page's sentences, each in one line."""
    prose = _COMMENT.sub("", _FENCE.sub("", text_of(page)))
    return [" ".join(found.split()) for found in _SPAN.findall(prose)]


def links(page: str) -> list[str]:
    """Return the targets of a page's links and pictures."""
    return [found["target"] for found in links_in(text_of(page))]


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    return {_slug(heading) for heading in _HEADING.findall(_FENCE.sub("", text_of(page)))}


def _slug(heading: str) -> str:
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
    return re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")

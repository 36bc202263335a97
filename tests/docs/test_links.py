"""Every link leads somewhere, on GitHub and on the site; every page is found there."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from doc_pages import ROOT, anchors, links, page_names

from docs_site.staging import pages, relinked

PRODUCT = ("crds", "operator", "optimizer_image", "cli", "helm")
_DOCUMENT = re.compile(r"\bdocs/[\w/-]+\.md\b")


def faults(page: str) -> Iterator[str]:
    for target in links(page):
        if re.match(r"^(?:https?|mailto):", target):
            continue
        file, _, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), file)) if file else page
        if not (ROOT / path).exists():
            yield f"{target}: there is no {path}"
        elif anchor and path.endswith(".md") and anchor not in anchors(path):
            yield f"{target}: {path} has no such heading"


@pytest.mark.parametrize("page", page_names())
def test_links_lead_somewhere(page: str) -> None:
    assert list(faults(page)) == []


def test_what_messages_and_descriptions_refer_to_is_there() -> None:
    named: dict[str, str] = {}
    for folder in PRODUCT:
        for file in (ROOT / folder).rglob("*"):
            if file.suffix in {".py", ".md", ".yaml", ".json", ".txt", ".tpl"}:
                named |= dict.fromkeys(_DOCUMENT.findall(file.read_text()), str(file))
    assert len(named) > 5
    assert {d: by for d, by in named.items() if not (ROOT / d).exists()} == {}


def navigation() -> list[str]:
    """Return the pages of the site's navigation, in order."""

    def inside(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            for below in entry.values():
                yield from inside(below)
        else:
            for each in entry:
                yield from inside(each)

    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    return list(inside(config["nav"]))


def test_each_page_is_in_the_navigation_once() -> None:
    there = [place for place in pages(ROOT).values() if place.endswith(".md")]
    assert sorted(navigation()) == sorted(there)


def test_no_page_of_the_site_has_a_picture_that_needs_a_script() -> None:
    on_site = [path for path in pages(ROOT) if path.endswith(".md")]
    assert [p for p in on_site if "```mermaid" in (ROOT / p).read_text()] == []


PLACES = {
    "docs/api.md": "api.md",
    "docs/start/team.md": "start/team.md",
    "docs/picture.svg": "picture.svg",
    "helm/mopt/README.md": "reference/chart.md",
}


@pytest.mark.parametrize(
    ("page", "text", "shown"),
    [
        pytest.param("docs/api.md", "[a](#x)", "[a](#x)", id="within the page"),
        pytest.param("docs/api.md", "[a](https://x.org/y.md)", "[a](https://x.org/y.md)", id="web"),
        pytest.param(
            "docs/start/team.md", "[a](../api.md#x)", "[a](../api.md#x)", id="within docs"
        ),
        pytest.param(
            "docs/start/team.md",
            "[a](../../helm/mopt/README.md#x)",
            "[a](../reference/chart.md#x)",
            id="a page of another folder",
        ),
        pytest.param(
            "helm/mopt/README.md", "[a](../../docs/api.md)", "[a](../api.md)", id="back from there"
        ),
        pytest.param("docs/api.md", "![a](picture.svg)", "![a](picture.svg)", id="picture"),
        pytest.param("docs/api.md", "[a](../hack/test)", "a (`hack/test`)", id="source"),
        pytest.param("docs/api.md", "[`test`](../hack/test)", "`hack/test`", id="source by name"),
        pytest.param(
            "docs/api.md",
            "```sh\n[a](../hack/test)\n```",
            "```sh\n[a](../hack/test)\n```",
            id="block",
        ),
        pytest.param("docs/api.md", "`^[a-z](/x)?`", "`^[a-z](/x)?`", id="code like a link"),
        pytest.param(
            "docs/api.md", "[`a`](api.md), `b`", "[`a`](api.md), `b`", id="code within a link"
        ),
    ],
)
def test_links_on_the_site(page: str, text: str, shown: str) -> None:
    assert relinked(text, page, PLACES) == shown


def test_sources_are_linked_where_the_repository_is_known() -> None:
    shown = relinked(
        "[a](../hack/test)", "docs/api.md", PLACES, "https://git.example.com/m/blob/x/"
    )
    assert shown == "[a](https://git.example.com/m/blob/x/hack/test)"

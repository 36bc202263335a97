"""The pages in a real browser: small and large screen, light and dark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import report_results

from mopt_cli.pages.diff_page import render_diff_page
from mopt_cli.pages.targets_page import Stored, render_targets_page
from mopt_cli.result_diff import diff
from mopt_cli.sizing import Choice, Prices
from mopt_optimizer.stages.report.page import render_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 859, 860, 1100, 1600)
SCHEMES = ("light", "dark")
# WCAG 2.2, 1.4.3: text of ordinary size.
CONTRAST = 4.5

# Every visible text with its own colour and that of the nearest ground behind it.
COLOURS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    let ground = element;
    while (ground && getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)')
      ground = ground.parentElement;
    if (['title', 'desc'].includes(element.tagName)) continue;
    found.push([element.closest('svg') ? style.fill : style.color,
                getComputedStyle(ground || document.body).backgroundColor]);
  }
  return [...new Set(found.map(JSON.stringify))].map(JSON.parse);
}"""

# Texts of each visible drawing that cover one another, or leave it.
COVERED = """() => {
  const faults = [];
  for (const svg of document.querySelectorAll('svg')) {
    if (!svg.checkVisibility()) continue;
    const frame = svg.getBoundingClientRect();
    const texts = [...svg.querySelectorAll('text')].map(
      text => [text.textContent, text.getBoundingClientRect()]);
    texts.forEach(([words, a], index) => {
      if (a.left < frame.left - 1 || a.right > frame.right + 1) faults.push(`${words} leaves it`);
      for (const [other, b] of texts.slice(index + 1))
        if (a.left < b.right - 1 && b.left < a.right - 1 &&
            a.top < b.bottom - 1 && b.top < a.bottom - 1)
          faults.push(`${words} covers ${other}`);
    });
  }
  return faults;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = os.environ.get("MOPT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)} on PATH; set MOPT_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path)
        yield started
        started.close()


def _report(measured: int) -> str:
    result = report_results.result(measured=measured)
    return render_page(
        result,
        report_results.plan(),
        digest=report_results.DIGEST,
        manifest=report_results.manifest(),
        crops=report_results.crops(result),
    )


def _targets() -> str:
    results = report_results.targets()
    stored = [Stored(result, report_results.DIGEST) for result in results]
    choice = Choice.of_results(results, Prices.parse(["0.05", "arm=0.03"]))
    return render_targets_page("super-resolution", stored, choice)


def _diff() -> str:
    before, after, _ = report_results.targets()
    after = after.model_copy(update={"plan": {"benchmark": {"minDurationSeconds": 9}}})
    return render_diff_page(diff(before, after), ("a.json", "b" * 200), (before, after))


PAGES = {
    "two forms": lambda: _report(2),
    "twelve forms": lambda: _report(12),
    "three targets": _targets,
    "what changed": _diff,
}


@pytest.fixture(scope="module", params=list(PAGES))
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(PAGES[request.param](), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser: Browser, file: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme = request.param
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(file.as_uri())
    yield page
    page.close()


every_screen = pytest.mark.parametrize(
    "opened", [(width, scheme) for width in WIDTHS for scheme in SCHEMES], indirect=True
)
both_schemes = pytest.mark.parametrize(
    "opened", [(1600, scheme) for scheme in SCHEMES], indirect=True
)
every_width = pytest.mark.parametrize(
    "opened", [(width, "light") for width in WIDTHS], indirect=True
)


@every_screen
def test_nothing_scrolls_sideways(opened: Page) -> None:
    for unfolded in (False, True):
        opened.eval_on_selector_all(
            "details", f"all => all.forEach(d => d.open = {str(unfolded).lower()})"
        )
        widths = opened.evaluate(
            "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert widths[0] <= widths[1]


@every_width
def test_no_label_covers_another(opened: Page) -> None:
    assert opened.evaluate(COVERED) == []


def _luminance(colour: str) -> float:
    parts = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (part / 255 for part in parts)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@both_schemes
def test_every_text_is_readable(opened: Page) -> None:
    pairs = opened.evaluate(COLOURS)
    assert len(pairs) > 3
    for text, ground in pairs:
        light, dark = sorted((_luminance(text), _luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= CONTRAST, f"{text} on {ground}"


def test_the_schemes_differ(browser: Browser, file: Path) -> None:
    grounds = set()
    for scheme in SCHEMES:
        page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(file.as_uri())
        grounds.add(page.evaluate("() => getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert len(grounds) == len(SCHEMES)


def test_nothing_is_fetched_and_the_policy_lets_all_of_it_through(
    browser: Browser, file: Path
) -> None:
    asked: list[str] = []
    complaints: list[Any] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(file.as_uri())
    shown = page.evaluate("() => [...document.images].map(i => i.complete && i.naturalWidth > 0)")
    page.close()
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    assert complaints == []
    # Pages about several results have no pictures.
    assert len(shown) == file.read_text(encoding="utf-8").count("<img ")
    assert all(shown)

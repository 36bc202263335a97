"""`mopt diff --report`: what changed, as a page that loads nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import report_results
from cli_process import Mopt
from html_page import HtmlPage

from mopt_api.jobs.measure_result import MeasureResult
from mopt_api.verdict import Stopped, Verdict
from mopt_cli.pages.diff_page import render_diff_page
from mopt_cli.result_diff import diff
from mopt_optimizer.stages.verdict import result_bytes

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}\x1b[31m"
NAMES = ("before.json", "sr/arm")


@pytest.fixture(scope="module")
def results() -> tuple[MeasureResult, MeasureResult]:
    before, after, _ = report_results.targets()
    return before, after


def page_of(before: MeasureResult, after: MeasureResult) -> HtmlPage:
    return HtmlPage(render_diff_page(diff(before, after), NAMES, (before, after)))


def strip_titles(page: HtmlPage) -> list[str]:
    """Return what the charts' rows say of themselves."""
    return [text for text in page.texts if text.startswith("Speedup, ")]


def test_it_is_well_formed_and_refers_to_nothing(
    results: tuple[MeasureResult, MeasureResult],
) -> None:
    page = page_of(*results)
    assert page.faults == []
    assert page.elements.count("h1") == page.elements.count("main") == 1
    assert page.references == []
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.elements)


def test_every_form_gate_and_fact_is_told(results: tuple[MeasureResult, MeasureResult]) -> None:
    before, after = results
    hardware = after.hardware.model_copy(update={"cpu": "Other CPU"})
    page = page_of(before, after.model_copy(update={"hardware": hardware}))
    for form in after.variants:
        assert form.name in page.text
    for said in (*NAMES, "worst PSNR ≥ 40 dB", "Other CPU", "target l4", "target arm"):
        assert said in page.text
    assert "Not of the same CPU: each result's ratios are over its own baseline." in page.text
    assert f"{before.selected} stays selected" in page.texts


def test_intervals_are_drawn_and_verdicts_told(
    results: tuple[MeasureResult, MeasureResult],
) -> None:
    before, after = results
    fast, *others = after.variants
    better = fast.model_copy(update={"speedup": 9.0, "speedup_interval": [8.5, 9.5]})
    was = before.variants[0].model_copy(update={"speedup_interval": [3.0, 4.0]})
    verdict = Verdict(winner=fast.name, stopped=Stopped.DECIDED, rounds=12)
    page = page_of(
        before.model_copy(update={"variants": [was, *before.variants[1:]]}),
        after.model_copy(
            update={"variants": [better, *others], "selected": fast.name, "verdict": verdict}
        ),
    )
    assert f"Better for certain: {fast.name}." in page.text
    assert f"{before.selected} → {fast.name}" in page.text
    assert "certain at 99%, after 12 rounds" in page.text
    assert f"Speedup, {fast.name} B: 9.00x [8.50, 9.50]" in strip_titles(page)


def test_bounds_that_say_nothing_are_not_drawn(
    results: tuple[MeasureResult, MeasureResult],
) -> None:
    before, after = results
    form = after.variants[0].model_copy(update={"speedup": 1.2, "speedup_interval": [0.0, 1e11]})
    page = page_of(before, after.model_copy(update={"variants": [form, *after.variants[1:]]}))
    assert f"Speedup, {form.name} B: 1.20x [too few rounds]" in strip_titles(page)
    assert not [tick for tick in page.texts if len(tick) > 9 and tick.replace(".", "").isdigit()]


def test_results_that_are_the_same_say_so(results: tuple[MeasureResult, MeasureResult]) -> None:
    page = page_of(results[0], results[0])
    assert "No winner, state, gate or size differs." in page.text
    assert "What else differs" not in page.text
    assert "Settings" not in page.text


def test_results_without_forms_or_plan_have_a_page(
    results: tuple[MeasureResult, MeasureResult],
) -> None:
    bare = results[0].model_copy(
        update={"baseline": None, "variants": [], "selected": None, "plan": None}
    )
    page = page_of(bare, bare)
    assert page.faults == []
    assert "Nothing selected in both" in page.text


def test_text_stays_text(results: tuple[MeasureResult, MeasureResult]) -> None:
    before, after = results
    form = after.variants[0].model_copy(update={"name": HOSTILE})
    plan = {"benchmark": {HOSTILE: HOSTILE}}
    changed = after.model_copy(
        update={"variants": [form], "software": {"x": HOSTILE}, "target": HOSTILE, "plan": plan}
    )
    source = render_diff_page(diff(before, changed), (HOSTILE, HOSTILE), (before, changed))
    page = HtmlPage(source)
    assert page.faults == []
    assert not {"script", "img"} & set(page.elements)
    assert "\x1b" not in source
    assert "{{ 7 * 7 }}" in page.text


def test_the_file_is_written_beside_the_table(
    mopt_here: Mopt, results: tuple[MeasureResult, MeasureResult], tmp_path: Path
) -> None:
    for name, result in zip(("a.json", "b.json"), results, strict=True):
        (tmp_path / name).write_bytes(result_bytes(result))
    done = mopt_here("diff", "a.json", "b.json", "--report", "pages/diff.html", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["facts"][0]["what"] == "target"
    assert done.stderr == "mopt: wrote pages/diff.html\n"
    assert "a.json" in HtmlPage((tmp_path / "pages" / "diff.html").read_text()).text
    (tmp_path / "file").write_text("")
    done = mopt_here("diff", "a.json", "b.json", "--report", "file/diff.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert "file/diff.html cannot be written" in done.stderr


def test_without_jinja_it_says_what_to_install() -> None:
    code = (
        "import importlib.util, sys\n"
        "importlib.util.find_spec = lambda *_: None\n"
        "sys.argv = ['mopt', 'diff', 'a.json', 'b.json', '--report', 'x.html']\n"
        "from mopt_cli.entry import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "mopt diff --report needs what draws the page (jinja2 missing here)" in done.stderr

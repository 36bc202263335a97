"""`mopt report` of several targets: one page, from a resource or from result.json files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import report_results
import selected
from cli_process import Mopt
from html_page import HtmlPage

from mopt_api.jobs.measure_result import BASELINE, MeasureResult, SearchEntry
from mopt_api.jobs.plan import Credentials
from mopt_api.status import Report
from mopt_cli.pages.targets_page import Stored, render_targets_page
from mopt_cli.sizing import Choice, Prices
from mopt_cli.table import target_status
from mopt_optimizer.stages.verdict import result_bytes
from mopt_optimizer.store.blobs import Blobs
from mopt_optimizer.store.registry import open_store

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"


@pytest.fixture(scope="module")
def results() -> list[MeasureResult]:
    return report_results.targets()


def drawn(results: list[MeasureResult], *prices: str) -> HtmlPage:
    choice = Choice.of_results(results, Prices.parse(prices))
    stored = [Stored(result, report_results.DIGEST) for result in results]
    return HtmlPage(render_targets_page("sr", stored, choice))


def test_it_is_well_formed_and_refers_to_nothing(results: list[MeasureResult]) -> None:
    page = drawn(results, "0.05")
    assert page.faults == []
    assert page.elements.count("h1") == page.elements.count("main") == 1
    assert page.references == []
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(page.elements)


def test_what_to_serve_is_told_with_its_cost(results: list[MeasureResult]) -> None:
    page = drawn(results, "0.05", "arm=0.03")
    winner = results[1].selected
    assert f"Serve {winner} on arm" in page.text
    assert "What each target costs" in page.text
    assert "Cost of a day" in page.text
    assert "measured under load, on that target" in page.text
    for result in results:
        assert result.target in page.text
    for form in results[0].everyone:
        assert form.name in page.text
    for gate in ("worst PSNR ≥ 40 dB", "mean SSIM ≥ 0.97"):
        assert page.text.count(gate) == len(results)
    # Each gate begins a line of its own, on narrow screens too.
    blocks = [found for _, found in page.attributes if found.get("class") == "metric"]
    assert len(blocks) == len(report_results.GATES) * len(results)


def test_without_prices_a_bound_on_cost_recommends_nothing(results: list[MeasureResult]) -> None:
    page = drawn(results)
    assert page.faults == []
    assert "No target can be recommended" in page.text
    assert "CostPerMillion is bounded, and its profile has no pricePerHour" in page.text
    assert "What each target serves" in page.text
    assert "Cost of a day" not in page.text


def test_a_form_that_a_target_did_not_try_says_why(results: list[MeasureResult]) -> None:
    first, second, _ = results
    gone = second.variants[-1].name
    entry = SearchEntry(variant=gone, taken=False, reason="of no use here")
    fewer = second.model_copy(update={"variants": second.variants[:-1], "search": [entry]})
    assert "of no use here" not in drawn([first, second], "0.05").text
    assert "Not tried of no use here" in drawn([first, fewer], "0.05").text


def test_without_a_winner_nothing_is_recommended(results: list[MeasureResult]) -> None:
    page = drawn([each.model_copy(update={"selected": None}) for each in results])
    assert page.faults == []
    assert "Nothing is selected" in page.text
    assert "No target has a winner" in page.text
    kept = drawn([each.model_copy(update={"selected": BASELINE}) for each in results], "0.01")
    assert "Serve the source model on" in kept.text


def test_text_stays_text(results: list[MeasureResult]) -> None:
    first, second, _ = results
    some = second.variants[:3]
    changed = second.model_copy(
        update={
            "target": HOSTILE,
            "variants": [form.model_copy(update={"name": HOSTILE}) for form in some],
            "selected": HOSTILE,
            "software": {"x": HOSTILE},
            "hardware": second.hardware.model_copy(update={"cpu": HOSTILE}),
        }
    )
    # What is checked where a result is read is taken as it is here.
    choice = Choice.of_results([first, second], Prices())
    stored = [Stored(result, report_results.DIGEST) for result in (first, changed)]
    page = HtmlPage(render_targets_page(HOSTILE, stored, choice))
    assert page.faults == []
    assert not {"script", "img"} & set(page.elements)
    assert "{{ 7 * 7 }}" in page.text


def resource(output: str, results: list[MeasureResult]) -> dict[str, Any]:
    """Store results; return a resource that has them."""
    store, prefix = open_store(output, Credentials.OUTPUT, {})
    blobs = Blobs(store, prefix)
    targets = [
        target_status(one, Report.under(output, blobs.put_bytes(result_bytes(one)))).to_api()
        for one in results
    ]
    plan = results[0].plan or {}
    spec = {"output": {"uri": output}, "quality": plan["quality"], "objective": plan["objective"]}
    return selected.resource(*targets, spec=spec)


def test_a_resource_with_several_targets_gets_one_page(
    mopt_here: Mopt, results: list[MeasureResult], tmp_path: Path
) -> None:
    raw = json.dumps(resource((tmp_path / "out").as_uri(), results))
    done = mopt_here("report", "-f", "-", "--price-per-hour", "0.05", stdin=raw)
    assert (done.returncode, done.stdout) == (0, "sr.html\n"), done.stderr
    assert "drawn from the results of 3 targets, verified; --target draws one" in done.stderr
    assert "What each target costs" in HtmlPage((tmp_path / "sr.html").read_text()).text


def test_other_bytes_of_one_target_draw_nothing(
    mopt_here: Mopt, results: list[MeasureResult], tmp_path: Path
) -> None:
    raw = resource((tmp_path / "out").as_uri(), results)
    digest = raw["status"]["targets"][1]["report"]["digest"]
    (tmp_path / "out" / "blobs" / digest.replace(":", "/")).write_bytes(b"{}")
    done = mopt_here("report", "-f", "-", stdin=json.dumps(raw))
    assert (done.returncode, done.stdout) == (1, "")
    assert "DigestMismatch: " in done.stderr
    assert list(tmp_path.glob("*.html")) == []


@pytest.fixture
def files(results: list[MeasureResult], tmp_path: Path) -> list[str]:
    for result in results:
        (tmp_path / f"{result.target}.json").write_bytes(result_bytes(result))
    return [f"{result.target}.json" for result in results]


def test_result_files_of_several_targets_get_one_page(
    mopt_here: Mopt, files: list[str], tmp_path: Path
) -> None:
    done = mopt_here("report", *files, "-o", "pages/")
    assert (done.returncode, done.stdout) == (0, "pages/model.html\n"), done.stderr
    assert "drawn from 3 results" in done.stderr
    assert HtmlPage((tmp_path / "pages" / "model.html").read_text()).faults == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["l4.json", "sr"], "give result.json files alone, or one ModelOptimization"),
        (["l4.json", "-f", "-"], "give result.json files alone, or one ModelOptimization"),
        (["sr", "other"], "sr is not a file: give one ModelOptimization, or results"),
        (["l4.json", "l4.json"], "two results of target l4"),
        (["l4.json", "arm.json", "--target", "arm"], "--target chooses among a resource's targets"),
        (["l4.json", "--price-per-hour", "1"], "--price-per-hour compares targets"),
        (["l4.json", "--target", "arm"], "is the result of target l4, not of arm"),
        (["l4.json", "arm.json", "--price-per-hour", "x=1"], "no target x has a winner"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    mopt_here: Mopt, files: list[str], arguments: list[str], said: str
) -> None:
    done = mopt_here("report", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.optimizer
def test_real_runs_are_drawn_alone_together_and_as_what_changed(
    mopt: Mopt, small_onnx: Path, write_small: Callable[..., Path], tmp_path: Path
) -> None:
    file = write_small(targets=[{"name": "one"}, {"name": "two"}])
    found = []
    for target in ("one", "two"):
        options = ("--model", small_onnx, "--output", "out", "--target", target, "-o", "json")
        done = mopt("run", file, *options)
        assert done.returncode == 0, done.stderr
        digest = json.loads(done.stdout)["report"]["digest"]
        found.append(tmp_path / "out" / "blobs" / digest.replace(":", "/"))
    together = mopt("report", *found, "-o", "both.html", "--price-per-hour", "0.1")
    assert together.returncode == 0, together.stderr
    page = HtmlPage((tmp_path / "both.html").read_text())
    assert page.faults == []
    for said in ("one", "two", "ort", "A million samples"):
        assert said in page.texts
    alone = mopt("report", found[0], "-o", "one.html")
    assert alone.returncode == 0, alone.stderr
    # Beside its pictures and its manifest, so it is the page that the stage drew.
    drew = tmp_path / "out" / "reports" / f"{found[0].name}.html"
    assert (tmp_path / "one.html").read_bytes() == drew.read_bytes()
    changed = mopt("diff", *found, "--report", "diff.html")
    assert changed.returncode == 0, changed.stderr
    page = HtmlPage((tmp_path / "diff.html").read_text())
    assert page.faults == []
    assert "target" in page.text

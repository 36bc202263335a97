"""`mopt demo`: from an empty folder to a measured example, on one machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_process import Mopt
from html_page import HtmlPage
from PIL import Image

from mopt_cli._errors import CliError, ExitCode
from mopt_cli.demo import photographs
from mopt_cli.demo.folder import is_made, make
from mopt_cli.demo.making import RESOURCE
from mopt_cli.local_plan import Overrides, local_work
from mopt_cli.resources import load


def ignore(*_: object) -> None:
    pass


def test_a_folder_with_other_things_is_left_alone(mopt_here: Mopt, tmp_path: Path) -> None:
    (tmp_path / "mopt-demo").mkdir()
    (tmp_path / "mopt-demo" / "thesis.txt").write_text("years of work")
    done = mopt_here("demo")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "mopt: mopt-demo holds something else than the demo: give another FOLDER\n"
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["mopt-demo", "thesis.txt"]


@pytest.mark.parametrize(("found", "expected"), [((), False), ((RESOURCE, "x"), True)])
def test_an_empty_folder_is_filled_and_a_made_one_taken(
    tmp_path: Path, found: tuple[str, ...], expected: bool
) -> None:
    for name in found:
        (tmp_path / name).touch()
    assert is_made(tmp_path) is expected
    assert not is_made(tmp_path / "new")


def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CliError, match="its process ended with 1") as caught:
        make(tmp_path / "new" / "demo", ignore, stderr=None)
    assert caught.value.code is ExitCode.FAILED
    assert [path.name for path in tmp_path.rglob("*")] == ["new"]
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match="file/demo cannot be made"):
        make(tmp_path / "file" / "demo", ignore, stderr=None)


def test_without_the_optimizer_it_says_what_to_install() -> None:
    code = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "missing = ('torch', 'openvino', 'skimage')\n"
        "importlib.util.find_spec = lambda n, p=None: None if n in missing else find(n, p)\n"
        "sys.argv = ['mopt', 'demo']\n"
        "from mopt_cli.entry import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "mopt: mopt demo needs the optimizer (torch, openvino, skimage missing here): pip install "
        "'mopt[cli,optimizer-cpu]'\n"
    )


def test_photographs_that_are_not_there_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    photographs.check()
    monkeypatch.setattr(photographs, "UNSEEN", {"nobody.png": 1})
    with pytest.raises(CliError, match=r"nobody\.png is not there: pip install"):
        photographs.check()


def test_tiles_are_of_photographs_that_the_network_has_not_learned(tmp_path: Path) -> None:
    for names, folder in ((photographs.LEARNED, "calibration"), (photographs.UNSEEN, "evaluation")):
        photographs.cut_tiles(names, tmp_path / folder)
        tiles = sorted((tmp_path / folder).iterdir())
        assert len(tiles) == sum(names.values())
        for tile in tiles:
            with Image.open(tile) as picture:
                assert picture.size == (128, 128)
    assert not photographs.LEARNED.keys() & photographs.UNSEEN.keys()


def test_its_resource_is_valid_and_planned_here(tmp_path: Path) -> None:
    text = Path(photographs.__file__).with_name(RESOURCE).read_text()
    (tmp_path / RESOURCE).write_text(text.replace("SHA256", "0" * 64))
    (tmp_path / "model.pt2").touch()
    for folder in ("calibration", "evaluation"):
        (tmp_path / folder).mkdir()
    file = tmp_path / RESOURCE
    work = local_work(load(file), file, Overrides(output=str(tmp_path / "output")))
    assert work.uris["model"] == (tmp_path / "model.pt2").as_uri()
    assert work.notes == ()
    assert len(work.spec.variants or ()) == 5


@pytest.mark.optimizer
def test_from_nothing_to_a_report_and_again(mopt: Mopt, tmp_path: Path) -> None:
    """The whole of it, as a user sees it: the network is trained here."""
    first = mopt("demo", "--verbose")
    assert first.returncode == 0, first.stderr
    assert "demo train: step 240 of 240" in first.stderr
    assert "prepare export: exporting to ONNX" in first.stderr
    for said in ("openvino-int8", "verdict: ", "report: file:///", "mopt demo mopt-demo --open"):
        assert said in first.stdout
    (page,) = (tmp_path / "mopt-demo" / "output" / "reports").iterdir()
    assert "What it looks like" in HtmlPage(page.read_text()).text

    again = mopt("demo", "--open", "-o", "json", BROWSER="true")
    assert again.returncode == 0, again.stderr
    assert "demo train" not in again.stderr
    assert "no browser" not in again.stderr
    assert "measure measure: served from the store" in again.stderr
    result: dict[str, Any] = json.loads(again.stdout)["result"]
    passed = {v["name"] for v in result["variants"] if v["state"] == "Passed"}
    assert {"onnxruntime-fp32", "onnxruntime-int8", "openvino-fp32", "openvino-int8"} <= passed
    assert result["evaluationSamples"] == 6

    # What it says to type next.
    calls = [line.strip() for line in first.stdout.splitlines() if line.startswith("  mopt ")]
    run, export = (next(c for c in calls if c.startswith(f"mopt {n} ")) for n in ("run", "export"))
    for call in (run, export):
        done = mopt(*call.split()[1:])
        assert done.returncode == 0, done.stderr
    spec = yaml.safe_load((tmp_path / "mopt-demo" / RESOURCE).read_text())["spec"]
    assert spec["model"]["uri"] == "model.pt2"
    # The layout that every form has, the baseline too, which noise may leave selected.
    assert (tmp_path / "mopt-demo" / "served" / "mopt.json").is_file()

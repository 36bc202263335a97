"""The code in the documentation runs, and says what it is said to say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.optimizer

DOCS = Path(__file__).resolve().parents[3] / "docs" / "optimizer"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.filterwarnings("ignore")  # what readers see of other libraries' warnings too
@pytest.mark.parametrize("page", ["index.md", "manager.md"])
def test_the_code_of_a_page_runs_from_top_to_bottom(
    page: str,
    tmp_path: Path,
    photographs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    blocks = BLOCK.findall((DOCS / page).read_text())
    assert blocks
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "images").symlink_to(photographs)
    code = "\n".join(blocks)
    exec(compile(code, page, "exec"), {"__name__": "documentation"})  # noqa: S102
    printed = capsys.readouterr().out.splitlines()
    promised = re.findall(r"^print\(.*\)  # (.+)$", code, re.MULTILINE)
    assert printed == promised

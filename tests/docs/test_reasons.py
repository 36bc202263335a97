"""Every reason is documented, and every documented one is there."""

from __future__ import annotations

import importlib
import pkgutil
import re
from enum import StrEnum

import pytest
from doc_pages import anchors, page_names, spans, text_of

import mopt_api
import mopt_cli
from mopt_api.base import KIND
from mopt_api.extensible import ExtensibleEnum
from mopt_api.profiles import PROFILE_KIND
from mopt_api.reasons import OUTDATED_REASONS, REASONS, Reason

# Pages on the cluster's side; those of the library have Python's names.
PAGES = [page for page in page_names() if "/optimizer/" not in page]
# Words that look like reasons, and are what others call theirs.
OTHERS = {
    *(KIND, "ModelManager", "DisruptionTarget", "GitRepository", "OCIRepository", "ImageVolume"),
    *("ListBucket", "JobCreated", PROFILE_KIND),
    *("NotIn", "DoesNotExist", "NoSchedule", "PreferNoSchedule", "NoExecute"),
}
_WORD = re.compile(r"[A-Z][a-z0-9]+(?:[A-Z][A-Za-z0-9]*)+")


def api_words() -> set[str]:
    """Return the values of all enumerations of the API, and the client's errors."""
    words = {name for name in vars(mopt_cli) if _WORD.fullmatch(name)} | set(mopt_cli.__all__)
    for module in pkgutil.walk_packages(mopt_api.__path__, "mopt_api."):
        for kind in vars(importlib.import_module(module.name)).values():
            if isinstance(kind, type) and issubclass(kind, StrEnum) and kind is not ExtensibleEnum:
                words |= {str(member.value) for member in kind}
    return words


@pytest.mark.parametrize("reason", [*REASONS, *OUTDATED_REASONS])
def test_reasons_that_tell_of_a_fault_have_a_heading(reason: Reason) -> None:
    assert reason.lower() in anchors("docs/reference/reasons.md")


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_documented(reason: Reason) -> None:
    pages = text_of("docs/api.md") + text_of("docs/reference/reasons.md")
    assert f"`{reason}`" in pages or f"### {reason}\n" in pages


def test_every_documented_reason_is_there() -> None:
    known = api_words() | OTHERS
    unknown = {
        f"{page}: {span}"
        for page in PAGES
        for span in spans(page)
        if _WORD.fullmatch(span) and span not in known
    }
    assert unknown == set()

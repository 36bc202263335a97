"""A call that ends its process is found, and those after it are made all the same."""

from __future__ import annotations

import os
from pathlib import Path

from surviving import Call, deaths


def test_who_ends_the_process_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    after = tmp_path / "after"
    calls: dict[str, Call] = {
        "returns": (len, ("abc",)),
        "dies": (os._exit, (3,)),
        "raises": (int, ("no number",)),
        "crashes": (os.abort, ()),
        "after": (os.mkdir, (str(after),)),
    }
    assert deaths(calls) == {"dies", "crashes"}
    assert after.is_dir()
    assert deaths({}) == set()

"""What images say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mopt_api.version import VERSION
from release.flavours import FLAVOURS, Flavour

ROOT = Path(__file__).resolve().parents[2]
_OCI = "org.opencontainers.image"


def last_lines(flavour: Flavour) -> str:
    """Return the stage of a Dockerfile that is an image's last."""
    stages = re.split(r"^FROM ", (ROOT / flavour.image.dockerfile).read_text(), flags=re.MULTILINE)
    named = [f" AS {name}\n" for name in flavour.image.options if not name.startswith("-")]
    (stage,) = [s for s in stages if any(n in s for n in named)] if named else stages[-1:]
    return stage


@pytest.mark.parametrize("flavour", FLAVOURS, ids=lambda flavour: flavour.name)
def test_an_image_is_labelled(flavour: Flavour) -> None:
    stage = last_lines(flavour)
    labels = dict(re.findall(rf'{_OCI}\.(\w+)="([^"]*)"', stage))
    assert labels == {
        "title": flavour.image.repository,
        "version": "${VERSION}",
        "revision": "${REVISION}",
        "created": "${CREATED}",
        "source": "https://github.com/mopt-dev/mopt",
        "licenses": "Apache-2.0",
    }
    assert f"\nARG VERSION={VERSION}\n" in stage
    # A release with the same contents has the same layers.
    assert not re.search(r"^(RUN|COPY|ADD)", stage.partition("ARG VERSION")[2], re.MULTILINE)

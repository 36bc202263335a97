"""The site's pages: docs/ and pages of other folders in one tree, every link leading somewhere."""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

# Pages that stand elsewhere in the repository, by their place on the site.
INCLUDED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "threat-model.md",
    "deploy/argocd/README.md": "argocd.md",
    "helm/mopt/README.md": "reference/chart.md",
    "examples/super_resolution/README.md": "examples/super-resolution.md",
    "examples/style_transfer/README.md": "examples/style-transfer.md",
    "examples/frame_interpolation/README.md": "examples/frame-interpolation.md",
    "examples/text_embedding/README.md": "examples/text-embedding.md",
}
# Measurements, one file of which is read as a page.
RECORDS = "docs/records/"
LINKED_RECORDS = {"docs/records/large.md"}
ASSETS = {".md", ".svg", ".png"}

# A block of code, code in a sentence, or a link: whatever begins first, since code may look like
# a link, and a link's label may hold code.
_TOKEN = re.compile(
    r"^ *```.*?^ *```|<code>.*?</code>|(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n\n).)+?(?<!`)(?P=ticks)(?!`)"
    r"|(?P<image>!?)\[(?P<label>[^\]\[]*)\]\((?P<target>[^)\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
_ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|#)", re.IGNORECASE)


def pages(root: Path) -> dict[str, str]:
    """Return the place on the site of each file, by its path in the repository."""
    found = dict(INCLUDED)
    for file in sorted((root / "docs").rglob("*")):
        path = file.relative_to(root).as_posix()
        is_record = path.startswith(RECORDS) and path not in LINKED_RECORDS
        if file.suffix in ASSETS and not is_record:
            found[path] = path.removeprefix("docs/")
    return found


def stage(root: Path, folder: Path, repository: str = "") -> None:
    """Write all pages into a folder, which is emptied before.

    Args:
        root: The repository.
        folder: Where the site's sources go.
        repository: Address before which paths of the repository can be put, such as
            https://git.example.com/mopt/blob/main. Empty: links to them become text.
    """
    places = pages(root)
    shutil.rmtree(folder, ignore_errors=True)
    for path, place in places.items():
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".md"):
            target.write_text(relinked((root / path).read_text(), path, places, repository))
        else:
            shutil.copyfile(root / path, target)


def links(text: str) -> list[re.Match[str]]:
    """Return a page's links and pictures, with their `label` and `target`."""
    return [found for found in _TOKEN.finditer(text) if found["target"]]


def relinked(text: str, path: str, places: Mapping[str, str], repository: str = "") -> str:
    """Return a page whose links are right at its place on the site; code stays as it is."""

    def replaced(found: re.Match[str]) -> str:
        target = found["target"]
        if not target or _ELSEWHERE.match(target):
            return found[0]
        file, mark, anchor = target.partition("#")
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(path), file))
        if place := places.get(wanted):
            here = posixpath.dirname(places[path])
            link = f"{posixpath.relpath(place, here or '.')}{mark}{anchor}"
            return f"{found['image']}[{found['label']}]({link})"
        if repository:
            return f"[{found['label']}]({repository.rstrip('/')}/{wanted}{mark}{anchor})"
        label = found["label"].strip("`")
        return f"`{wanted}`" if wanted.endswith(label.rstrip("/")) else f"{label} (`{wanted}`)"

    return _TOKEN.sub(replaced, text)

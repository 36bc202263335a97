"""`python hack/release build [--images] [--key KEY]` and `python hack/release bump VERSION`."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

if __package__ in (None, ""):  # run as a folder
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    __package__ = "release"

from demo.console import ROOT, DemoError, say, tool
from release import archives, chart, sbom, source, sums, versions, wheels
from release.errors import ReleaseError
from release.flavours import FLAVOURS

DIST = ROOT / "dist"
KEY_VARIABLE = "COSIGN_KEY"


def build(output: Path, *, images: bool, key: str | None) -> None:
    """Build a release of the commit that is checked out into DIST, made anew, or an empty folder.

    Raises:
        ReleaseError: It cannot be built as asked.
    """
    commit = source.head(ROOT)
    if output == DIST:
        shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise ReleaseError(f"{output} is not empty: name another folder")
    with tempfile.TemporaryDirectory(prefix="mopt-release-") as scratch:
        files = source.export(ROOT, commit, Path(scratch) / "source")
        _fill(output, files, commit, images=images)
    sums.write_sums(output)
    if key:
        sums.sign(tool("cosign"), key, output)
    for path in sorted(output.iterdir()):
        print(path)
    print("signed by the key given" if key else f"not signed: no key ({KEY_VARIABLE}, or --key)")


def _fill(output: Path, files: Path, commit: source.Commit, *, images: bool) -> None:
    version = versions.version(files)
    say(f"mopt {version}, commit {commit.revision[:12]} of {commit.stamp}")
    wheels.build(files, output, commit.epoch)
    chart.build(tool("helm"), files / "helm" / "mopt", output, commit.epoch)
    for flavour in FLAVOURS:
        locks = [(files / "requirements" / f"{name}.txt").read_text() for name in flavour.locks]
        bill = sbom.bom(flavour.image.repository, version, commit, locks)
        (output / f"{flavour.name}-{version}.cdx.json").write_text(bill)
    if images:
        names = [archives.build(flavour, version, commit, files, output) for flavour in FLAVOURS]
        (output / archives.REFERENCES).write_text("".join(f"{name}\n" for name in names))


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="build the commit that is checked out")
    building.add_argument("--output", type=Path, default=DIST, help="default: dist/")
    building.add_argument("--images", action="store_true", help="images too, which take long")
    building.add_argument(
        "--key",
        default=os.environ.get(KEY_VARIABLE),
        help=f"cosign's key that signs the digests (default: {KEY_VARIABLE})",
    )
    bumping = commands.add_parser("bump", help="write another version wherever it stands")
    bumping.add_argument("version")
    arguments = parser.parse_args()
    try:
        if arguments.command == "bump":
            versions.bump(ROOT, arguments.version)
        else:
            build(arguments.output.resolve(), images=arguments.images, key=arguments.key)
    except (ReleaseError, DemoError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

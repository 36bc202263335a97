"""The arguments of `python -m mopt_optimizer.server`, which `mopt serve` hands on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HTTP_PORT, GRPC_PORT = 8080, 8081
_MOST_PORT = 65535


@dataclass(frozen=True)
class Arguments:
    """How to serve a folder; None where what was measured says it."""

    folder: Path
    name: str | None
    http_port: int
    grpc_port: int
    instances: int | None
    threads: int | None
    batch: int | None

    def as_list(self) -> list[str]:
        """Return them as they are written on a command line."""
        given = {
            "--name": self.name,
            "--http-port": self.http_port,
            "--grpc-port": self.grpc_port,
            "--instances": self.instances,
            "--threads": self.threads,
            "--batch": self.batch,
        }
        options = [f"{name}={value}" for name, value in given.items() if value is not None]
        return [*options, "--", str(self.folder)]


def parsed(arguments: Sequence[str]) -> Arguments:
    """Return the arguments; ends the process with 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m mopt_optimizer.server",
        description="Serve a folder of mopt export, or /models of a published image, by Open "
        "Inference Protocol v2.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path("/mnt/models"))
    parser.add_argument("--name", help="what clients call the model")
    parser.add_argument("--http-port", type=_port, default=HTTP_PORT)
    parser.add_argument("--grpc-port", type=_port, default=GRPC_PORT)
    for option, what in {
        "--instances": "copies that compute at the same time",
        "--threads": "compute threads of each",
        "--batch": "most samples that are computed together",
    }.items():
        parser.add_argument(option, type=_positive, help=what)
    return Arguments(**vars(parser.parse_args(arguments)))


def _positive(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 1024):
        raise argparse.ArgumentTypeError(f"{text} is not 1 to 1024")
    return int(text)


def _port(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= _MOST_PORT):
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return int(text)

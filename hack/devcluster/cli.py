"""The command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import base_image, engines, full, host, light, loading, watching
from .control_plane import audit_policy
from .errors import DevclusterError
from .paths import home
from .resolving import binaries, missing
from .tools import TOOLS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except DevclusterError as error:
        print(f"devcluster: {error}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"devcluster: no right to use {error.filename or error}; use sudo", file=sys.stderr)
        return 1
    except OSError as error:
        # What the system refuses (disk full, no such folder) is for the user to mend.
        place = f" ({error.filename})" if error.filename else ""
        print(f"devcluster: {error.strerror or error}{place}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("devcluster: interrupted", file=sys.stderr)
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devcluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("binary", help="print the path of a tool")
    command.add_argument("names", nargs="+", metavar="NAME", help=", ".join(sorted(TOOLS)))
    command.add_argument(
        "--present", action="store_true", help="build and download nothing; 3 where one is missing"
    )
    command.set_defaults(run=_binary)

    command = commands.add_parser("up", help="start a cluster")
    _add_light(command)
    command.add_argument("--audit", action="store_true", help="write a metadata audit log")
    command.add_argument("--audit-policy", type=Path, help="light: what the audit log holds")
    command.add_argument("--parent-pid", type=int, help="light: end it when this pid is gone")
    command.add_argument("--max-pods", type=int, default=full.DEFAULT_MAX_PODS)
    command.add_argument(
        "--image-volumes", action="store_true", help="full: with the feature gate ImageVolume"
    )
    command.set_defaults(run=_up)

    command = commands.add_parser("down", help="stop a cluster and remove all of it")
    _add_light(command)
    command.add_argument("--keep-images", action="store_true", help="keep containerd's images")
    command.set_defaults(run=_down)

    command = commands.add_parser("status", help="one line per component; 0 when all is well")
    _add_light(command)
    command.set_defaults(run=_status)

    command = commands.add_parser("kubeconfig", help="print the kubeconfig's path")
    _add_light(command)
    command.set_defaults(run=_kubeconfig)

    command = commands.add_parser("load-image", help="give an image to the full cluster's node")
    command.add_argument("reference", metavar="REF")
    command.add_argument("--from", dest="source", choices=loading.SOURCES)
    command.set_defaults(run=_load_image)

    command = commands.add_parser("base-image", help="build a Debian base with Python")
    command.add_argument("reference", metavar="REF")
    command.set_defaults(run=_base_image)

    command = commands.add_parser("build-image", help="build an image with docker or buildah")
    command.add_argument("reference", metavar="REF")
    command.add_argument("--file", type=Path, required=True, metavar="DOCKERFILE")
    command.add_argument("--context", type=Path, required=True, metavar="DIR")
    command.add_argument("--build-arg", action="append", default=[], metavar="K=V")
    command.add_argument("--target", metavar="STAGE")
    command.set_defaults(run=_build_image)

    command = commands.add_parser("watch")
    command.add_argument("--dir", type=Path, required=True)
    command.add_argument("--parent-pid", type=int, required=True)
    command.add_argument("--start-ticks", type=int, required=True)
    command.set_defaults(run=_watch)
    return parser


def _add_light(command: argparse.ArgumentParser) -> None:
    command.add_argument("--light", action="store_true", help="control plane only, no root")
    command.add_argument("--dir", type=Path, help="folder of a light cluster")


def _binary(options: argparse.Namespace) -> int:
    if options.present and (absent := missing(options.names)):
        print(f"devcluster: not here: {', '.join(absent)}", file=sys.stderr)
        return 3
    for path in binaries(options.names).values():
        print(path)
    return 0


def _light_dir(options: argparse.Namespace) -> Path:
    folder: Path | None = options.dir
    if folder is None:
        raise DevclusterError("--light needs --dir DIR here: the folder that `up --light` printed")
    return folder


def _up(options: argparse.Namespace) -> int:
    if not options.light:
        if options.dir or options.parent_pid or options.audit_policy:
            raise DevclusterError("--dir, --parent-pid and --audit-policy are for --light only")
        print(
            full.up(
                home(),
                audit=options.audit,
                max_pods=options.max_pods,
                image_volumes=options.image_volumes,
            )
        )
        return 0
    if options.image_volumes:
        raise DevclusterError("--image-volumes needs a node: leave --light out")
    policy = options.audit_policy.read_text() if options.audit_policy else None
    if policy is None and options.audit:
        policy = audit_policy()
    print(light.up(options.dir, audit_policy=policy, parent_pid=options.parent_pid))
    return 0


def _down(options: argparse.Namespace) -> int:
    if options.light:
        light.down(_light_dir(options))
    else:
        full.down(home(), keep_images=options.keep_images)
    return 0


def _status(options: argparse.Namespace) -> int:
    lines = light.status(_light_dir(options)) if options.light else full.status(home())
    for name, healthy, remark in lines:
        print(f"{name:<26} {'ok' if healthy else 'DOWN':<5} {remark}")
    return 0 if all(healthy for _name, healthy, _remark in lines) else 1


def _kubeconfig(options: argparse.Namespace) -> int:
    print(light.kubeconfig(_light_dir(options)) if options.light else full.kubeconfig(home()))
    return 0


def _load_image(options: argparse.Namespace) -> int:
    host.extend_path()
    if home().bin.exists():
        host.prefer(home().bin)
    host.require_linux_root()
    print(loading.load(home(), options.reference, options.source))
    return 0


def _base_image(options: argparse.Namespace) -> int:
    base_image.build(options.reference)
    return 0


def _build_image(options: argparse.Namespace) -> int:
    arguments = {}
    for text in options.build_arg:
        key, equals, value = text.partition("=")
        if not equals:
            raise DevclusterError(f"--build-arg wants KEY=VALUE, not {text!r}")
        arguments[key] = value
    if "BASE_IMAGE" not in arguments and base_image.declares_base(options.file):
        arguments["BASE_IMAGE"] = base_image.choose()
    engines.build(
        engines.Build(options.reference, options.file, options.context, arguments, options.target)
    )
    return 0


def _watch(options: argparse.Namespace) -> int:
    watching.watch(options.dir, options.parent_pid, options.start_ticks)
    return 0

"""The server's process: opens the form and starts KServe's server over it."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import warnings
from pathlib import Path

from mopt_api.figures import Serving
from mopt_api.text import one_line
from mopt_optimizer.errors import OptimizerError, SpecError

from .arguments import Arguments, parsed
from .computing import Instances
from .opening import open_instances
from .reading import Folder, described_in, largest_request, verify_files

_UNBOUNDED = 256 * 2**20
"""Bytes of the largest inputs where an axis has no bound."""

LARGEST_MESSAGE = 2**31 - 1
"""Bytes that gRPC can be told: what is larger comes over HTTP."""


def main() -> None:
    """Serve until a signal ends it."""
    scratch = Path(os.environ["MOPT_SERVE_SCRATCH"])
    arguments = parsed(sys.argv[1:])
    # KServe reads the arguments of whatever process imports it.
    del sys.argv[1:]
    try:
        _serve(arguments, scratch)
    except OptimizerError as error:
        sys.exit(f"mopt: {one_line(str(error), 1000)}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _serve(arguments: Arguments, scratch: Path) -> None:
    folder = described_in(arguments.folder)
    verify_files(arguments.folder, folder.description)
    serving = folder.serving(arguments.instances, arguments.threads, arguments.batch)
    for port in (arguments.http_port, arguments.grpc_port):
        _check_free(port)
    instances = Instances(open_instances(folder, serving, scratch), serving.batch)
    _start(arguments, folder, serving, instances)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise SpecError(
                f"port {port} cannot be used: {error.strerror}; name others with --http-port and "
                "--grpc-port"
            ) from error


def _start(arguments: Arguments, folder: Folder, serving: Serving, instances: Instances) -> None:
    from fastapi.exceptions import FastAPIDeprecationWarning
    from kserve import ModelServer, model_server

    from .dataplane import FixedModels, Plane
    from .http import OneLine, add_configuration, add_rules, largest_body
    from .model import ServedModel

    name = arguments.name or folder.description.name
    model = ServedModel(name, folder, instances)
    most = largest_body(largest_request(folder) or _UNBOUNDED)
    model_server.args.grpc_max_receive_message_length = min(most, LARGEST_MESSAGE)
    model_server.args.grpc_max_send_message_length = -1
    server = ModelServer(
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        enable_latency_logging=False,
    )
    server.dataplane = Plane(server.registered_models)
    server.model_repository_extension = FixedModels(server.registered_models)
    add_rules(model_server.app, most)
    add_configuration(model_server.app, name, model.configuration())
    # KServe's own choice of a class that answers JSON.
    warnings.filterwarnings("ignore", category=FastAPIDeprecationWarning)
    for logger in ("kserve", "kserve.trace", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    logging.getLogger("kserve").addFilter(OneLine())
    print(
        f"mopt: serving {name}: {folder.description.title}, {serving.instances} x "
        f"{serving.threads} threads, batch {serving.batch}; HTTP {arguments.http_port}, "
        f"gRPC {arguments.grpc_port}",
        file=sys.stderr,
        flush=True,
    )
    server.start([model])


if __name__ == "__main__":
    main()

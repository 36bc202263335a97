"""`mopt watch` on a real API server. There is no kubelet, so no log can be read."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_process import clean_environ
from faulty_proxy import FaultyProxy
from job_messages import Messages
from light_cluster import Api, MakeResource, Operator, Resource

from mopt_api.reasons import Reason

pytestmark = pytest.mark.cluster

PATIENCE = 60.0


class Watch:
    """The command as a process; its lines are read while it runs."""

    def __init__(self, kubeconfig: Path, folder: Path, *arguments: str) -> None:
        self._told = folder / "told"
        with self._told.open("wb") as told:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mopt_cli.main", "watch", *arguments],
                env=clean_environ() | {"KUBECONFIG": str(kubeconfig)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=told,
                text=True,
            )

    def lines(self) -> list[str]:
        return self._told.read_text().splitlines()

    def until(self, words: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Wait for a line with these words."""
        deadline = time.monotonic() + PATIENCE
        while not any(words in line for line in self.lines()):
            meanwhile()
            assert self.process.poll() is None, self.lines()
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.05)

    def end(self, code: int) -> str:
        """Wait for its end; return what it printed on standard output."""
        printed, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == code, self.lines()
        assert "Traceback" not in self._told.read_text()
        return printed


@pytest.fixture
def watch(cluster: Path, tmp_path: Path) -> Iterator[Callable[..., Watch]]:
    """Return what starts the command for a resource, as the administrator."""
    started: list[Watch] = []

    def start(resource: Resource, *arguments: str, kubeconfig: Path = cluster) -> Watch:
        where = ("-n", resource.namespace)
        started.append(Watch(kubeconfig, tmp_path, resource.name, *where, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


def test_a_run_is_followed_to_ready(
    resource: Resource, messages: Messages, watch: Callable[..., Watch]
) -> None:
    watching = watch(resource)
    pod = resource.pod_of("prepare")
    watching.until("Preparing (0 of 1 targets)")
    watching.until(f"prepare: Pod {pod['metadata']['name']}: Pending")
    resource.finish(pod, messages.prepare())
    watching.until("Measuring (0 of 1 targets)")
    resource.finish(resource.pod_of("measure"), messages.measure())
    printed = watching.end(0)
    assert "* openvino-bf16" in printed
    assert "Ready=True Optimized" in printed
    assert f"{resource.name}: Optimized: " in watching.lines()[-1]
    lines = [line for line in watching.lines() if "the log of Pod" not in line]
    assert len(lines) == len(set(lines))


def test_a_pod_that_cannot_start_is_explained_until_the_resource_is_deleted(
    resource: Resource, watch: Callable[..., Watch]
) -> None:
    watching = watch(resource)
    pod = resource.pod_of("prepare")
    resource.waiting(pod, "ErrImagePull", "manifest unknown")
    watching.until("Pending: ErrImagePull: manifest unknown")
    watching.until("ImagePullFailed (0 of 1 targets): The image cannot be pulled: manifest unknown")
    resource.delete()
    assert watching.end(1) == ""
    assert watching.lines()[-1] == f"{resource.name}: deleted before it finished"


def test_a_terminal_gets_a_picture(resource: Resource, messages: Messages, cluster: Path) -> None:
    command = [sys.executable, "-m", "mopt_cli.main", "watch", resource.name, "-n"]
    environ = clean_environ() | {"KUBECONFIG": str(cluster), "TERM": "xterm", "COLUMNS": "200"}
    environ.pop("CI", None)
    screen, terminal = os.openpty()
    with subprocess.Popen(
        [*command, resource.namespace],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=terminal,
    ) as process:
        os.close(terminal)
        drawn = ""

        def draw(words: str) -> None:
            nonlocal drawn
            deadline = time.monotonic() + PATIENCE
            while words not in drawn:
                assert time.monotonic() < deadline, drawn
                drawn += os.read(screen, 65536).decode()

        draw("Preparing (0 of 1 targets)")
        pod = resource.pod_of("prepare")
        draw(f"prepare: Pod {pod['metadata']['name']}: Pending")
        resource.finish(pod, messages.prepare())
        draw("Measuring (0 of 1 targets)")
        resource.finish(resource.pod_of("measure"), messages.measure())
        draw("Optimized: ")
        printed, _ = process.communicate(timeout=PATIENCE)
    os.close(screen)
    assert process.returncode == 0
    assert "Traceback" not in drawn
    assert "* openvino-bf16" in printed.decode()


def test_data_for_machines_is_status(
    resource: Resource, messages: Messages, watch: Callable[..., Watch]
) -> None:
    resource.run(messages)
    printed = json.loads(watch(resource, "-o", "json").end(0))
    assert printed == resource.read()["status"]


def test_a_permanent_failure_ends_it(
    resource: Resource, messages: Messages, watch: Callable[..., Watch]
) -> None:
    watching = watch(resource)
    pod = resource.pod_of("prepare")
    words = messages.error(Reason.DIGEST_MISMATCH, "another file")
    resource.finish(pod, words, exit_code=67, reason="Error")
    assert "Stalled=True DigestMismatch" in watching.end(1)


def test_a_second_attempt_is_told(resource: Resource, watch: Callable[..., Watch]) -> None:
    watching = watch(resource)
    first = resource.pod_of("prepare")
    watching.until("Pending")
    resource.finish(first, "", exit_code=1, reason="Error")
    watching.until(f"Pod {first['metadata']['name']}: Failed: exit status 1")
    second = resource.pod_of("prepare")
    names = (second["metadata"]["name"], first["metadata"]["name"])
    watching.until("prepare: Pod {} in place of {}".format(*names))


def test_ctrl_c_ends_it_in_order(resource: Resource, watch: Callable[..., Watch]) -> None:
    watching = watch(resource)
    watching.until("Preparing")
    watching.process.send_signal(signal.SIGINT)
    assert watching.end(130) == ""
    assert watching.lines()[-1] == "mopt: interrupted; the work in the cluster continues"


def test_no_such_resource_is_told(resource: Resource, cluster: Path, tmp_path: Path) -> None:
    watching = Watch(cluster, tmp_path, "nobody", "-n", resource.namespace)
    watching.end(2)
    words = f"mopt: there is no ModelOptimization nobody in namespace {resource.namespace}"
    assert watching.lines() == [words]


def test_without_the_right_to_see_pods_status_is_followed(
    resource: Resource,
    messages: Messages,
    api: Api,
    account_kubeconfig: Callable[[str, str], Path],
    watch: Callable[..., Watch],
) -> None:
    namespace, name = resource.namespace, "reader"
    rules = [{"apiGroups": ["mopt.dev"], "resources": ["*"], "verbs": ["get", "list", "watch"]}]
    root = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
    metadata = {"metadata": {"name": name}}
    role = {"kind": "Role", "name": name, "apiGroup": "rbac.authorization.k8s.io"}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    api.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", metadata)
    api.call("POST", f"{root}/roles", metadata | {"rules": rules})
    api.call("POST", f"{root}/rolebindings", metadata | {"roleRef": role, "subjects": [subject]})
    watching = watch(resource, kubeconfig=account_kubeconfig(namespace, name))
    watching.until("continuing with status alone")
    resource.run(messages)
    assert "Ready=True Optimized" in watching.end(0)
    assert len([line for line in watching.lines() if "status alone" in line]) == 1


def test_an_api_server_that_is_away_for_a_while_is_waited_for(
    resource: Resource, messages: Messages, api: Api, watch: Callable[..., Watch], tmp_path: Path
) -> None:
    server = api.config["clusters"][0]["cluster"]["server"]
    host, _, port = server.removeprefix("https://").rpartition(":")
    proxy = FaultyProxy(host.strip("[]"), int(port), api.context)
    try:
        config = copy.deepcopy(api.config)
        # The proxy is the administrator to the API server: the client brings nothing.
        config["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{proxy.port}"}
        config["users"][0]["user"] = {"username": "nobody", "password": "none"}
        path = tmp_path / "proxied"
        path.write_text(json.dumps(config))
        watching = watch(resource, kubeconfig=path)
        watching.until("Pending")
        # A connection that rests at that moment is made anew without a word.
        watching.until("the API server does not answer", meanwhile=proxy.cut)
        resource.finish(resource.pod_of("prepare"), messages.prepare())
        watching.until("the API server: works again")
        resource.finish(resource.pod_of("measure"), messages.measure())
        watching.end(0)
    finally:
        proxy.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("watch -n shared completion", "completion-of-names"), ("watch x --namespace sha", "shared")],
)
def test_a_shell_completes_names_from_the_cluster(
    operator: Operator,
    make_resource: MakeResource,
    cluster: Path,
    typed: str,
    completed: str,
    api: Api,
) -> None:
    if completed != "shared":
        make_resource(name=completed)
    environ = {
        "KUBECONFIG": str(cluster),
        "_MOPT_COMPLETE": "complete_bash",
        "COMP_WORDS": f"mopt {typed}",
        "COMP_CWORD": str(len(typed.split())),
    }
    program = Path(sys.executable).parent / "mopt"
    done = subprocess.run(
        [str(program)],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert completed in done.stdout.split()

"""What `helm test` runs: which answers of API server and operator it takes, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mopt_api.spec import ModelOptimizationSpec
from mopt_operator.check import TRIAL, answer_of, check
from mopt_operator.errors import NotFound, OperatorError, api_error

Json = dict[str, Any]
PATH = "/apis/mopt.dev/v1alpha1/namespaces/team/modeloptimizations"


def resource(reason: str = "", *, observed: int = 1) -> Json:
    conditions = [{"type": "Reconciling", "reason": "Other", "message": ""}]
    if reason:
        conditions.append({"type": "Ready", "reason": reason, "message": "as it is"})
    status = {"observedGeneration": observed, "conditions": conditions}
    return {"metadata": {"name": "mopt-test-1", "generation": 1}, "status": status}


class ApiServer:
    """Answers each read with the next state, the last one for ever."""

    def __init__(self, *states: Json, refusal: Exception | None = None) -> None:
        self._states = list(states)
        self._refusal = refusal
        self.asked: list[str] = []

    async def __call__(self, method: str, path: str, **_: object) -> Json:
        self.asked.append(f"{method} {path.removeprefix(PATH)}".rstrip())
        if method == "POST" and self._refusal:
            raise self._refusal
        if method == "GET" and len(self._states) > 1:
            return self._states.pop(0)
        return self._states[0] if self._states else resource()


async def test_it_waits_for_the_answer_and_deletes_what_it_made() -> None:
    server = ApiServer(
        {"metadata": {"name": "mopt-test-1", "generation": 1}}, resource("Suspended")
    )
    await check(server, "team", 30.0)
    assert server.asked == ["POST", "GET /mopt-test-1", "GET /mopt-test-1", "DELETE /mopt-test-1"]


@pytest.mark.parametrize(
    ("server", "patience", "words"),
    [
        (lambda: ApiServer(resource()), 0.0, "no operator has answered to"),
        (lambda: ApiServer(resource("InvalidSpec")), 30.0, "answered InvalidSpec"),
    ],
    ids=["no answer", "another answer"],
)
async def test_what_fails_is_deleted_too(
    server: Callable[[], ApiServer], patience: float, words: str
) -> None:
    asked = server()
    with pytest.raises(OperatorError, match=words):
        await check(asked, "team", patience)
    assert asked.asked[-1] == "DELETE /mopt-test-1"


async def test_missing_definition_is_told() -> None:
    server = ApiServer(refusal=api_error(404, "NotFound", "the server could not find it"))
    with pytest.raises(OperatorError, match="does not serve modelopt") as failed:
        await check(server, "team", 30.0)
    assert isinstance(failed.value.__cause__, NotFound)
    assert server.asked == ["POST"]


def test_answer_is_about_the_resource_as_it_is() -> None:
    assert answer_of(resource("Suspended")) == ("Suspended", "as it is")
    assert answer_of(resource("Suspended", observed=0)) is None
    assert answer_of(resource()) is None


def test_trial_starts_nothing() -> None:
    spec = ModelOptimizationSpec.model_validate(TRIAL["spec"])
    assert spec.execution.suspend

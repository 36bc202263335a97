"""The API server judges the profiles when the operator starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.cluster


def test_profile_that_the_api_server_refuses_ends_the_start(
    make_operator: Callable[..., Any], make_namespace: Callable[..., str], api: Any
) -> None:
    namespace = make_namespace()
    profiles = {"default": {}, "gpu": {"nodeSelector": {"a..b/gpu": "a100"}}}
    operator = make_operator(watchNamespaces=[namespace], profiles=profiles)
    assert operator.run() == 1
    started, line = operator.log_lines(2)
    assert "Starting" in started
    assert line.startswith("mopt-operator: profiles.gpu: the API server refuses its Jobs: Job.")
    assert 'spec.template.spec.nodeSelector: Invalid value: "a..b/gpu"' in line
    assert api.call("GET", f"/apis/batch/v1/namespaces/{namespace}/jobs")["items"] == []


def test_quota_that_forbids_jobs_does_not_keep_the_operator_from_starting(
    make_operator: Callable[..., Any], make_namespace: Callable[..., str], api: Any
) -> None:
    namespace = make_namespace()
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "spec": {"hard": {"count/jobs.batch": 0}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    api.call("POST", path, quota | {"metadata": {"name": "none"}})
    operator = make_operator(watchNamespaces=[namespace])
    operator.start()
    assert operator.stop() == 0
    assert f"Cannot try the profile default in {namespace}: 403 Forbidden" in operator.log()

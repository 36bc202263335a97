"""The model's configuration as Triton's extension has it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from served_folders import Served

from mopt_optimizer.server.configuration import model_configuration

pytestmark = pytest.mark.optimizer

IMAGE = {"name": "image", "datatype": "FP32", "shape": [-1, 3, -1, -1]}
LABEL = {"name": "label", "datatype": "BYTES", "shape": [-1]}


def test_shapes_are_those_of_a_sample_where_there_is_a_batch() -> None:
    assert model_configuration("m", [IMAGE], [LABEL], 4) == {
        "name": "m",
        "platform": "",
        "backend": "mopt",
        "max_batch_size": 4,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, -1, -1]}],
        "output": [{"name": "label", "data_type": "TYPE_STRING", "dims": []}],
    }


def test_shapes_are_whole_where_there_is_none() -> None:
    told = model_configuration("m", [IMAGE], [LABEL], 0)
    assert told["max_batch_size"] == 0
    assert [tensor["dims"] for tensor in (*told["input"], *told["output"])] == [
        [-1, 3, -1, -1],
        [-1],
    ]


def asked(server: Served, path: str) -> Any:
    with urllib.request.urlopen(f"{server.url}/v2/models/{path}/config") as response:  # noqa: S310
        return json.load(response)


@pytest.mark.parametrize("path", ["upscaler", "upscaler/versions/1"])
def test_it_is_asked_for_by_http(path: str, server: Served) -> None:
    from tritonclient import http

    told = asked(server, path)
    assert told["input"] == [{"name": "image", "data_type": "TYPE_FP32", "dims": [3, -1, -1]}]
    client = http.InferenceServerClient(server.host)
    assert client.get_model_config("upscaler") == told
    assert "model_configuration" in client.get_server_metadata()["extensions"]
    client.close()


def test_another_model_has_none(server: Served) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as found:
        asked(server, "other")
    with found.value as answer:
        assert json.load(answer) == {"error": "Model with name other does not exist."}

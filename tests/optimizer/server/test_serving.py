"""The server as a process, asked by Triton's client over HTTP and by KServe's over gRPC."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import ModelFiles
from numpy.typing import NDArray
from runners import opened
from served_folders import Served, serving, write_folder

from mopt_api.enums import Precision, Runtime
from mopt_optimizer.endpoint.grpc import GrpcClient
from mopt_optimizer.errors import EndpointError
from mopt_optimizer.serving import Layout

from .conftest import FORMS

pytestmark = pytest.mark.optimizer

Array = NDArray[Any]


def image(batch: int = 1, height: int = 24, width: int = 32, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((batch, 3, height, width), np.float32)


def computed(path: Path, runtime: Runtime, precision: Precision, array: Array) -> Array:
    """What the same file computes in this process."""
    with opened(runtime, precision, path) as runner:
        (output,) = runner.run({"image": array}).values()
    return output


def triton_answer(server: Served, array: Array, *, binary: bool) -> Array:
    """Ask by NVIDIA's client, which has no part in this project."""
    from tritonclient import http

    client = http.InferenceServerClient(server.host)
    try:
        metadata = client.get_model_metadata("upscaler")
        given = http.InferInput("image", list(array.shape), metadata["inputs"][0]["datatype"])
        given.set_data_from_numpy(array, binary_data=binary)
        name = metadata["outputs"][0]["name"]
        wanted = [http.InferRequestedOutput(name, binary_data=binary)]
        found: Array = client.infer("upscaler", [given], outputs=wanted).as_numpy(name)
        return found
    finally:
        client.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", [Layout.FILES])
def test_every_runtime_answers_what_it_computes(
    form: str, layout: Layout, served_files: ModelFiles, tmp_path: Path
) -> None:
    runtime, precision, kind = FORMS[form]
    path: Path = getattr(served_files, kind)
    folder = write_folder(tmp_path / "model", path, runtime, precision, layout=layout)
    array = image()
    with serving(folder) as server:
        for binary in (True, False):
            answer = triton_answer(server, array, binary=binary)
            np.testing.assert_array_equal(answer, computed(path, runtime, precision, array))


def test_a_published_repository_is_served_too(served_files: ModelFiles, tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "models", served_files.onnx, Runtime.OPENVINO, layout=Layout.KSERVE
    )
    assert (folder / "1" / "model.onnx").is_file()
    with serving(folder, "--name=other") as server:
        assert told(server, "/v2/models") == {"models": ["other"]}


def test_inputs_may_be_larger_than_a_message_of_grpc(
    served_files: ModelFiles, tmp_path: Path
) -> None:
    large = {
        "batch": {"min": 1, "opt": 1, "max": 64},
        "height": {"min": 16, "opt": 24, "max": 4096},
        "width": {"min": 16, "opt": 32, "max": 4096},
    }
    folder = write_folder(
        tmp_path / "model", served_files.onnx, Runtime.ONNX_RUNTIME, dimensions=large
    )
    with serving(folder) as server:
        assert told(server, "/v2/health/ready") == {"ready": True}


def told(server: Served, path: str) -> Any:
    with urllib.request.urlopen(f"{server.url}{path}") as response:  # noqa: S310
        return json.loads(response.read())


def test_metadata_health_and_metrics(server: Served) -> None:
    assert told(server, "/v2/health/live") == {"live": True}
    assert told(server, "/v2")["name"] == "mopt"
    metadata = told(server, "/v2/models/upscaler")
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 3, -1, -1]}]
    triton_answer(server, image(), binary=True)
    with urllib.request.urlopen(f"{server.url}/metrics") as response:  # noqa: S310
        assert b'request_predict_seconds_count{model_name="upscaler"}' in response.read()


def test_grpc_answers_the_same_and_says_how_long_it_computed(
    server: Served, served_files: ModelFiles
) -> None:
    client, array = GrpcClient(server.grpc, 60), image(batch=2)
    answer = client.asking("upscaler", {"image": array})()
    (output,) = answer.outputs.values()
    expected = computed(served_files.onnx, Runtime.ONNX_RUNTIME, Precision.FP32, array)
    np.testing.assert_array_equal(output, expected)
    assert answer.times is not None
    assert answer.times.compute > 0
    with pytest.raises(EndpointError, match="INVALID_ARGUMENT: the inputs are picture"):
        client.asking("upscaler", {"picture": array})()
    client.close()


def test_requests_at_once_are_each_answered_their_own(
    server: Served, served_files: ModelFiles
) -> None:
    arrays = [image(seed=seed, batch=1 + seed % 2) for seed in range(12)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda array: triton_answer(server, array, binary=True), arrays))
    for array, answer in zip(arrays, answers, strict=True):
        expected = computed(served_files.onnx, Runtime.ONNX_RUNTIME, Precision.FP32, array)
        np.testing.assert_allclose(answer, expected, atol=1e-6)


def request(**changes: Any) -> bytes:
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3, 16, 16], "data": [0.5] * 768}
    return json.dumps({"inputs": [tensor | changes]}).encode()


def refusal(server: Served, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    """Return the status and the error of a request that is refused."""
    asked = urllib.request.Request(f"{server.url}{path}", body, headers)  # noqa: S310
    try:
        urllib.request.urlopen(asked).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())["error"]
    raise AssertionError("it is not refused")


INFER = "/v2/models/upscaler/infer"
BINARY = {"Inference-Header-Content-Length": "2"}


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        pytest.param(b"", {}, "JSON", id="nothing"),
        pytest.param(b"no json", {}, "the request's JSON", id="no JSON"),
        pytest.param(b"{}", {}, "inputs: Field required", id="no inputs"),
        pytest.param(request(name="x"), {}, "the inputs are x; the model's are image", id="name"),
        pytest.param(request(datatype="FP64"), {}, "the model takes FP32", id="type"),
        pytest.param(request(shape=[1, 3, 256]), {}, "has 3 dimensions", id="rank"),
        pytest.param(request(shape=[1, 3, 16, 17]), {}, "are not 816 values", id="data"),
        pytest.param(request(shape=[1, 3, -1, 16]), {}, "no size is negative", id="negative"),
        pytest.param(request(data=["a"] * 768), {}, "are not 768 values", id="text"),
        pytest.param(
            request(shape=[1, 3, 8, 32]), {}, "height takes 16 up", id="size that was not measured"
        ),
        pytest.param(
            json.dumps({**json.loads(request()), "outputs": [{"name": "y"}]}).encode(),
            {},
            "the model has no output y",
            id="output",
        ),
        pytest.param(b"{}", BINARY, "inputs: Field required", id="binary, no inputs"),
        pytest.param(b"{", BINARY, "is '2', the body has 1 bytes", id="binary, too short"),
        pytest.param(b"[1" + b"x" * 9, BINARY, "the request's JSON", id="binary, no JSON"),
        pytest.param(b" " * 60_000_000, {}, "larger than the largest inputs", id="too large"),
    ],
)
def test_bad_requests_are_told_in_one_line(
    server: Served, body: bytes, headers: dict[str, str], words: str
) -> None:
    code, said = refusal(server, INFER, body, {"Content-Type": "application/json"} | headers)
    assert code == 400
    assert words in said
    assert "\n" not in said
    assert "Traceback" not in server.log.read_text()


def test_a_binary_tensor_that_is_too_short(server: Served) -> None:
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "FP32",
                    "shape": [1, 3, 16, 16],
                    "parameters": {"binary_data_size": 3072},
                }
            ]
        }
    ).encode()
    length = {"Inference-Header-Content-Length": str(len(header))}
    code, said = refusal(server, INFER, header + b"\0" * 100, length)
    assert code == 400
    assert "binary_data_size is 3072, and 100 bytes are left" in said


def test_no_request_takes_the_model_away(server: Served) -> None:
    code, _ = refusal(server, "/v2/repository/models/upscaler/unload", b"", {})
    assert code == 400
    assert told(server, "/v2/models") == {"models": ["upscaler"]}

"""The archive around the program: what torch.export.load would unpickle or be misled by."""

from __future__ import annotations

import io
import json
import pickle
import stat
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mopt_optimizer.errors import ModelError, UnsafeModelError
from mopt_optimizer.opening.loading import load_exported_program
from mopt_optimizer.opening.safety import rewrite_pt2

if TYPE_CHECKING:
    from .conftest import Edit, Tamper

pytestmark = pytest.mark.optimizer

SAMPLES = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (_create, (str(self.path),))


def _create(path: str) -> None:
    Path(path).touch()


def _torch_saved(value: object) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _weights(tamper: Tamper, change: Edit) -> bytes:
    with zipfile.ZipFile(tamper()) as archive:
        name = next(n for n in archive.namelist() if n.endswith(WEIGHTS))
        config = json.loads(archive.read(name))
    change(config["config"])
    return json.dumps(config).encode()


def test_payload_does_run_when_it_is_unpickled(witness: Path) -> None:
    """The attacks below prove nothing unless their payload works."""
    pickle.loads(pickle.dumps(Payload(witness)))  # noqa: S301
    assert witness.exists()


def test_plain_program_is_opened(upscaler_pt2: Path, tmp_path: Path) -> None:
    import torch

    program = load_exported_program(upscaler_pt2, tmp_path)
    original = torch.export.load(upscaler_pt2)
    image = torch.rand(3, 3, 17, 30)
    with torch.no_grad():
        assert torch.equal(program.module()(image), original.module()(image))
    assert program.range_constraints == original.range_constraints
    assert not list(tmp_path.iterdir())


def test_torch_itself_would_run_the_payload(tamper: Tamper, witness: Path) -> None:
    """Why the archive is inspected: torch falls back to weights_only=False."""
    import torch

    path = tamper(records={SAMPLES: _torch_saved(((Payload(witness),), {}))})
    torch.export.load(path)
    assert witness.exists()


def test_payload_in_sample_inputs_is_refused(tamper: Tamper, witness: Path, tmp_path: Path) -> None:
    path = tamper(records={SAMPLES: _torch_saved(((Payload(witness),), {}))})
    with pytest.raises(UnsafeModelError, match=r"sample_inputs.*would load '.*_create'"):
        load_exported_program(path, tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_bare_pickle_in_sample_inputs_is_refused(
    tamper: Tamper, witness: Path, tmp_path: Path, protocol: int
) -> None:
    path = tamper(records={SAMPLES: pickle.dumps(Payload(witness), protocol)})
    with pytest.raises(UnsafeModelError):
        load_exported_program(path, tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_payload_of_any_protocol_is_refused(
    tamper: Tamper, witness: Path, tmp_path: Path, protocol: int
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Payload(witness), protocol))
        archive.writestr("x/version", "3\n")
    with pytest.raises(UnsafeModelError, match="pickle that would load"):
        load_exported_program(tamper(records={SAMPLES: buffer.getvalue()}), tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize("record", ["data/weights/model.pt", "data/constants/model.pt"])
def test_legacy_pickle_is_refused(
    tamper: Tamper, witness: Path, tmp_path: Path, record: str
) -> None:
    path = tamper(records={record: _torch_saved({"w": Payload(witness)})})
    with pytest.raises(UnsafeModelError, match="a pickle or custom object"):
        load_exported_program(path, tmp_path)
    assert not witness.exists()


def test_pickled_weight_is_refused(tamper: Tamper, witness: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        next(iter(config.values()))["use_pickle"] = True

    records = {
        WEIGHTS: _weights(tamper, change),
        "data/weights/weight_0": _torch_saved(Payload(witness)),
    }
    with pytest.raises(UnsafeModelError, match="a pickled payload"):
        load_exported_program(tamper(records=records), tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize("value", [1, "true", "yes", {}, None])
def test_pickled_weight_by_another_truth_is_refused(
    tamper: Tamper, tmp_path: Path, value: object
) -> None:
    def change(config: dict[str, Any]) -> None:
        next(iter(config.values()))["use_pickle"] = value

    with pytest.raises(UnsafeModelError):
        load_exported_program(tamper(records={WEIGHTS: _weights(tamper, change)}), tmp_path)


@pytest.mark.parametrize("kind", ["custom_obj", "opaque_obj"])
def test_custom_object_is_refused(tamper: Tamper, witness: Path, tmp_path: Path, kind: str) -> None:
    payload = {
        "path_name": f"{kind}_0",
        "is_param": False,
        "use_pickle": True,
        "tensor_meta": None,
    }
    records = {
        CONSTANTS: json.dumps({"config": {"c": payload}}).encode(),
        f"data/constants/{kind}_0": pickle.dumps(Payload(witness)),
    }
    with pytest.raises(UnsafeModelError):
        load_exported_program(tamper(records=records), tmp_path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ("data/aotinductor/model/model.so", "compiled code"),
        ("data/aotinductor/model/model.wrapper.so", "compiled code"),
        ("data/executorch/model.pte", "not one that"),
        ("data/xl_model_weights/x", "not one that"),
        ("models/other.json", "not one that"),
        ("code/module.py", "not one that"),
        ("data/weights/model.pkl", "a pickle"),
        ("anything", "not one that"),
    ],
)
def test_unknown_record_is_refused(tamper: Tamper, tmp_path: Path, record: str, what: str) -> None:
    with pytest.raises(UnsafeModelError, match=what):
        load_exported_program(tamper(records={record: b"x"}), tmp_path)


def test_extra_files_do_not_reach_torch(tamper: Tamper, tmp_path: Path) -> None:
    path = tamper(records={"extra/notes.txt": b"text"})
    rewrite_pt2(path, tmp_path / "checked.pt2")
    with zipfile.ZipFile(tmp_path / "checked.pt2") as archive:
        names = archive.namelist()
        assert not any("extra" in name for name in names)
        assert archive.read("model/data/sample_inputs/model.pt") == b""


@pytest.mark.parametrize(
    "name",
    ["../outside", "m/../../outside", "/etc/outside", "m//x", "m/./x", "m\\x", "C:/x", "m/ü"],
)
def test_odd_record_names_are_refused(upscaler_pt2: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "odd.pt2"
    path.write_bytes(upscaler_pt2.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(ModelError):
        load_exported_program(path, tmp_path)


def _append(upscaler_pt2: Path, tmp_path: Path, entry: zipfile.ZipInfo, data: bytes) -> Path:
    path = tmp_path / "appended.pt2"
    path.write_bytes(upscaler_pt2.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        entry.filename = f"{archive.namelist()[0].partition('/')[0]}/{entry.filename}"
        archive.writestr(entry, data)
    return path


def test_second_record_of_one_name_is_refused(upscaler_pt2: Path, tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("models/model.json")
    with pytest.warns(UserWarning, match="Duplicate name"):
        path = _append(upscaler_pt2, tmp_path, entry, b"{}")
    with pytest.raises(UnsafeModelError, match="two records"):
        load_exported_program(path, tmp_path)


def test_symbolic_link_is_refused(upscaler_pt2: Path, tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("data/weights/weight_99")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = _append(upscaler_pt2, tmp_path, entry, b"/etc/passwd")
    with pytest.raises(UnsafeModelError, match="symbolic link"):
        load_exported_program(path, tmp_path)


def test_compressed_record_is_refused(upscaler_pt2: Path, tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("data/weights/weight_99")
    entry.compress_type = zipfile.ZIP_DEFLATED
    path = _append(upscaler_pt2, tmp_path, entry, bytes(1_000_000))
    with pytest.raises(UnsafeModelError, match=r"compressed|zip bomb"):
        load_exported_program(path, tmp_path)


def test_bytes_that_are_no_archive_say_so(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    for content in (b"", b"garbage", pickle.dumps({}), b"PK\x03\x04"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"no zip archive|no model") as caught:
            load_exported_program(path, tmp_path)
        assert not isinstance(caught.value, UnsafeModelError)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_truncated_archive_says_so(upscaler_pt2: Path, tmp_path: Path, share: float) -> None:
    content = upscaler_pt2.read_bytes()
    path = tmp_path / "model.pt2"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ModelError, match=r"truncated|damaged"):
        load_exported_program(path, tmp_path)


def test_flipped_bit_in_a_weight_is_found(upscaler_pt2: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(upscaler_pt2) as archive:
        entry = next(e for e in archive.infolist() if e.filename.endswith("weights/weight_0"))
        weight = archive.read(entry)
    content = bytearray(upscaler_pt2.read_bytes())
    content[content.index(weight) + 10] ^= 1
    path = tmp_path / "model.pt2"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged \.pt2: Bad CRC-32"):
        load_exported_program(path, tmp_path)


@pytest.mark.parametrize("record", [WEIGHTS, CONSTANTS, "models/model.json", "archive_format"])
def test_archive_without_a_part_says_which(tamper: Tamper, tmp_path: Path, record: str) -> None:
    with pytest.raises(ModelError, match=f"lacks {record}"):
        load_exported_program(tamper(records={record: None}), tmp_path)


def test_other_zip_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    with pytest.raises(ModelError, match=r"ZIP archive of 1 files that is no \.pt2"):
        load_exported_program(path, tmp_path)


def test_weights_saved_with_torch_save_are_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(_torch_saved({"weight": 1}))
    with pytest.raises(ModelError, match=r"a checkpoint of torch\.save"):
        load_exported_program(path, tmp_path)


def test_config_that_names_a_missing_record_is_damaged(tamper: Tamper, tmp_path: Path) -> None:
    path = tamper(records={"data/weights/weight_3": None})
    with pytest.raises(ModelError, match="names no record for"):
        load_exported_program(path, tmp_path)

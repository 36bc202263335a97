"""Only what was proven gets into the cluster: Kyverno, real, with the policy of examples/gitops.

Images are published and signed by mopt's own code to a real registry; Pods are created at a real
API server, which asks Kyverno's admission controller.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from light_cluster import Api, Json, MakeNamespace, Refused
from proof_mutations import (
    Published,
    edit_a_gate_value,
    edit_statement,
    flip,
    published,
    sign_an_edited_value_with_another_key,
    swap_a_digest,
    swap_the_subject,
    swap_two_digests,
)
from proved_image import Folder, Keys, make_keys, publish
from proved_results import missed_gate, no_gates, other_data, too_far_from_it
from served_proofs import Served, served_proofs

from mopt_optimizer.proofs.referrer import QUALITY_PREDICATE

pytestmark = pytest.mark.admission

POLICY = Path(__file__).resolve().parents[4] / "examples" / "gitops" / "policy" / "kyverno.yaml"
SERVER = "registry.example/other/server:1"
NOBODY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
EACH, EACH_IN_FULL = 10, 100


def container(name: str, image: str) -> Json:
    return {"name": name, "image": image, "securityContext": NOBODY}


def mounted(image: str) -> Json:
    """Return the spec of a Pod with an image volume."""
    server = container("server", SERVER) | {"volumeMounts": [{"name": "m", "mountPath": "/m"}]}
    return {"containers": [server], "volumes": [{"name": "m", "image": {"reference": image}}]}


def modelcar(image: str) -> Json:
    """Return the spec of a Pod as KServe makes it."""
    return {"containers": [container("server", SERVER), container("modelcar", image)]}


def early_modelcar(image: str) -> Json:
    """Return the spec of a Pod as newer ones of KServe make it: a sidecar that starts first."""
    car = container("modelcar", image) | {"restartPolicy": "Always"}
    return {"containers": [container("server", SERVER)], "initContainers": [car]}


class Door:
    """The API server, as one who may create Pods in a namespace."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self.pods = f"/api/v1/namespaces/{namespace}/pods"

    def refusal(self, spec: Json) -> str:
        """Return why a Pod is refused, empty where it is not. No Pod is made."""
        body = {"metadata": {"name": "model"}, "spec": spec}
        try:
            self._api.call("POST", f"{self.pods}?dryRun=All", body)
        except Refused as refused:
            told = refused.message
        else:
            return ""
        # It was the policy, not a server that did not answer.
        found = re.search(r"Policy proven-models (failed|error): (.+)", told, re.S)
        assert found is not None, told
        return found[2]

    def create(self, name: str, spec: Json) -> str:
        """Create a Pod and return its path."""
        self._api.call("POST", self.pods, {"metadata": {"name": name}, "spec": spec})
        return f"{self.pods}/{name}"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served_proofs(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def old_door(api: Api, make_namespace: MakeNamespace) -> Door:
    return Door(api, make_namespace())


@pytest.fixture(scope="session")
def old_pod(old_door: Door) -> str:
    """Return the path of a Pod that was there before the policy, with an image volume."""
    return old_door.create("old", mounted("registry.example/other/model:1"))


@pytest.fixture(scope="session")
def door(old_door: Door, old_pod: str, kyverno: Any, api: Api, served: Served, keys: Keys) -> Door:
    """Install the policy with this key and registry; return once it is in force."""
    policy = yaml.safe_load(POLICY.read_text())
    (where,), (who,) = policy["spec"]["matchImageReferences"], policy["spec"]["attestors"]
    where["glob"] = where["glob"].replace("registry.example", served.address)
    who["cosign"]["key"]["data"] = keys.public.read_text()
    path = "/apis/policies.kyverno.io/v1/imagevalidatingpolicies"
    api.call("POST", path, policy)
    kyverno.wait(lambda: old_door.refusal(mounted("registry.example/other/model:1")))
    return old_door


@pytest.fixture(scope="session")
def image(served: Served, keys: Keys) -> str:
    return served.publish("models/small", keys.private)


@pytest.mark.parametrize("pod", [mounted, modelcar, early_modelcar])
def test_a_proven_model_is_admitted(door: Door, image: str, pod: Callable[[str], Json]) -> None:
    assert door.refusal(pod(image)) == ""


def test_a_pod_without_a_model_is_admitted(door: Door) -> None:
    assert door.refusal({"containers": [container("server", SERVER)]}) == ""


@pytest.mark.parametrize("pod", [mounted, modelcar, early_modelcar])
def test_an_unsigned_statement_is_refused(
    door: Door, served: Served, pod: Callable[[str], Json]
) -> None:
    unsigned = served.publish(f"models/unsigned/{pod.__name__}", None)
    assert "has signed no statement" in door.refusal(pod(unsigned))


def test_another_key_is_refused(door: Door, served: Served, tmp_path: Path) -> None:
    other = served.publish("models/stranger", make_keys(tmp_path).private)
    assert "has signed no statement" in door.refusal(mounted(other))


def test_an_image_that_mopt_did_not_publish_is_refused(
    door: Door, served: Served, image: str
) -> None:
    """One that is not there, one of elsewhere, and the index, of which nothing is stated."""
    absent = f"{served.address}/models/absent@{image.rpartition('@')[2]}"
    assert "UNKNOWN" in door.refusal(mounted(absent))
    elsewhere = f"registry.example/other/model@{image.rpartition('@')[2]}"
    assert "that mopt does not publish to" in door.refusal(mounted(elsewhere))
    index = served.registry.crane("digest", f"{image.partition('@')[0]}:latest").decode().strip()
    named = f"{image.partition('@')[0]}@{index}"
    assert "has signed no statement" in door.refusal(mounted(named))


def test_a_tag_is_refused(door: Door, image: str) -> None:
    tagged = f"{image.partition('@')[0]}:latest"
    assert "does not have a digest" in door.refusal(mounted(tagged))


@pytest.mark.parametrize(
    ("change", "because"),
    [
        (other_data, "it was measured on other data"),
        (missed_gate, "a gate did not hold"),
        (no_gates, "a gate did not hold, or there was none"),
        (too_far_from_it, "it has less than 35 dB"),
    ],
)
def test_what_was_stated_counts(
    door: Door,
    served: Served,
    keys: Keys,
    change: Callable[[], dict[str, Any]],
    because: str,
) -> None:
    found = served.publish(f"models/refused/{change.__name__}", keys.private, **change())
    assert because in door.refusal(mounted(found))


def test_a_better_statement_of_a_stranger_changes_nothing(
    door: Door, served: Served, keys: Keys, tmp_path: Path
) -> None:
    path = "models/refused/beside"
    ours = served.publish(path, keys.private, **missed_gate())
    # The same image again, with what a stranger says of it.
    again = Served(served.registry, tmp_path, served.environ)
    assert again.publish(path, make_keys(tmp_path / "keys").private) == ours
    assert "a gate did not hold" in door.refusal(mounted(ours))


def test_of_two_statements_of_ours_the_later_counts(
    door: Door, served: Served, keys: Keys, tmp_path: Path
) -> None:
    """Measured again, with another outcome: the registry lists what is attached in this order."""
    path = "models/refused/again"
    first = served.publish(path, keys.private)
    later = Served(served.registry, tmp_path / "later", served.environ)
    assert later.publish(path, keys.private, **missed_gate()) == first
    assert "a gate did not hold" in door.refusal(mounted(first))


def test_one_of_two_models_that_is_not_proven_is_refused(
    door: Door, served: Served, keys: Keys, image: str
) -> None:
    missed = served.publish("models/refused/second", keys.private, **missed_gate())
    both = mounted(image)
    both["volumes"].append({"name": "other", "image": {"reference": missed}})
    assert "a gate did not hold" in door.refusal(both)


def test_a_pod_that_runs_is_left_alone_until_its_images_change(
    door: Door, api: Api, old_pod: str, served: Served, image: str
) -> None:
    label = {"metadata": {"labels": {"changed": "yes"}}}
    assert api.call("PATCH", old_pod, label, "merge-patch+json")["metadata"]["labels"]
    running = door.create("running", modelcar(image))
    unsigned = served.publish("models/unsigned/later", None)
    changed = {"spec": {"containers": [{"name": "modelcar", "image": unsigned}]}}
    with pytest.raises(Refused, match="has signed no statement"):
        api.call("PATCH", running, changed, "strategic-merge-patch+json")


def what_a_bundle_says(content: bytes) -> Any:
    """Return what is verified of a bundle: all but the hint at the key and spellings of base64."""
    try:
        bundle = json.loads(content)
        bundle["verificationMaterial"]["publicKey"].pop("hint")
        envelope = bundle["dsseEnvelope"]
        envelope["payload"] = base64.b64decode(envelope["payload"], validate=True)
        for signature in envelope["signatures"]:
            signature["sig"] = base64.b64decode(signature["sig"], validate=True)
    except (ValueError, LookupError, TypeError, AttributeError, binascii.Error):
        return content
    return bundle


def damage_what_is_read(image: Published) -> None:
    """Flip a bit of the image's manifest or config, or of the statement or its manifest."""
    path, referrer = image.bundle(QUALITY_PREDICATE)
    manifest = image.folder.file(image.subject)
    config = json.loads(manifest.read_bytes())["config"]["digest"]
    statement = image.folder.file(referrer["layers"][0]["digest"])
    damaged = image.chance.choice([manifest, image.folder.file(config), path, statement])
    damaged.write_bytes(flip(damaged.read_bytes(), image.chance))


def flip_a_bit_of_the_statement_and_name_it_anew(image: Published) -> None:
    path, manifest = image.bundle(QUALITY_PREDICATE)
    content = image.content(manifest)
    changed = content
    while what_a_bundle_says(changed) == what_a_bundle_says(content):
        changed = flip(content, image.chance)
    image.replace(path, manifest, changed)


def turn_a_verdict(image: Published) -> None:
    def edit(predicate: dict[str, Any]) -> None:
        gate = image.chance.choice(predicate["quality"]["gates"])
        gate["verdict"] = image.chance.choice(["WARNED", "FAILED", "passed", ""])

    edit_statement(image, QUALITY_PREDICATE, edit)


KINDS = {
    "bytes": (damage_what_is_read, flip_a_bit_of_the_statement_and_name_it_anew),
    "gate values": (
        edit_a_gate_value,
        edit_a_gate_value,
        turn_a_verdict,
        sign_an_edited_value_with_another_key,
    ),
    "digests": (swap_a_digest, swap_a_digest, swap_two_digests, swap_the_subject),
}


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, keys: Keys) -> tuple[Folder, str]:
    scratch = tmp_path_factory.mktemp("original")
    folder = Folder(scratch / "layout")
    return folder, publish(folder, scratch / "files", keys.private)


class Changed:
    """What the door says of an image that was changed after it was signed."""

    def __init__(self, door: Door, served: Served, keys: Keys, folder: Path) -> None:
        self._door = door
        self._served = served
        self._keys = keys
        self._folder = folder

    def refusal(
        self, original: tuple[Folder, str], name: str, mutate: Callable[[Published], None]
    ) -> str:
        layout, subject = original
        folder = self._folder / name
        image = published((layout.path, subject), folder, self._keys, name)
        mutate(image)
        # A repository of its own: what Kyverno found once it takes as found for an hour.
        with self._served.holding(f"models/changed/{name}", image, layout) as reference:
            return self._door.refusal(mounted(reference))

    def admitted(self, original: tuple[Folder, str], kind: str, seeds: range) -> list[str]:
        """Return the mutations that are not refused."""
        found = []
        for seed in seeds:
            mutate = KINDS[kind][seed % len(KINDS[kind])]
            name = f"{mutate.__name__}-{seed}"
            if not self.refusal(original, name.lower(), mutate):
                found.append(name)
        return found


@pytest.fixture
def changed(door: Door, served: Served, keys: Keys, tmp_path: Path) -> Changed:
    return Changed(door, served, keys, tmp_path)


def test_what_is_unchanged_is_admitted(changed: Changed, original: tuple[Folder, str]) -> None:
    assert changed.refusal(original, "none", lambda _image: None) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_mutations_are_refused(changed: Changed, original: tuple[Folder, str], kind: str) -> None:
    assert changed.admitted(original, kind, range(EACH)) == []


@pytest.mark.mutations
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_mutations_are_refused(
    changed: Changed, original: tuple[Folder, str], kind: str
) -> None:
    assert changed.admitted(original, kind, range(EACH_IN_FULL)) == []

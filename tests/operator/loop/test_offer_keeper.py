"""What the leader does about profiles: those of its file, and the status of all."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mopt_operator.cluster.cache import Store
from mopt_operator.config.offers import Offer
from mopt_operator.config.settings import LeaderElection, Settings
from mopt_operator.errors import Conflict, NotFound, Refused, SettingsError, Unreachable
from mopt_operator.loop.offer_keeper import NODES_SECONDS, OfferKeeper, owner_of
from mopt_operator.loop.offers import Offers
from mopt_operator.loop.queue import WorkQueue
from mopt_operator.objects import Raw

Json = dict[str, Any]
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
LEASE = LeaderElection(namespace="mopt-system", name="mopt-leader")
OWNER = "mopt-system.mopt-leader"


class Profiles:
    """An API server's profiles and nodes.

    Attributes:
        calls: What was called, oldest first.
        fail: Errors by the name of what is called, or of the profile.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.machines: list[Json] = []
        self.calls: list[str] = []
        self.fail: dict[str, Exception] = {}
        self._version = 0

    def _called(self, call: str, name: str = "") -> None:
        self.calls.append(f"{call} {name}".strip())
        for failing in (call, name):
            if failing in self.fail:
                raise self.fail[failing]

    def put(self, name: str, spec: Json, labels: Json | None = None) -> Json:
        """Create or replace a profile, as somebody who may."""
        self._version += 1
        before = self.objects.get(name)
        changed = before is None or before["spec"] != spec
        generation = (before["metadata"]["generation"] if before else 0) + changed
        metadata = {"name": name, "uid": f"uid-{name}", "generation": generation}
        metadata |= {"labels": labels or {}, "resourceVersion": str(self._version)}
        status = before["status"] if before else {"observedGeneration": -1}
        self.objects[name] = {"metadata": metadata, "spec": spec, "status": status}
        return copy.deepcopy(self.objects[name])

    async def apply(self, name: str, spec: Json, owner: str) -> Raw:
        self._called("apply", name)
        return self.put(name, spec, {"mopt.dev/operator": owner})

    async def delete(self, offer: Offer) -> None:
        self._called("delete", offer.name)
        del self.objects[offer.name]

    async def write_status(self, offer: Offer, status: Json) -> Raw:
        self._called("status", offer.name)
        found = self.objects[offer.name]
        if found["metadata"]["resourceVersion"] != offer.version:
            raise Conflict(409, "Conflict", offer.name)
        self._version += 1
        found["status"] = status
        found["metadata"]["resourceVersion"] = str(self._version)
        return copy.deepcopy(found)

    async def nodes(self) -> AsyncIterator[Raw]:
        self._called("nodes")
        for machine in self.machines:
            yield machine

    async def try_job(self, manifest: Raw) -> Raw:
        self._called("try", manifest["metadata"]["labels"]["mopt.dev/profile"])
        return manifest

    def said(self, name: str) -> tuple[str, str, int | None]:
        """Return status and reason of Valid, and how many nodes there are."""
        status = self.objects[name]["status"]
        (valid,) = status["conditions"]
        return valid["status"], valid["reason"], status.get("nodes")


def machine(**labels: str) -> Json:
    return {"metadata": {"name": "n", "labels": labels}, "spec": {}, "status": {}}


class Scene:
    """A keeper with a file of profiles.

    Attributes:
        time: On the clock of time.monotonic.
    """

    def __init__(self, file: Path) -> None:
        self.cluster, self.store, self.time = Profiles(), Store(offers=True), 0.0
        self.file = file
        settings = Settings(
            optimizer_image="mopt/optimizer:test",
            profile_objects=True,
            profiles_file=str(file),
            leader_election=LEASE,
        )
        self.offers = Offers(
            settings, store=self.store, queue=WorkQueue(), use=lambda _settings: None
        )
        self.keeper = OfferKeeper(
            self.cluster,
            self.cluster,
            self.offers,
            store=self.store,
            clock=lambda: NOW,
            monotonic=lambda: self.time,
        )

    def write(self, **profiles: Json) -> None:
        self.file.write_text(json.dumps(profiles))

    def watch(self) -> None:
        """Let the watch show what there is."""
        for offer in tuple(self.store.offers):
            if offer.name not in self.cluster.objects:
                self.store.offers.forget(offer)
        for raw in self.cluster.objects.values():
            self.store.offers.put(copy.deepcopy(raw))
        self.offers.look()

    async def keep(self) -> list[str]:
        """Do what there is to do; return what was called."""
        self.cluster.calls.clear()
        await self.keeper.apply()
        await self.keeper.report()
        self.watch()
        return self.cluster.calls.copy()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "profiles.json")


async def test_profiles_of_the_file_become_objects_and_may_be_used(scene: Scene) -> None:
    scene.write(default={}, l4={"nodeSelector": {"gpu": "l4"}, "image": None})
    scene.cluster.machines = [machine(gpu="l4"), machine(gpu="l4"), machine()]
    assert await scene.keep() == [
        "apply default",
        "apply l4",
        "try default",
        "try l4",
        "status default",
        "status l4",
        "nodes",
        "status default",
        "status l4",
    ]
    assert scene.cluster.objects["l4"]["spec"] == {"nodeSelector": {"gpu": "l4"}}
    assert scene.cluster.said("default") == ("True", "JobsAccepted", 3)
    assert scene.cluster.said("l4") == ("True", "JobsAccepted", 2)
    assert sorted(scene.offers.settings.profiles) == ["default", "l4"]
    # A second look does nothing.
    assert await scene.keep() == []


async def test_change_of_the_file_changes_what_it_changes(scene: Scene) -> None:
    scene.write(default={}, l4={}, t4={})
    await scene.keep()
    scene.write(default={}, l4={"maxRunning": 2})
    called = await scene.keep()
    assert called[:3] == ["apply l4", "delete t4", "try l4"]
    assert scene.offers.settings.profiles["l4"].max_running == 2
    assert sorted(scene.offers.settings.profiles) == ["default", "l4"]


async def test_what_others_made_and_edit_is_theirs(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.cluster.put("l4", {"maxRunning": 7})
    scene.cluster.put("other", {}, {"mopt.dev/operator": "elsewhere.mopt-leader"})
    scene.watch()
    scene.write(default={}, l4={})
    assert [call for call in await scene.keep() if call.startswith("apply")] == ["apply default"]
    assert "OptimizationProfile l4 stays as it is" in caplog.text
    assert f"mopt.dev/operator={OWNER}" in caplog.text
    scene.cluster.put("default", {"maxRunning": 3}, {"mopt.dev/operator": OWNER})
    scene.watch()
    assert not [call for call in await scene.keep() if call.startswith(("apply", "delete"))]
    assert {
        name: scene.offers.settings.profiles[name].max_running for name in ("default", "l4")
    } == {
        "default": 3,
        "l4": 7,
    }
    assert scene.cluster.said("other")[0] == "True"


async def test_what_was_deleted_by_hand_comes_back(scene: Scene) -> None:
    scene.write(default={})
    await scene.keep()
    del scene.cluster.objects["default"]
    scene.watch()
    assert scene.offers.settings.profiles == {}
    assert (await scene.keep())[0] == "apply default"
    assert "default" in scene.offers.settings.profiles


async def test_what_others_made_can_be_handed_over(scene: Scene) -> None:
    scene.cluster.put("l4", {"maxRunning": 7}, {"mopt.dev/operator": "elsewhere.mopt-leader"})
    scene.watch()
    scene.write(default={}, l4={})
    await scene.keep()
    scene.cluster.put("l4", {"maxRunning": 7}, {"mopt.dev/operator": OWNER})
    scene.watch()
    assert (await scene.keep())[0] == "apply l4"
    assert scene.offers.settings.profiles["l4"].max_running is None
    assert await scene.keep() == []


async def test_one_that_the_api_server_refuses_keeps_no_other_away(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.cluster.fail["l4"] = Refused(422, "Invalid", "spec.maxRunning: should be 1 or more")
    scene.write(l4={"maxRunning": 0}, default={})
    await scene.keep()
    assert "refuses OptimizationProfile l4: 422 Invalid: spec.maxRunning" in caplog.text
    assert list(scene.offers.settings.profiles) == ["default"]
    # It is tried again once it says something else.
    assert await scene.keep() == []
    scene.cluster.fail.clear()
    scene.write(l4={}, default={})
    assert (await scene.keep())[0] == "apply l4"


async def test_file_that_cannot_be_read_changes_nothing(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.file.write_text("[]")
    with pytest.raises(SettingsError):
        await scene.keeper.apply()
    scene.write(default={})
    await scene.keep()
    scene.file.write_text("[]")
    assert await scene.keep() == []
    assert "The profiles stay as they were" in caplog.text


INVALID = Refused(422, "Invalid", 'Job.batch "profile" is invalid: spec.template.spec: no')


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (INVALID, ("False", "JobsRefused", 0)),
        (Refused(403, "Forbidden", "exceeded quota: jobs"), ("True", "NotTried", 0)),
        (Unreachable("no answer"), ("True", "NotTried", 0)),
    ],
)
async def test_api_server_judges_its_jobs(
    scene: Scene, error: Exception, said: tuple[str, str, int]
) -> None:
    scene.write(default={}, l4={})
    scene.cluster.fail["try"] = error
    await scene.keep()
    assert scene.cluster.said("l4") == said
    assert ("l4" in scene.offers.settings.profiles) is (said[0] == "True")
    # An edit is judged anew; what could not be tried is tried again with the next count.
    scene.cluster.fail.clear()
    assert await scene.keep() == []
    scene.time += NODES_SECONDS
    tried = "try l4" in await scene.keep()
    assert tried is (said[1] == "NotTried")
    scene.write(default={}, l4={"maxRunning": 1})
    assert "try l4" in await scene.keep()
    assert scene.cluster.said("l4") == ("True", "JobsAccepted", 0)


async def test_api_server_that_leaves_devices_out_is_told_of(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def without(manifest: Raw) -> Raw:
        stored = copy.deepcopy(manifest)
        stored["spec"]["template"]["spec"].pop("resourceClaims", None)
        return stored

    monkeypatch.setattr(scene.cluster, "try_job", without)
    claims = [{"name": "gpu", "resourceClaimTemplateName": "l4", "kind": "GPU"}]
    scene.write(default={}, dra={"resourceClaims": claims})
    await scene.keep()
    assert scene.cluster.said("default")[:2] == ("True", "JobsAccepted")
    assert scene.cluster.said("dra")[:2] == ("False", "JobsRefused")


async def test_wrong_field_is_told_without_a_trial(scene: Scene) -> None:
    scene.write(default={}, l4={"podLabels": {"job-name": "a"}})
    called = await scene.keep()
    assert "try l4" not in called
    assert scene.cluster.said("l4") == ("False", "InvalidField", None)
    assert scene.offers.settings.refusal_of("l4")


async def test_what_comes_while_statuses_are_written_is_tried_first(scene: Scene) -> None:
    scene.write(default={})
    await scene.keep()
    scene.cluster.machines = [machine()]
    scene.time += NODES_SECONDS
    listed = scene.cluster.nodes

    async def nodes() -> AsyncIterator[Raw]:
        async for raw in listed():
            scene.cluster.put("late", {})
            scene.watch()
            yield raw

    scene.cluster.nodes = nodes  # type: ignore[method-assign]
    await scene.keep()
    assert "conditions" not in scene.cluster.objects["late"]["status"]
    scene.cluster.nodes = listed  # type: ignore[method-assign]
    await scene.keep()
    assert scene.cluster.said("late") == ("True", "JobsAccepted", 1)


async def test_nodes_are_counted_now_and_then_and_after_an_edit(scene: Scene) -> None:
    scene.write(default={})
    await scene.keep()
    scene.cluster.machines = [machine(pool="a"), machine()]
    assert await scene.keep() == []
    scene.time += NODES_SECONDS
    assert await scene.keep() == ["nodes", "status default"]
    assert scene.cluster.said("default")[2] == 2
    scene.write(default={"nodeSelector": {"pool": "a"}})
    assert "nodes" in await scene.keep()
    assert scene.cluster.said("default")[2] == 1


async def test_new_leader_keeps_the_count_until_it_has_its_own(scene: Scene) -> None:
    scene.write(default={})
    scene.cluster.machines = [machine()]
    await scene.keep()
    successor = Scene(scene.file)
    successor.cluster = scene.cluster
    successor.keeper = OfferKeeper(
        scene.cluster,
        scene.cluster,
        successor.offers,
        store=successor.store,
        clock=lambda: NOW,
        monotonic=lambda: 0.0,
    )
    successor.watch()
    assert await successor.keep() == ["apply default", "try default", "nodes"]


async def test_nodes_that_may_not_be_listed_are_not_counted(scene: Scene) -> None:
    scene.cluster.fail["nodes"] = Refused(403, "Forbidden", "nodes is forbidden")
    scene.write(default={})
    await scene.keep()
    assert scene.cluster.said("default") == ("True", "JobsAccepted", None)
    assert await scene.keep() == []


@pytest.mark.parametrize(
    "error", [NotFound(404, "NotFound", "gone"), Conflict(409, "Conflict", "changed")]
)
async def test_lost_race_is_left_to_the_watch(scene: Scene, error: Exception) -> None:
    scene.write(default={})
    scene.cluster.fail["status"] = error
    await scene.keep()
    scene.cluster.fail.clear()
    await scene.keep()
    assert scene.cluster.said("default")[0] == "True"


@pytest.mark.parametrize(
    ("lease", "owner"),
    [
        (None, "mopt"),
        (LEASE, OWNER),
        (
            LeaderElection(namespace="n" * 63, name="mopt"),
            f"{'n' * 52}-",
        ),
    ],
)
def test_owner_is_a_label_value(
    settings: Settings, lease: LeaderElection | None, owner: str
) -> None:
    value = owner_of(settings.model_copy(update={"leader_election": lease}))
    assert value.startswith(owner)
    assert len(value) <= 63

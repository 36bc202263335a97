"""History of selections."""

from __future__ import annotations

from typing import Any

from operator_world import MakeWorld, World


def gate(minimum: float) -> list[dict[str, Any]]:
    return [{"metric": "PSNR", "minimum": minimum}]


def test_selection_is_recorded_with_what_a_rollback_needs(world: World) -> None:
    world.run()
    (target,) = world.status["targets"]
    assert world.status["history"] == [
        {
            "target": "default",
            "selected": "openvino-bf16",
            "artifact": target["variants"][1]["artifact"]["digest"],
            "uri": target["variants"][1]["artifact"]["uri"],
            "report": target["report"]["digest"],
            "generation": 1,
            "time": "2026-11-01T12:00:00Z",
        }
    ]


def test_last_three_selections_are_kept_newest_first(world: World) -> None:
    world.run()
    for minimum in (39, 60, 40, 150):
        world.sleep(60)
        world.edit(quality=gate(minimum))
        world.settle()
    assert [(r["selected"], r["generation"]) for r in world.status["history"]] == [
        ("baseline", 5),
        ("openvino-bf16", 4),
        ("onnxruntime-fp32", 3),
    ]
    assert (
        world.status["history"][0]["artifact"] == f"sha256:{world.raw['spec']['model']['sha256']}"
    )


def test_same_winner_measured_again_adds_nothing(world: World) -> None:
    world.run()
    history = world.status["history"]
    world.sleep(60)
    world.request("again")
    world.run(result="second")
    assert world.status["history"] == history


def test_no_winner_adds_nothing_and_failures_forget_nothing(world: World) -> None:
    world.run()
    history = world.status["history"]
    world.edit(quality=gate(150), objective={"onNoWinner": "Fail"})
    world.settle()
    assert world.said()["Stalled"] == ("True", "NoVariantPassed")
    assert world.status["history"] == history
    world.edit(targets=[{"name": "default", "profile": "unknown"}])
    world.settle()
    assert world.said()["Stalled"] == ("True", "InvalidSpec")
    assert world.status["history"] == history


def test_targets_have_each_their_own_history(make_world: MakeWorld) -> None:
    world = make_world(targets=[{"name": "a"}, {"name": "b"}])
    world.run(("a", "b"))
    assert [r["target"] for r in world.status["history"]] == ["b", "a"]

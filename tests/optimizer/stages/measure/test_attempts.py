"""What a Job's next Pod makes of the record that a dead one left."""

from __future__ import annotations

from pathlib import Path

import pytest

from mopt_api.figures import VariantReason
from mopt_optimizer.errors import VariantFailure
from mopt_optimizer.stages.measure.attempts import NEAR_LIMIT, Attempts, Blame, Record, after_death
from mopt_optimizer.store.folder import FileStore

UID = "0b5e9c1e-4a52-4c4e-9f5e-0b6f0f3a7d11"


def quiet(step: str, message: str, **fields: object) -> None:
    """A log that nobody reads."""


def attempts(folder: Path, uid: str | None = UID) -> Attempts:
    return Attempts(FileStore(folder), "runs/a", uid, quiet)


def left(folder: Path) -> Record:
    return Record.model_validate_json((folder / "runs/a/attempts" / f"{UID}.json").read_text())


def test_a_pod_that_ended_in_order_is_blamed_for_nothing() -> None:
    record = Record(deaths={"a": 1}, alone=["a"])
    assert after_death(record) is record


def test_a_first_death_is_counted_and_the_variant_runs_by_itself() -> None:
    after = after_death(Record(working=["a"], memory_share=NEAR_LIMIT - 0.01))
    assert after == Record(deaths={"a": 1}, alone=["a"])


def test_a_death_with_memory_nearly_full_is_enough() -> None:
    after = after_death(Record(working=["a"], memory_share=0.93))
    assert (after.working, after.memory_share) == ([], 0.0)
    assert after.failed["a"].reason is VariantReason.OUT_OF_MEMORY
    assert "93% or more of its memory limit" in after.failed["a"].message


def test_a_second_death_fails_it_and_leaves_the_others_alone() -> None:
    before = Record(working=["a"], deaths={"a": 1, "b": 1}, alone=["a", "b"])
    after = after_death(before)
    assert after.failed == {
        "a": Blame(
            reason=VariantReason.CRASHED,
            message="the container was killed 2 times while it was at work",
        )
    }
    assert after.deaths == {"a": 2, "b": 1}


def test_of_several_at_work_none_is_blamed_yet() -> None:
    after = after_death(Record(working=["b", "a"], memory_share=0.95, alone=["c"]))
    assert after == Record(alone=["a", "b", "c"])


def test_the_record_names_who_is_at_work_and_nobody_afterwards(tmp_path: Path) -> None:
    record = attempts(tmp_path)
    with record.working("a", "b"):
        assert left(tmp_path).working == ["a", "b"]
    assert left(tmp_path) == Record()
    assert not record.alone("a")


@pytest.mark.parametrize("end", [SystemExit(143), VariantFailure(VariantReason.CRASHED, "x")])
def test_an_orderly_end_counts_for_nothing(tmp_path: Path, end: BaseException) -> None:
    """SIGTERM, an eviction, unwinds as SystemExit."""
    with pytest.raises(type(end)), attempts(tmp_path).working("a"):
        raise end
    after = attempts(tmp_path)
    assert after.failure("a") is None
    assert not after.alone("a")


def test_a_death_is_told_to_the_next_pod_once(tmp_path: Path) -> None:
    first = attempts(tmp_path)
    with first.working("a"):
        second = attempts(tmp_path)  # As if the first was gone.
        assert second.alone("a")
        assert second.failure("a") is None
        third = attempts(tmp_path)
        assert third.failure("a") is None, "nobody was at work when the second went"
        with third.working("a"):
            fourth = attempts(tmp_path)
    failure = fourth.failure("a")
    assert failure is not None
    assert failure.reason is VariantReason.CRASHED


def test_memory_is_recorded_once_it_nears_the_limit(tmp_path: Path) -> None:
    record = attempts(tmp_path)
    told = iter([0.5, NEAR_LIMIT, 0.99, None])
    watched = record.watching(lambda: next(told))
    with record.working("a"):
        assert watched() == 0.5
        assert left(tmp_path).memory_share == 0
        assert (watched(), watched(), watched()) == (NEAR_LIMIT, 0.99, None)
        record._join()
        assert left(tmp_path).memory_share == NEAR_LIMIT
    assert left(tmp_path) == Record()


def test_memory_of_nobody_at_work_is_not_recorded(tmp_path: Path) -> None:
    record = attempts(tmp_path)
    assert record.watching(lambda: 0.99)() == 0.99
    record._join()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("uid", [None, "", "../../elsewhere"])
def test_outside_a_job_nothing_is_written(tmp_path: Path, uid: str | None) -> None:
    with attempts(tmp_path, uid).working("a"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", '{"working": 7}', "x" * 100_000])
def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "runs/a/attempts" / f"{UID}.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert attempts(tmp_path).failure("a") is None

"""What kopf does not keep."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import kopf

from mopt_operator.loop.watches import Forgetful, kopf_settings


async def test_no_notes_are_kept_of_an_object() -> None:
    memories = Forgetful()
    raw: Any = {"metadata": {"uid": "1"}}
    first = await memories.recall(raw, noticed_by_listing=True, memobase=kopf.Memo())
    kept = weakref.ref(first)
    assert not list(memories.iter_all_memories())
    await memories.forget(raw)
    del first
    gc.collect()
    assert kept() is None


def test_no_copy_of_an_object_is_made() -> None:
    persistence = kopf_settings().persistence
    body = kopf.Body({"metadata": {"uid": "1"}, "spec": {"large": [1]}})
    essence = persistence.diffbase_storage.build(body=body, extra_fields=None)
    assert persistence.progress_storage.clear(essence=essence) == {}
    assert persistence.diffbase_storage.fetch(body=body) is None

"""Every behaviour of a hostile program, by its name."""

from __future__ import annotations

import attacker_answers
import attacker_bombs
from attacker_scene import BEHAVIOURS, Scene

__all__ = ["BEHAVIOURS", "Scene"]

assert attacker_answers.answer is BEHAVIOURS["answer"]
assert attacker_bombs.busy is BEHAVIOURS["busy"]

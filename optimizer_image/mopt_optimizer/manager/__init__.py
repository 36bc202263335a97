"""Keeps several forms of a model and loads the one that fits this machine."""

from __future__ import annotations

from mopt_optimizer.machine.facts import Machine, this_machine

from .choosing import FALLBACKS, Attempt, Optimization, Outcome
from .loaded import LoadedModel
from .managing import ModelManager, load_optimized_model
from .manifest import Form, FormFile, Manifest, Needs, Verdict

__all__ = [
    "FALLBACKS",
    "Attempt",
    "Form",
    "FormFile",
    "LoadedModel",
    "Machine",
    "Manifest",
    "ModelManager",
    "Needs",
    "Optimization",
    "Outcome",
    "Verdict",
    "load_optimized_model",
    "this_machine",
]

"""Processes for bytes that are not trusted: no store credentials, local files only.

The parent holds the credentials and does all store I/O. It starts a child (child.py), asks it
typed questions, bounds and watches it, and ends it with all that it started. The child's first code
(start_child) encloses it (confinement); server.py answers each question with JSON or with a typed
error. Everything that opens a model is such a child: what
prepare makes, each variant that is measured, engines, descriptions and comparisons.
"""

from __future__ import annotations

from mopt_optimizer.confinement.privileges import hide_environment

from .child import Child, ChildDied, answered, run_child
from .environ import child_environ
from .made import copy_made, made_file, open_made
from .removing import remove, temporary_folder
from .reports import report_of
from .server import Handler, serve

__all__ = [
    "Child",
    "ChildDied",
    "Handler",
    "answered",
    "child_environ",
    "copy_made",
    "hide_environment",
    "made_file",
    "open_made",
    "remove",
    "report_of",
    "run_child",
    "serve",
    "temporary_folder",
]

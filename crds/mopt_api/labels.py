"""What marks the Jobs and Pods of a ModelOptimization."""

from .base import GROUP

LABEL_NAME = f"{GROUP}/name"
LABEL_UID = f"{GROUP}/uid"
LABEL_STAGE = f"{GROUP}/stage"
"""Prepare, Measure or Report, in lowercase."""
LABEL_TARGET = f"{GROUP}/target"
"""Only where the stage works for one target."""
LABEL_PROFILE = f"{GROUP}/profile"
"""The administrator's profile that the Job runs with."""
CONTAINER = "optimizer"
"""The container whose log and end count."""

MAX_REQUESTED_AT = 128
"""How much of the annotation requestedAt counts: what status.lastHandledReconcileAt may hold."""

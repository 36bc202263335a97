"""Networks that are trained here for minutes, on digits that scikit-learn carries.

A classifier, a detector, a recurrent network and a vision transformer: models whose answers are
right or wrong, so that a gate can be the task itself, and whose weights are in no repository.
"""

from __future__ import annotations

from .building import FACTS, built, network_in
from .tasks import TASKS

__all__ = ["FACTS", "TASKS", "built", "network_in"]

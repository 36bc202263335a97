"""The rules of the operator's roles, written out by hand beside what its modules list."""

from __future__ import annotations

from typing import Any

# What operator/mopt_operator/cluster/api.py lists.
RULES: list[dict[str, Any]] = [
    {
        "apiGroups": ["mopt.dev"],
        "resources": ["modeloptimizations"],
        "verbs": ["get", "list", "watch"],
    },
    {"apiGroups": ["mopt.dev"], "resources": ["modeloptimizations/status"], "verbs": ["update"]},
    {
        "apiGroups": ["batch"],
        "resources": ["jobs"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["list", "create"]},
    {"apiGroups": ["kueue.x-k8s.io"], "resources": ["workloads"], "verbs": ["list"]},
]
# What operator/mopt_operator/cluster/offers.py lists.
PROFILE_RULES: list[dict[str, Any]] = [
    {
        "apiGroups": ["mopt.dev"],
        "resources": ["optimizationprofiles"],
        "verbs": ["get", "list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": ["mopt.dev"], "resources": ["optimizationprofiles/status"], "verbs": ["patch"]},
    {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
]
# What operator/mopt_operator/cluster/election.py lists.
LEASE_RULES: list[dict[str, Any]] = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "verbs": ["get", "create", "update"],
    },
]

"""Metrics of the comparisons with the cluster."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0)


class ResyncMetrics:
    """What the comparisons cost and found.

    Attributes:
        seconds: What each took.
        failures: Those of the cluster or a namespace that failed.
        at: When all was last listed or compared.
        missed: Resources for which one found a change that the watches had not shown.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "mopt_resync_duration_seconds",
            "Duration of a comparison with the cluster.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.failures = Counter(
            "mopt_resync_failures",
            "Comparisons with the cluster, or with a namespace, that failed.",
            registry=registry,
        )
        self.at = Gauge(
            "mopt_resync_timestamp_seconds",
            "When all was last listed or compared, in seconds of the epoch.",
            registry=registry,
        )
        self.missed = Counter(
            "mopt_watch_missed",
            "Resources for which a comparison with the cluster found what no watch had shown.",
            registry=registry,
        )

"""Metrics of the calls to the API server; counted in any thread."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

_BUCKETS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0)


class CallMetrics:
    """Counts the operator's requests, as client-go's rest_client_requests_total does.

    The watches, which are kopf's and take minutes each, are not among them.
    """

    def __init__(self) -> None:
        self._requests = Counter(
            "mopt_api_requests",
            "Requests to the API server by HTTP method and status; <error> where no answer came.",
            ("method", "code"),
            registry=None,
        )
        self._seconds = Histogram(
            "mopt_api_request_duration_seconds",
            "Duration of requests to the API server.",
            ("method",),
            buckets=_BUCKETS,
            registry=None,
        )
        self._listed = Counter(
            "mopt_api_list_bytes",
            "Bytes of JSON in the API server's answers to lists, unpacked, by what is listed.",
            ("kind",),
            registry=None,
        )

    def register(self, registry: CollectorRegistry) -> None:
        """Have them shown with others."""
        registry.register(self._requests)
        registry.register(self._seconds)
        registry.register(self._listed)

    def asked(self, method: str, code: str, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(method, code).inc()
        self._seconds.labels(method).observe(seconds)

    def listed(self, kind: str, size: int) -> None:
        """Count a page of a list.

        Args:
            kind: The plural of what is listed.
        """
        self._listed.labels(kind).inc(size)

"""What can be counted, and the counter that counts nothing. Airflow's is in the hooks."""

from __future__ import annotations

from typing import Protocol

JOBS_WATCHED = "ray.jobs_watched"
"""Gauge: jobs that this process watches."""

REQUESTS = "ray.requests"
"""Counter: requests sent to clusters."""

OUTAGES = "ray.outages"
"""Counter: times that a cluster became unreachable."""

LOG_BYTES = "ray.log_bytes"
"""Counter: bytes of jobs' logs read."""

END_DELAY = "ray.end_delay"
"""Timer: from a job's end, by the cluster's clock, to our knowing it."""

SUBMISSIONS_NEW = "ray.submissions_new"
"""Counter: jobs that a task started."""

SUBMISSIONS_ADOPTED = "ray.submissions_adopted"
"""Counter: jobs that a task found running or ended, and took over."""


class Metrics(Protocol):
    """Takes figures. None of its methods may block or raise."""

    def count(self, name: str, value: int = 1) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""

    def timing(self, name: str, seconds: float) -> None:
        """Add to a timer."""


class NoMetrics:
    """Drops all figures."""

    def count(self, name: str, value: int = 1) -> None:
        """Drop it."""

    def gauge(self, name: str, value: float) -> None:
        """Drop it."""

    def timing(self, name: str, seconds: float) -> None:
        """Drop it."""


NO_METRICS: Metrics = NoMetrics()

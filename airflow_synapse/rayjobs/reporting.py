"""To whom we report: a logger, a taker of log lines, and a counter. Airflow's are above, handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Emit = Callable[[Sequence[str]], None]
"""Takes the next lines of a job's log. Called on an event loop, so it has to be quick."""

UploadProgress = Callable[[int, int], None]
"""Takes how many bytes of a package were sent, and how many there are. It has to be quick."""

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


class Logger(Protocol):
    """What of a logger is used here: a standard one or structlog's will do."""

    def debug(self, msg: str, /, *args: Any) -> Any:
        """Tell what only a developer asks for."""

    def info(self, msg: str, /, *args: Any) -> Any:
        """Tell a change."""

    def warning(self, msg: str, /, *args: Any) -> Any:
        """Tell what a user should look at."""

    def error(self, msg: str, /, *args: Any) -> Any:
        """Tell what a user has to act on."""


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

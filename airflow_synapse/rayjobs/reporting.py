"""Where logs, log lines, progress and metrics go. Callers pass these in, so that no Airflow is needed here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Emit = Callable[[Sequence[str]], None]
"""Receives the next lines of a job's log. It is called on an event loop, so it must be quick."""

UploadProgress = Callable[[int, int], None]
"""Receives how many bytes of a package were sent, and how many there are. It must be quick."""

JOBS_WATCHED = "ray.jobs_watched"
"""Gauge: jobs that this process watches."""

REQUESTS = "ray.requests"
"""Counter: requests sent to clusters."""

OUTAGES = "ray.outages"
"""Counter: how often a cluster became unreachable."""

LOG_BYTES = "ray.log_bytes"
"""Counter: bytes that were read from jobs' logs."""

END_DELAY = "ray.end_delay"
"""Timer: from a job's end, by the cluster's clock, until we noticed it."""

SUBMISSIONS_NEW = "ray.submissions_new"
"""Counter: jobs that a task started."""

SUBMISSIONS_ADOPTED = "ray.submissions_adopted"
"""Counter: jobs that a task took over from an earlier try."""

ORPHANS_STOPPED = "ray.orphans_stopped"
"""Counter: jobs that were stopped because nobody wanted them any more."""


class Logger(Protocol):
    """The methods of a logger that we use. A standard logger has them, and so has structlog's."""

    def debug(self, msg: str, /, *args: Any) -> Any:
        """Log what only a developer wants to know."""

    def info(self, msg: str, /, *args: Any) -> Any:
        """Log a change."""

    def warning(self, msg: str, /, *args: Any) -> Any:
        """Log what a user should look at."""

    def error(self, msg: str, /, *args: Any) -> Any:
        """Log what a user must act on."""


class Metrics(Protocol):
    """Receives metrics. None of its methods may block or raise."""

    def count(self, name: str, value: int = 1) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""

    def timing(self, name: str, seconds: float) -> None:
        """Add to a timer."""


class NoMetrics:
    """Drops all metrics."""

    def count(self, name: str, value: int = 1) -> None:
        """Drop it."""

    def gauge(self, name: str, value: float) -> None:
        """Drop it."""

    def timing(self, name: str, seconds: float) -> None:
        """Drop it."""


NO_METRICS: Metrics = NoMetrics()

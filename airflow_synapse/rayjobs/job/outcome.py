"""Says how the watch of a job ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    ExecutionError,
    RayClusterGoneError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs.job.failures import error_of
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.rayjobs.waiting.reasons import Reason

TIMEOUT = "TIMEOUT"
NOT_FOUND = "NOT_FOUND"
UNREACHABLE = "UNREACHABLE"
ERROR = "ERROR"

_STATUSES: tuple[tuple[type[AirflowSynapseError], str], ...] = (
    (RayJobTimeoutError, TIMEOUT),
    (RayJobNotFoundError, NOT_FOUND),
    (RayClusterGoneError, NOT_FOUND),
    (RayClusterUnreachableError, UNREACHABLE),
)


@dataclass(frozen=True)
class Outcome:
    """How the watch of a job ended: it saw the job end, or something kept it from seeing that.

    :param job_id: The job, empty if not even that is known.
    :param cluster: Its cluster's address.
    :param info: The job as it ended, None if its end was not seen.
    :param failure: Why its end was not seen.
    :param last_lines: The last lines of its log.
    :param document: ``{"result": …}`` with what the job's action returned, None if it was not read.
    :param waited_for: Why it waited to be started when it was last seen waiting, if anything told.
    :param page: The job's page in the Ray dashboard.
    """

    job_id: str
    cluster: str = ""
    info: JobInfo | None = None
    failure: AirflowSynapseError | None = None
    last_lines: tuple[str, ...] = ()
    document: dict[str, Any] | None = None
    page: str | None = None
    waited_for: Reason | None = None

    @classmethod
    def of_failure(cls, error: Exception, *, job_id: str, cluster: str | None) -> Outcome:
        """Return the outcome of a watch that could not continue, whatever broke it."""
        if not isinstance(error, AirflowSynapseError):
            error = ExecutionError(
                job_id=job_id, cluster=cluster, reason=f"can't be watched: {error!r}".rstrip(".")
            )
        return cls(job_id, cluster or "", failure=error)

    @property
    def status(self) -> str:
        """The status in which the job ended or, if nobody saw it end, the reason.

        The reason is :data:`TIMEOUT`, :data:`NOT_FOUND`, :data:`UNREACHABLE` or :data:`ERROR`.
        """
        if self.info is not None:
            return self.info.status
        return next((s for kind, s in _STATUSES if isinstance(self.failure, kind)), ERROR)

    def error(self) -> AirflowSynapseError | None:
        """Return the error for this outcome, None if the job SUCCEEDED."""
        if self.info is None:
            return self.failure
        return error_of(
            self.info,
            cluster=self.cluster,
            last_lines=self.last_lines,
            waited_for=self.waited_for,
        )

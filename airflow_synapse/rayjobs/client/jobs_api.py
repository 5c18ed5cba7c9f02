"""The requests about jobs that a cluster answers, and the one place that chooses how to send them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from anyio import fail_after

from airflow_synapse.exceptions import RayClusterUnreachableError
from airflow_synapse.rayjobs.client.answers import ClusterClock, error_of_answer
from airflow_synapse.rayjobs.client.budget import REQUESTS_PER_SECOND, Lane, RequestBudget
from airflow_synapse.rayjobs.client.credentials.pace import USUAL_PACE, CredentialPace
from airflow_synapse.rayjobs.client.credentials.refusals import RefusalAccount
from airflow_synapse.rayjobs.client.dashboard import DashboardApi
from airflow_synapse.rayjobs.client.kubernetes.answers import error_of_proxied_answer
from airflow_synapse.rayjobs.client.kubernetes.pods import Pods
from airflow_synapse.rayjobs.client.session import Session, Understand
from airflow_synapse.rayjobs.models import JobInfo, JobSpec, RayCluster
from airflow_synapse.rayjobs.reporting import NO_METRICS, Metrics, UploadProgress

T = TypeVar("T")


class JobsApi(Protocol):
    """One cluster's Jobs API, asked over one session.

    Use it as an async context manager, or call :meth:`close`. All methods raise
    :class:`RayClusterUnreachableError` if another try may succeed,
    :class:`~airflow_synapse.exceptions.RayAuthenticationError` if the credentials are refused and
    :class:`~airflow_synapse.exceptions.RayAddressError` if only a person can fix the address.
    """

    @property
    def cluster(self) -> RayCluster:
        """The cluster that is asked."""

    @property
    def budget(self) -> RequestBudget:
        """The budget that all requests to the cluster on this event loop share."""

    @property
    def refusals(self) -> RefusalAccount:
        """Whether the cluster accepts our credentials, for who wants to be told."""

    @property
    def clock(self) -> ClusterClock:
        """The cluster's clock."""

    def in_lane(self, lane: Lane) -> JobsApi:
        """Return the same API with requests that count for another lane. It shares the session."""

    async def __aenter__(self) -> JobsApi: ...

    async def __aexit__(self, *error: object) -> None: ...

    async def close(self) -> None:
        """Close the connections. May be called twice."""

    # Jobs

    async def get_version(self) -> Mapping[str, Any]:
        """Return the cluster's answer to ``GET /api/version``, with ``ray_version``."""

    async def get_state(
        self, path: str, query: Sequence[tuple[str, str]], *, timeout: float, most: int
    ) -> Any:
        """Return the JSON that one of the routes about the state of the cluster is answered with.

        :param timeout: Seconds.
        :param most: The most bytes that are read of it.
        """

    async def get_info(self, job_id: str, *, timeout: float | None = None) -> JobInfo:
        """Return what the cluster knows about the job.

        :param timeout: Seconds, by default the cluster's ``request_timeout``.
        :raises RayJobNotFoundError: if it does not know the job.
        """

    async def find_info(self, job_id: str, *, timeout: float | None = None) -> JobInfo | None:
        """Return what the cluster knows about the job; None if it does not know it."""

    async def list_jobs(self) -> list[JobInfo]:
        """Return all submission jobs that the cluster remembers."""

    async def list_infos(self, wanted: Collection[str]) -> tuple[dict[str, JobInfo], float]:
        """Return what the list of all jobs says about some of them, and the seconds that the head node took.

        Many thousands of rows are read without blocking the event loop.

        :raises RayClusterUnreachableError: also if the list is too large to be worth it.
        """

    async def list_active(self, metadata: Mapping[str, str]) -> list[JobInfo]:
        """Return the jobs that have not ended and have these metadata among theirs.

        Many thousands of rows are read without blocking the event loop.
        """

    async def delete(self, job_id: str) -> bool:
        """Make the cluster forget an ended job. Waits up to three seconds if it has just ended.

        :raises RayJobSubmissionError: if the job has not ended.
        """

    async def request_stop(self, job_id: str) -> bool:
        """Ask the cluster to stop the job. True only means that the request came in time."""

    async def post_job(
        self,
        spec: JobSpec,
        job_id: str,
        *,
        timeout: float | None = None,
        before_sending: Callable[[], object] = lambda: None,
    ) -> None:
        """Send a job once. :func:`airflow_synapse.rayjobs.job.submission.submit` makes that safe.

        :param before_sending: Called once the connection stands. If it raises an error, nothing is sent.
        :raises IdInUseError: if the submission ID is in use.
        :raises RayJobSubmissionError: if Ray refused the job.
        """

    # Packages

    async def has_package(self, uri: str) -> bool:
        """Return whether the cluster has the package. If so, it keeps it for some more minutes."""

    async def upload_package(
        self, uri: str, path: Path, *, on_progress: UploadProgress | None = None
    ) -> None:
        """Send a package file. This may take any time, as long as some bytes are sent per ``request_timeout``."""

    # Files in the log directory of a job's node

    def read_file(
        self, info: JobInfo, filename: str, *, last_lines: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the raw bytes of a file, read by way of the head node.

        :param info: The job, with the node that its driver runs on.
        :param filename: e.g. ``job-driver-<id>.log``.
        :param last_lines: Only this many lines from the end.
        :raises RayLogNotFoundError: if the file or its node is gone.
        """

    def read_range(
        self, info: JobInfo, filename: str, position: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield the raw bytes of a file from ``position`` on, served by the agent on the job's node.

        :raises AgentUnusableError: if the agent can't be used from here.
        :raises RayLogNotFoundError: if the file is shorter than ``position``.
        """

    def unreachable(
        self,
        reason: str,
        job_id: str | None = None,
        retry_after: float | None = None,
        http_status: int | None = None,
    ) -> RayClusterUnreachableError:
        """Return the error that this cluster is unreachable.

        :param http_status: The status of its answer, if it answered.
        """


def jobs_api(
    cluster: RayCluster,
    *,
    requests_per_second: float = REQUESTS_PER_SECOND,
    metrics: Metrics = NO_METRICS,
    credential_pace: CredentialPace = USUAL_PACE,
) -> JobsApi:
    """Return the Jobs API of a cluster. Nothing is sent yet; the caller must close it.

    :param requests_per_second: The limit for all requests to the cluster on this event loop.
    :param metrics: Where requests are counted.
    :param credential_pace: How often credentials are read again, and for how long they may be refused.
    """
    understand: Understand = error_of_answer
    if cluster.place is not None:
        understand = partial(error_of_proxied_answer, cluster.place)
    session = Session(
        cluster,
        requests_per_second=requests_per_second,
        metrics=metrics,
        pace=credential_pace,
        understand=understand,
    )
    return DashboardApi(session, pods=Pods(cluster.place) if cluster.place is not None else None)


async def answered_within(api: JobsApi, seconds: float | None, work: Awaitable[T]) -> T:
    """Return what ``work`` returns.

    :raises RayClusterUnreachableError: if that takes longer than so many seconds.
    :raises RayAuthenticationError: if it does so because the cluster refuses our credentials.
    """
    try:
        with fail_after(seconds):
            return await work
    except TimeoutError as exc:
        raise api.refusals.error() or api.unreachable("it did not answer in time") from exc

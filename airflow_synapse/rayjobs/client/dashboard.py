"""The Jobs API as a Ray dashboard serves it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from airflow_synapse.exceptions import (
    RayJobNotFoundError,
    RayJobSubmissionError,
)
from airflow_synapse.rayjobs.client import agents, bodies
from airflow_synapse.rayjobs.client.addresses import job_path
from airflow_synapse.rayjobs.client.answers import (
    SUBMISSIONS,
    AbsentError,
    ClusterClock,
    server_time,
)
from airflow_synapse.rayjobs.client.budget import Kind, Lane, RequestBudget
from airflow_synapse.rayjobs.client.credentials.refusals import RefusalAccount
from airflow_synapse.rayjobs.client.kubernetes.pods import Pods
from airflow_synapse.rayjobs.client.session import Session
from airflow_synapse.rayjobs.client.uploading import upload_file
from airflow_synapse.rayjobs.models import (
    PARTS_KEY,
    SPEC_KEY,
    SUBMITTED_KEY,
    TERMINAL_STATUSES,
    JobInfo,
    JobSpec,
    RayCluster,
)
from airflow_synapse.rayjobs.reporting import UploadProgress

SETTLES_IN = 3.0
"""Seconds after a job's end until it can be deleted. Ray's monitor checks a job every second. If the job
has been deleted, the monitor records it again as failed (``_monitor_job_internal``)."""

_NOT_OF_RAY = (ValueError, TypeError, AttributeError, RecursionError)
"""What reading an answer raises if it is JSON but not from Ray."""

_NO_TIMEOUT = "86400"
"""Seconds after which Ray's agent ends a download. Its default of 30 cuts long logs."""

_WEB_PAGE = "text/html"

_MAX_LIST = 8 * 1024 * 1024
"""The most bytes of a list of jobs that are worth reading to learn the status of some."""

_ROWS_AT_A_TIME = 25
"""Jobs of a list that are read before other tasks of the event loop get their turn."""

_FILE_COST = 2.0
"""What it costs the dashboard to start sending a file, in status requests."""

_FILE_BYTES_PER_LOOK = 200_000
"""Bytes of a file that cost a dashboard about as much as one status request."""


class DashboardApi:
    """Asks a Ray dashboard; see :class:`~airflow_synapse.rayjobs.client.jobs_api.JobsApi`.

    :param session: The connections; closed with this.
    :param lane: What its requests are for.
    :param pods: The way to the agents, if it leads through Kubernetes' API server.
    """

    settles_in = SETTLES_IN

    def __init__(
        self, session: Session, lane: Lane = Lane.CALL, *, pods: Pods | None = None
    ) -> None:
        self._session = session
        self._pods = pods
        self._lane = lane
        self.unreachable = session.unreachable

    @property
    def cluster(self) -> RayCluster:
        """The cluster that is asked."""
        return self._session.cluster

    @property
    def budget(self) -> RequestBudget:
        """The budget that all requests to the cluster on this event loop share."""
        return self._session.budget

    @property
    def refusals(self) -> RefusalAccount:
        """Whether the cluster accepts our credentials."""
        return self._session.credentials.account

    @property
    def clock(self) -> ClusterClock:
        """The cluster's clock."""
        return self._session.clock

    def in_lane(self, lane: Lane) -> DashboardApi:
        """Return the same API with requests that count for another lane."""
        return DashboardApi(self._session, lane, pods=self._pods)

    async def __aenter__(self) -> DashboardApi:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._session.close()

    # Jobs

    async def get_version(self) -> Mapping[str, Any]:
        """Return the cluster's answer to ``GET /api/version``, with ``ray_version``."""
        version = await self._session.get_json("/api/version", lane=self._lane)
        if not isinstance(version, dict) or "ray_version" not in version:
            raise self.unreachable(
                "something answered that is not a Ray dashboard", http_status=HTTPStatus.OK
            )
        return version

    async def get_state(
        self, path: str, query: Sequence[tuple[str, str]], *, timeout: float, most: int
    ) -> Any:
        """Return the JSON that one of the routes about the state of the cluster is answered with."""
        async with self._session.request(
            "GET", path, lane=self._lane, timeout=timeout, params=query, is_extra=True
        ) as response:
            return await self._session.json_of(response, most=most)

    async def get_info(self, job_id: str, *, timeout: float | None = None) -> JobInfo:
        """Return what the cluster knows about the job."""
        details = await self._session.get_json(
            job_path(job_id), lane=self._lane, kind=Kind.LOOK, job_id=job_id, timeout=timeout
        )
        return self._job_info(details, job_id)

    def _job_info(self, details: Any, job_id: str) -> JobInfo:
        with self._of_ray(job_id):
            info = JobInfo.from_api(details)
            # The second is what Ray calls a driver. A cache on the way may answer for another job.
            if job_id not in (details.get("submission_id"), details.get("job_id")):
                raise ValueError("an answer about another job")
            return info

    @contextmanager
    def _of_ray(self, job_id: str | None = None) -> Iterator[None]:
        """Turn what reading an answer raises into an error about the cluster."""
        try:
            yield
        except _NOT_OF_RAY as exc:
            raise self.unreachable(f"it sent {exc}", job_id, http_status=HTTPStatus.OK) from exc

    async def find_info(self, job_id: str, *, timeout: float | None = None) -> JobInfo | None:
        """Return what the cluster knows about the job; None if it does not know it."""
        try:
            return await self.get_info(job_id, timeout=timeout)
        except RayJobNotFoundError:
            return None

    async def list_jobs(self) -> list[JobInfo]:
        """Return all submission jobs that the cluster remembers."""
        return await self._pick(await self._read_list(most=bodies.MAX_LIST), lambda _: True)

    async def list_infos(self, wanted: Collection[str]) -> tuple[dict[str, JobInfo], float]:
        """Return what the list of all jobs says about some of them, and the seconds that the head took."""
        body = await self._read_list(most=_MAX_LIST)
        seconds = self.budget.list_seconds
        jobs = await self._pick(body, lambda row: row.get("submission_id") in wanted)
        return {info.job_id: info for info in jobs}, seconds

    async def list_active(self, metadata: Mapping[str, str]) -> list[JobInfo]:
        """Return the jobs that have not ended and have these metadata among theirs."""
        wanted = metadata.items()

        def is_wanted(row: Mapping[str, Any]) -> bool:
            told = row.get("metadata")
            has_all = isinstance(told, dict) and wanted <= told.items()
            return has_all and row.get("status") not in TERMINAL_STATUSES

        return await self._pick(await self._read_list(most=bodies.MAX_LIST), is_wanted)

    async def _pick(
        self, body: bytearray, is_wanted: Callable[[Mapping[str, Any]], bool]
    ) -> list[JobInfo]:
        """Return some jobs of a list, without blocking the event loop however long the list is."""
        jobs: list[JobInfo] = []
        try:
            for number, row in enumerate(bodies.each_object(body.decode())):
                if row.get("type") == "SUBMISSION" and is_wanted(row):
                    jobs.append(JobInfo.from_api(row))
                if number % _ROWS_AT_A_TIME == _ROWS_AT_A_TIME - 1:
                    await asyncio.sleep(0)
        except _NOT_OF_RAY as exc:
            raise self.unreachable(f"it sent {exc}", http_status=HTTPStatus.OK) from exc
        return jobs

    async def _read_list(self, *, most: int) -> bytearray:
        async with self._session.request(
            "GET", SUBMISSIONS, lane=self._lane, kind=Kind.LIST
        ) as response:
            with self._session.usable():
                return await bodies.read(response, most=most)

    async def delete(self, job_id: str) -> bool:
        """Make the cluster forget an ended job. Waits up to three seconds if it has just ended."""
        path, session = job_path(job_id), self._session
        async with session.request("GET", path, lane=self._lane, job_id=job_id) as response:
            info = self._job_info(await session.json_of(response, job_id), job_id)
            now = server_time(response.headers)
        if not info.is_terminal:
            raise RayJobSubmissionError(
                job_id=job_id,
                cluster=self.cluster.address,
                status=info.status,
                reason=f"a job that is {info.status} can't be deleted",
                hint="Stop it first.",
            )
        settled_at = (info.end_time or 0) / 1000 + self.settles_in
        await asyncio.sleep(min(max(0.0, settled_at - now), self.settles_in))
        async with session.request("DELETE", path, lane=self._lane, job_id=job_id) as response:
            answer = await session.json_of(response)
        with self._of_ray(job_id):
            return bool(answer.get("deleted"))

    async def request_stop(self, job_id: str) -> bool:
        """Ask the cluster to stop the job. True only means that the request came in time."""
        path, session = job_path(job_id, "stop"), self._session
        async with session.request("POST", path, lane=self._lane, job_id=job_id) as response:
            answer = await session.json_of(response)
        with self._of_ray(job_id):
            return bool(answer.get("stopped"))

    def _now(self) -> float:
        """Return the cluster's time or, as long as it has not told it, ours."""
        now = self.clock.now()
        return time.time() if now is None else now

    async def post_job(
        self,
        spec: JobSpec,
        job_id: str,
        *,
        timeout: float | None = None,
        before_sending: Callable[[], object] = lambda: None,
    ) -> None:
        """Send a job once."""
        job = {
            "submission_id": job_id,
            "entrypoint": spec.entrypoint,
            "runtime_env": dict(spec.runtime_env),
            "metadata": {
                **spec.metadata,
                SPEC_KEY: spec.fingerprint,
                PARTS_KEY: json.dumps(spec.parts),
                SUBMITTED_KEY: f"{self._now():.3f}",
            },
            **spec.resources,
        }
        body = json.dumps(job).encode()
        async with self._session.request(
            "POST",
            SUBMISSIONS,
            lane=self._lane,
            job_id=job_id,
            timeout=timeout,
            data=_Announced(body, before_sending),
            headers={"Content-Length": str(len(body)), "Content-Type": "application/json"},
        ) as response:
            answer = await self._session.json_of(response, job_id)
        with self._of_ray(job_id):
            if job_id not in (answer.get("submission_id"), answer.get("job_id")):
                raise ValueError("an answer about another job")

    # Packages

    async def has_package(self, uri: str) -> bool:
        """Return whether the cluster has the package. If so, it keeps it for some more minutes."""
        try:
            async with self._session.request("GET", _package_path(uri), lane=self._lane):
                return True
        except AbsentError:
            return False

    async def upload_package(
        self, uri: str, path: Path, *, on_progress: UploadProgress | None = None
    ) -> None:
        """Send a package file."""
        route = _package_path(uri)
        await upload_file(self._session, route, path, lane=self._lane, on_progress=on_progress)

    # Files in the log directory of a job's node

    async def read_file(
        self, info: JobInfo, filename: str, *, last_lines: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the raw bytes of a file, read by way of the head node.

        Never over ``/api/v0/logs/stream``: a stream that is left while its file is quiet keeps its
        place among the 100 that a head serves, and an ended job's file is quiet forever.
        """
        query = {
            "node_id": info.driver_node_id or "",
            "filename": filename,
            "lines": str(last_lines if last_lines is not None else -1),
            "timeout": _NO_TIMEOUT,
        }
        limit, size = self.cluster.request_timeout, 0
        async with self._session.request(
            "GET",
            "/api/v0/logs/file",
            lane=self._lane,
            kind=Kind.STREAM,
            job_id=info.job_id,
            params=query,
            timeout=agents.for_each_step(limit, limit),
        ) as response:
            if response.content_type == _WEB_PAGE:  # Ray sends files as text/plain
                raise self.unreachable("it answered with a web page instead of a file", info.job_id)
            with self._session.usable(info.job_id):
                async with aclosing(bodies.chunks_of(response)) as chunks:
                    async for chunk in chunks:
                        size += len(chunk)
                        yield chunk
        self.budget.charge(_FILE_COST + size / _FILE_BYTES_PER_LOOK)

    def read_range(
        self, info: JobInfo, filename: str, position: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield the raw bytes of a file from ``position`` on, served by the agent on the job's node."""
        return agents.read_range(
            self._session, info, filename, position, lane=self._lane, pods=self._pods
        )


class _Announced:
    """The body of a request. It says when it is about to be sent; without it, the head does nothing."""

    def __init__(self, body: bytes, before_sending: Callable[[], object]) -> None:
        self._body = body
        self._before_sending = before_sending

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._before_sending()
        yield self._body


def _package_path(uri: str) -> str:
    protocol, _, name = uri.partition("://")
    return f"/api/packages/{protocol}/{name}"

"""Async HTTP to one cluster's dashboard."""

from __future__ import annotations

import asyncio
import errno
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from anyio import CancelScope
from yarl import URL

from airflow_synapse.exceptions import (
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobSubmissionError,
)
from airflow_synapse.rayjobs.client.addresses import job_path, parse_dashboard_url
from airflow_synapse.rayjobs.client.agents import REQUEST_ERRORS, AgentClient, for_each_step
from airflow_synapse.rayjobs.client.answers import (
    AbsentError,
    each_object,
    location,
    refusal_told_by_ray,
    retry_after,
    server_time,
)
from airflow_synapse.rayjobs.client.credentials import cookies_of, headers_of
from airflow_synapse.rayjobs.client.request_errors import classify_error, classify_status
from airflow_synapse.rayjobs.client.tls import tls_context
from airflow_synapse.rayjobs.models import SPEC_KEY, JobInfo, JobSpec, RayCluster
from airflow_synapse.rayjobs.packing.packages import UploadedBytes, UploadProgress
from airflow_synapse.rayjobs.reporting import NO_METRICS, REQUESTS, Metrics

SETTLES_IN = 3.0
"""Seconds after a job's end from which it can be deleted. Ray's monitor looks at a job every second, and
one that it finds deleted it takes for failed, and notes down anew (``_monitor_job_internal``)."""

_NO_TIMEOUT = "86400"
"""Seconds after which Ray's agent breaks off a download; its default of 30 cuts long logs."""

_SUBMISSIONS = "/api/jobs/"
_WEB_PAGE = "text/html"

_MAX_LIST = 8 * 1024 * 1024
"""Bytes of a list of jobs that is worth reading to learn the status of some."""

_ROWS_AT_A_TIME = 25
"""Jobs of a list read before other tasks of the event loop get their turn."""


class RayJobClient:
    """One HTTP session with one cluster.

    Use it as an async context manager, or call :meth:`close`. Every answer that is not usable
    becomes one of our errors here: :class:`RayClusterUnreachableError` where another try may
    succeed, and another class where it can't.

    :param cluster: Where the dashboard is and how to be let in.
    :param metrics: Where requests are counted.
    """

    def __init__(self, cluster: RayCluster, *, metrics: Metrics = NO_METRICS) -> None:
        self.cluster = cluster
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None
        self.agents = AgentClient(cluster, metrics=metrics)
        self._base = ""

    async def __aenter__(self) -> RayJobClient:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        session, self._session = self._session, None
        with CancelScope(shield=True):  # anyio cancels each await of who was cancelled
            await self.agents.close()
            if session is not None:
                await session.close()

    # Jobs

    async def get_version(self) -> Mapping[str, Any]:
        """Return the cluster's answer to ``GET /api/version``, with ``ray_version``."""
        version = await self._get_json("/api/version")
        if not isinstance(version, dict) or "ray_version" not in version:
            raise self.unreachable("something answered that is not a Ray dashboard")
        return version

    async def get_info(self, job_id: str, *, timeout: float | None = None) -> JobInfo:
        """Return what the cluster knows about the job.

        :raises RayJobNotFoundError: if it does not know the job.
        """
        details = await self._get_json(job_path(job_id), job_id=job_id, timeout=timeout)
        return self._job_info(details, job_id)

    def _job_info(self, details: Any, job_id: str) -> JobInfo:
        try:
            return JobInfo.from_api(details)
        except (ValueError, AttributeError) as exc:
            raise self.unreachable(f"it sent {exc}", job_id) from exc

    async def find_info(self, job_id: str, *, timeout: float | None = None) -> JobInfo | None:
        """Return what the cluster knows about the job, None if nothing."""
        try:
            return await self.get_info(job_id, timeout=timeout)
        except RayJobNotFoundError:
            return None

    async def list_jobs(self) -> list[JobInfo]:
        """Return all submission jobs that the cluster remembers."""
        rows = await self._get_json("/api/jobs/")
        try:
            return [JobInfo.from_api(row) for row in rows if row.get("type") == "SUBMISSION"]
        except (ValueError, AttributeError, TypeError) as exc:
            raise self.unreachable(f"it sent {exc}") from exc

    async def list_infos(self, wanted: Collection[str]) -> tuple[dict[str, JobInfo], int]:
        """Return what the list of all jobs tells about some of them, and the list's size in bytes.

        Many thousands of rows are read without keeping the event loop.

        :raises RayClusterUnreachableError: also if the list is too large to be worth it.
        """
        body = bytearray()
        async with self._request("GET", "/api/jobs/") as response:
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MAX_LIST:
                    raise self.unreachable("its list of jobs is too long")
        jobs: dict[str, JobInfo] = {}
        try:
            for number, row in enumerate(each_object(body.decode())):
                if row.get("submission_id") in wanted and row.get("type") == "SUBMISSION":
                    info = JobInfo.from_api(row)
                    jobs[info.job_id] = info
                if number % _ROWS_AT_A_TIME == _ROWS_AT_A_TIME - 1:
                    await asyncio.sleep(0)
        except (ValueError, AttributeError, TypeError) as exc:
            raise self.unreachable(f"it sent {exc}") from exc
        return jobs, len(body)

    async def delete(self, job_id: str) -> bool:
        """Make the cluster forget an ended job, one that has just ended after up to three seconds.

        :raises ExecutionError: if the job has not ended.
        """
        async with self._request("GET", job_path(job_id), job_id=job_id) as response:
            info = self._job_info(await self._json(response, job_id), job_id)
            now = server_time(response.headers)
        if not info.is_terminal:
            raise RayJobSubmissionError(
                job_id=job_id,
                cluster=self.cluster.dashboard_url,
                status=info.status,
                reason=f"a job that is {info.status} can't be deleted",
                hint="Stop it first.",
            )
        settled_at = (info.end_time or 0) / 1000 + SETTLES_IN
        await asyncio.sleep(min(max(0.0, settled_at - now), SETTLES_IN))
        async with self._request("DELETE", job_path(job_id), job_id=job_id) as response:
            return bool((await self._json(response)).get("deleted"))

    async def request_stop(self, job_id: str) -> bool:
        """Ask the cluster to stop the job. True only means that it was asked in time."""
        async with self._request("POST", job_path(job_id, "stop"), job_id=job_id) as response:
            return bool((await self._json(response)).get("stopped"))

    async def post_job(self, spec: JobSpec, job_id: str, *, timeout: float | None = None) -> None:
        """Send a job once. :func:`airflow_synapse.rayjobs.job.submission.submit` makes that safe.

        :raises IdInUseError: if the id is in use.
        :raises RayJobSubmissionError: if Ray refused the job.
        """
        body = {
            "submission_id": job_id,
            "entrypoint": spec.entrypoint,
            "runtime_env": dict(spec.runtime_env),
            "metadata": {**spec.metadata, SPEC_KEY: spec.fingerprint},
            **spec.resources,
        }
        async with self._request("POST", _SUBMISSIONS, job_id=job_id, timeout=timeout, json=body):
            pass

    # Packages

    async def has_package(self, uri: str) -> bool:
        """Whether the cluster holds the package; if so it keeps it for some minutes more."""
        try:
            async with self._request("GET", _package_path(uri)):
                return True
        except AbsentError:
            return False

    async def upload_package(
        self, uri: str, path: Path, *, on_progress: UploadProgress | None = None
    ) -> None:
        """Send a package file. It may take as long as bytes go out every ``request_timeout``."""
        size = (await asyncio.to_thread(path.stat)).st_size
        progress = UploadedBytes(size, on_progress)
        upload = asyncio.ensure_future(self._put_package(uri, path, size, progress))
        try:
            while not upload.done():
                seen = progress.chunks
                await asyncio.wait({upload}, timeout=self.cluster.request_timeout)
                if not upload.done() and progress.chunks == seen:
                    raise self.unreachable("it stopped reading a package that was being uploaded")
            await upload
        finally:
            if not upload.done():
                self._abort_connections()
                upload.cancel()
                await asyncio.wait({upload})

    def _abort_connections(self) -> None:
        """Cut the connections in use: closing them would wait until all is sent, maybe for ever."""
        connector = self._session.connector if self._session else None
        for protocol in list(getattr(connector, "_acquired", ())):  # aiohttp has no public way
            if protocol.transport is not None:
                protocol.transport.abort()

    async def _put_package(self, uri: str, path: Path, size: int, progress: UploadedBytes) -> None:
        timeout = for_each_step(self.cluster.request_timeout, self.cluster.request_timeout)
        async with self._request(
            "PUT",
            _package_path(uri),
            timeout=timeout,
            data=progress.chunks_of(path),
            headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
        ):
            pass

    # Files in the log directory of a job's node

    async def read_file(
        self, info: JobInfo, filename: str, *, last_lines: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the raw bytes of a file in the log directory of the job's node.

        Never over ``/api/v0/logs/stream``: a stream that is left while its file is quiet keeps its
        place among the 100 that a head serves, and of an ended job it is quiet for ever.

        :param info: The job, with the node its driver runs on.
        :param filename: e.g. ``job-driver-<id>.log``.
        :param last_lines: Only so many lines from the end.
        :raises RayLogNotFoundError: if the file or its node is gone.
        """
        query = {
            "node_id": info.driver_node_id or "",
            "filename": filename,
            "lines": str(last_lines if last_lines is not None else -1),
            "timeout": _NO_TIMEOUT,
        }
        timeout = for_each_step(self.cluster.request_timeout, self.cluster.request_timeout)
        async with self._request(
            "GET", "/api/v0/logs/file", job_id=info.job_id, params=query, timeout=timeout
        ) as response:
            if response.content_type == _WEB_PAGE:  # Ray sends files as text/plain
                raise self.unreachable("it answered with a web page instead of a file", info.job_id)
            async for chunk in response.content.iter_any():
                yield chunk

    # Requests

    async def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._base = parse_dashboard_url(self.cluster.dashboard_url)
            tls: ssl.SSLContext | bool = True
            if self._base.startswith("https"):
                tls = await asyncio.to_thread(tls_context, self.cluster)
            self._session = aiohttp.ClientSession(
                headers=headers_of(self.cluster),
                cookies=cookies_of(self.cluster),
                cookie_jar=aiohttp.CookieJar(unsafe=True),
                connector=aiohttp.TCPConnector(ssl=tls, limit=100),
            )
        return self._session

    def _guess(self, error: BaseException) -> str:
        """Return what may be the matter: of a server's TLS alerts asyncio tells nothing."""
        is_mutual = self.cluster.client_cert or not self._base.startswith("https")
        is_cut = getattr(error, "errno", None) == errno.ECONNRESET
        if (is_cut or isinstance(error, aiohttp.ServerDisconnectedError)) and not is_mutual:
            return "; it may want a client certificate (client_cert)"
        return ""

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        *,
        job_id: str | None = None,
        timeout: float | aiohttp.ClientTimeout | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        session = await self._open()
        if not isinstance(timeout, aiohttp.ClientTimeout):
            timeout = aiohttp.ClientTimeout(total=timeout or self.cluster.request_timeout)
        url = URL(self._base + path, encoded=True)
        self._metrics.count(REQUESTS)
        try:
            # Redirects are not followed: headers could leak to another host.
            async with session.request(
                method, url, timeout=timeout, allow_redirects=False, **kwargs
            ) as response:
                if response.status != HTTPStatus.OK:
                    raise await self._refusal(response, job_id)
                yield response
        except REQUEST_ERRORS as exc:
            failure = classify_error(exc)
            if not failure.is_retryable:
                raise RayAddressError(
                    address=self._base, reason=failure.reason, hint=failure.hint
                ) from exc
            raise self.unreachable(failure.reason + self._guess(exc), job_id) from exc

    async def _refusal(self, response: aiohttp.ClientResponse, job_id: str | None) -> Exception:
        """Return the error that an answer other than 200 means."""
        status = response.status
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return RayAuthenticationError(cluster=self._base, http_status=status)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return RayAddressError(
                address=self._base,
                reason=f"it redirects to {location(response.headers)}",
                hint="Give that address instead or, if it is a login page, what its proxy asks for.",
            )
        text = (await response.content.read(64 * 1024)).decode("utf-8", "replace")
        is_submission = response.method == "POST" and response.url.path.endswith(_SUBMISSIONS)
        told = refusal_told_by_ray(status, text, job_id, self._base, is_submission=is_submission)
        if told is not None:
            return told
        failure = classify_status(status)
        if failure.is_retryable:
            return self.unreachable(failure.reason, job_id, retry_after(response.headers))
        return RayAddressError(address=self._base, reason=failure.reason)

    async def _get_json(
        self, path: str, *, job_id: str | None = None, timeout: float | None = None
    ) -> Any:
        async with self._request("GET", path, job_id=job_id, timeout=timeout) as response:
            return await self._json(response, job_id)

    async def _json(self, response: aiohttp.ClientResponse, job_id: str | None = None) -> Any:
        body = await response.read()
        try:
            return json.loads(body)
        except ValueError as exc:
            raise self.unreachable("its answer is not JSON", job_id) from exc

    def unreachable(
        self, reason: str, job_id: str | None = None, retry_after: float | None = None
    ) -> RayClusterUnreachableError:
        """Return the error that says so, about this cluster."""
        return RayClusterUnreachableError(
            cluster=self.cluster.dashboard_url,
            reason=reason,
            job_id=job_id,
            retry_after=retry_after,
        )


def _package_path(uri: str) -> str:
    protocol, _, name = uri.partition("://")
    return f"/api/packages/{protocol}/{name}"

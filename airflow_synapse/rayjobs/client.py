"""Async HTTP to one cluster's dashboard: the only module that opens a socket for jobs."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from airflow_synapse.exceptions import (
    JobIdConflictError,
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobSubmissionError,
    RayJobTimeoutError,
    RayLogNotFoundError,
)
from airflow_synapse.rayjobs.addresses import check_new_job_id, job_path, parse_dashboard_url
from airflow_synapse.rayjobs.models import PENDING, SPEC_KEY, STOPPED, JobInfo, JobSpec, RayCluster
from airflow_synapse.rayjobs.retries import Backoff, classify_error, classify_status

_UPLOAD_CHUNK = 256 * 1024
_STREAM_INTERVAL = 0.2
"""Seconds between two looks of Ray's agent for new bytes of a followed file."""

_REQUEST_ERRORS = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class RayJobClient:
    """One HTTP session with one cluster.

    Use it as an async context manager, or call :meth:`close`. Every answer that is not usable
    becomes one of our errors here: :class:`RayClusterUnreachableError` where another try may
    succeed, and another class where it can't.

    :param cluster: Where the dashboard is and how to be let in.
    """

    def __init__(self, cluster: RayCluster) -> None:
        self.cluster = cluster
        self._session: aiohttp.ClientSession | None = None
        self._base = ""

    async def __aenter__(self) -> RayJobClient:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # Jobs

    async def get_version(self) -> Mapping[str, Any]:
        """Return the cluster's answer to ``GET /api/version``, with ``ray_version``."""
        version = await self._get_json("/api/version")
        if not isinstance(version, dict) or "ray_version" not in version:
            raise self._unreachable("something answered that is not a Ray dashboard")
        return version

    async def get_info(self, job_id: str, *, timeout: float | None = None) -> JobInfo:
        """Return what the cluster knows about the job.

        :raises RayJobNotFoundError: if it does not know the job.
        """
        details = await self._get_json(job_path(job_id), job_id=job_id, timeout=timeout)
        try:
            return JobInfo.from_api(details)
        except (ValueError, AttributeError) as exc:
            raise self._unreachable(f"it sent {exc}", job_id) from exc

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
            raise self._unreachable(f"it sent {exc}") from exc

    async def delete(self, job_id: str) -> bool:
        """Make the cluster forget an ended job.

        :raises ExecutionError: if the job has not ended.
        """
        info = await self.get_info(job_id)
        if not info.is_terminal:
            raise RayJobSubmissionError(
                job_id=job_id,
                cluster=self.cluster.dashboard_url,
                status=info.status,
                reason=f"a job that is {info.status} can't be deleted",
                hint="Stop it first.",
            )
        async with self._request("DELETE", job_path(job_id), job_id=job_id) as response:
            return bool((await self._json(response)).get("deleted"))

    async def submit(self, spec: JobSpec, job_id: str) -> bool:
        """Start the job, unless it was started before. Ends within the request timeout.

        Ray refuses a second job under one id, so whatever gets lost, the id tells: after a lost
        answer the job is looked up, and only if the cluster does not know it is it sent again.

        :return: Whether this call started it; False if it was there already.
        :raises JobIdConflictError: if the id belongs to another job.
        :raises RayJobSubmissionError: if Ray refused it.
        :raises RayClusterUnreachableError: if it could not be found out in time; calling again
            with the same id is safe.
        """
        check_new_job_id(job_id)
        deadline = time.monotonic() + self.cluster.request_timeout
        backoff = Backoff(first=0.2, cap=2.0)
        was_sent = False
        while True:
            try:
                if not await self._post_job(spec, job_id, _remaining(deadline)):
                    await self._check_is_same(spec, job_id, _remaining(deadline))
                    return was_sent
                return True
            except RayClusterUnreachableError as lost:
                if isinstance(lost.__cause__, aiohttp.ClientConnectorError) and not was_sent:
                    raise
                was_sent = True
                if await self._was_started(spec, job_id, deadline, backoff, lost):
                    return True

    async def request_stop(self, job_id: str) -> bool:
        """Ask the cluster to stop the job. True only means that it was asked in time."""
        async with self._request("POST", job_path(job_id, "stop"), job_id=job_id) as response:
            return bool((await self._json(response)).get("stopped"))

    async def stop(self, job_id: str, *, poll_interval: float = 0.3) -> bool:
        """Stop the job and see that it is stopped. Ends within the request timeout.

        :return: True if it was running and is now STOPPED, False if it ended otherwise.
        :raises RayJobTimeoutError: if it did not end in time. A job that waits for resources does
            not: Ray remembers the request and stops it only once it is scheduled.
        """
        deadline = time.monotonic() + self.cluster.request_timeout
        info = await self.get_info(job_id)
        if info.is_terminal:
            return False
        await self.request_stop(job_id)
        while not info.is_terminal:
            if time.monotonic() + poll_interval >= deadline:
                raise self._not_stopped(info)
            await asyncio.sleep(poll_interval)
            info = await self.get_info(job_id, timeout=_remaining(deadline))
        return info.status == STOPPED

    # Packages

    async def has_package(self, uri: str) -> bool:
        """Whether the cluster holds the package; if so it keeps it for some minutes more."""
        try:
            async with self._request("GET", _package_path(uri)):
                return True
        except _AbsentError:
            return False

    async def upload_package(self, uri: str, path: Path) -> None:
        """Send a package file. It may take as long as bytes go out every ``request_timeout``."""
        progress = _Progress()
        size = (await asyncio.to_thread(path.stat)).st_size
        upload = asyncio.ensure_future(self._put_package(uri, path, size, progress))
        try:
            while not upload.done():
                seen = progress.chunks
                await asyncio.wait({upload}, timeout=self.cluster.request_timeout)
                if not upload.done() and progress.chunks == seen:
                    raise self._unreachable("it stopped reading a package that was being uploaded")
            await upload
        finally:
            upload.cancel()

    async def _put_package(self, uri: str, path: Path, size: int, progress: _Progress) -> None:
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=self.cluster.request_timeout,
            sock_read=self.cluster.request_timeout,
        )
        async with self._request(
            "PUT",
            _package_path(uri),
            timeout=timeout,
            data=_file_chunks(path, progress),
            headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
        ):
            pass

    # Files in the log directory of a job's node

    async def read_file(
        self, info: JobInfo, filename: str, *, follow: bool = False, last_lines: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the raw bytes of a file in the log directory of the job's node.

        :param info: The job, with the node its driver runs on.
        :param filename: e.g. ``job-driver-<id>.log``.
        :param follow: Never end, but wait for more bytes.
        :param last_lines: Only so many lines from the end.
        :raises RayLogNotFoundError: if the file or its node is gone.
        """
        query = {
            "node_id": info.driver_node_id or "",
            "filename": filename,
            "lines": str(last_lines if last_lines is not None else -1),
            "interval": str(_STREAM_INTERVAL),
            "timeout": "86400",
        }
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=self.cluster.request_timeout,
            # A job may be quiet for hours; the status tells when it has ended.
            sock_read=None if follow else self.cluster.request_timeout,
        )
        path = "/api/v0/logs/stream" if follow else "/api/v0/logs/file"
        async with self._request(
            "GET", path, job_id=info.job_id, params=query, timeout=timeout
        ) as response:
            async for chunk in response.content.iter_any():
                yield chunk

    # Requests

    async def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._base = parse_dashboard_url(self.cluster.dashboard_url)
            tls: ssl.SSLContext | bool = True
            if self._base.startswith("https"):
                tls = await asyncio.to_thread(_tls_context, self.cluster)
            headers = dict(self.cluster.headers)
            if self.cluster.token:
                headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
                headers["Authorization"] = f"Bearer {self.cluster.token}"
            self._session = aiohttp.ClientSession(
                headers=headers,
                cookies=dict(self.cluster.cookies),
                cookie_jar=aiohttp.CookieJar(unsafe=True),
                connector=aiohttp.TCPConnector(ssl=tls, limit=100),
            )
        return self._session

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
        try:
            # Redirects are not followed: headers could leak to another host.
            async with session.request(
                method, url, timeout=timeout, allow_redirects=False, **kwargs
            ) as response:
                if response.status != HTTPStatus.OK:
                    raise await self._refusal(response, job_id)
                yield response
        except _REQUEST_ERRORS as exc:
            failure = classify_error(exc)
            if not failure.is_retryable:
                raise RayAddressError(address=self._base, reason=failure.reason) from exc
            raise self._unreachable(failure.reason, job_id) from exc

    async def _refusal(self, response: aiohttp.ClientResponse, job_id: str | None) -> Exception:
        """Return the error that an answer other than 200 means."""
        status = response.status
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return RayAuthenticationError(cluster=self._base, http_status=status)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            return RayAddressError(
                address=self._base, reason=f"it redirects to {_location(response)}"
            )
        text = (await response.content.read(64 * 1024)).decode("utf-8", "replace")
        told = _refusal_told_by_ray(status, text, job_id, self._base)
        if told is not None:
            return told
        failure = classify_status(status)
        if failure.is_retryable:
            return self._unreachable(failure.reason, job_id, _retry_after(response))
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
            raise self._unreachable("its answer is not JSON", job_id) from exc

    def _unreachable(
        self, reason: str, job_id: str | None = None, retry_after: float | None = None
    ) -> RayClusterUnreachableError:
        return RayClusterUnreachableError(
            cluster=self.cluster.dashboard_url,
            reason=reason,
            job_id=job_id,
            retry_after=retry_after,
        )

    # Submission and stop, step by step

    async def _post_job(self, spec: JobSpec, job_id: str, timeout: float) -> bool:
        """Send the job. False if its id is in use."""
        body = {
            "submission_id": job_id,
            "entrypoint": spec.entrypoint,
            "runtime_env": dict(spec.runtime_env),
            "metadata": {**spec.metadata, SPEC_KEY: spec.fingerprint},
            **spec.resources,
        }
        try:
            async with self._request(
                "POST", "/api/jobs/", job_id=job_id, timeout=timeout, json=body
            ):
                return True
        except _IdInUseError:
            return False

    async def _check_is_same(self, spec: JobSpec, job_id: str, timeout: float) -> None:
        self.refuse_other(await self.get_info(job_id, timeout=timeout), spec)

    def refuse_other(self, info: JobInfo, spec: JobSpec) -> None:
        """Raise unless the job that uses the id is the one the spec asks for.

        :raises JobIdConflictError: if it is another.
        """
        if not spec.is_run_by(info):
            raise JobIdConflictError(
                job_id=info.job_id,
                cluster=self.cluster.dashboard_url,
                status=info.status,
                reason=f"it is {info.status} and was submitted by somebody else or to run something else",
            )

    async def _was_started(
        self,
        spec: JobSpec,
        job_id: str,
        deadline: float,
        backoff: Backoff,
        lost: RayClusterUnreachableError,
    ) -> bool:
        """After a lost answer, find out whether the job is there."""
        while True:
            await asyncio.sleep(min(backoff.next_pause(lost.retry_after), _remaining(deadline)))
            if time.monotonic() >= deadline:
                raise lost
            try:
                info = await self.find_info(job_id, timeout=_remaining(deadline))
            except RayClusterUnreachableError:
                continue
            if info is not None:
                self.refuse_other(info, spec)
            return info is not None

    def _not_stopped(self, info: JobInfo) -> RayJobTimeoutError:
        limit = f"{self.cluster.request_timeout:g} s"
        if info.status == PENDING:
            reason = f"was asked to stop, but is still PENDING after {limit}"
            hint = (
                "Ray stops a job that waits for resources or its runtime_env only once it is "
                "scheduled; until then it stays in the list and may start."
            )
        else:
            reason = f"was asked to stop, but is still {info.status} after {limit}"
            hint = "It is left running: stop it with `ray job stop`, or look at its supervisor."
        return RayJobTimeoutError(
            job_id=info.job_id,
            cluster=self.cluster.dashboard_url,
            status=info.status,
            reason=reason,
            hint=hint,
        )


class _IdInUseError(Exception):
    """Ray answered that the submission id is in use."""


class _AbsentError(Exception):
    """Ray answered that it does not have the package."""


class _Progress:
    chunks = 0


def _refusal_told_by_ray(
    status: int, text: str, job_id: str | None, cluster: str
) -> Exception | None:
    """Return the error that Ray's own words mean, None if they are not Ray's.

    The texts are those of ``job_head.py``, ``job_manager.py`` and ``state_head.py`` of Ray.
    """
    if status == HTTPStatus.NOT_FOUND and "does not exist" in text:
        if text.startswith("Package"):
            return _AbsentError(text)
        return RayJobNotFoundError(job_id=job_id, cluster=cluster)
    if "already exists" in text and "submission_id" in text:
        return _IdInUseError(text)
    if any(words in text for words in ("file is not found", "Agent for node id", "given node id")):
        return RayLogNotFoundError(
            job_id=job_id, cluster=cluster, reason=f"has no such file ({_last_line(text)})"
        )
    is_bad_request = status == HTTPStatus.BAD_REQUEST or "status code 400" in text
    if is_bad_request and job_id is not None:
        return RayJobSubmissionError(
            job_id=job_id, cluster=cluster, reason=f"Ray refused it: {_last_line(text)}"
        )
    return None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""


def _location(response: aiohttp.ClientResponse) -> str:
    target = URL(response.headers.get("Location", ""))
    return f"{target.scheme}://{target.host}" if target.host else "another page"


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds of a Retry-After header, given as a number or a date."""
    value = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _remaining(deadline: float) -> float:
    return max(0.05, deadline - time.monotonic())


def _package_path(uri: str) -> str:
    protocol, _, name = uri.partition("://")
    return f"/api/packages/{protocol}/{name}"


async def _file_chunks(path: Path, progress: _Progress) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as file:
        while chunk := await asyncio.to_thread(file.read, _UPLOAD_CHUNK):
            yield chunk
            progress.chunks += 1


def _tls_context(cluster: RayCluster) -> ssl.SSLContext:
    """Return how to verify the server. Reads certificate files, so keep it off the event loop."""
    if cluster.verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if cluster.verify is True:
        return ssl.create_default_context()
    bundle = Path(cluster.verify)
    try:
        if bundle.is_dir():
            return ssl.create_default_context(capath=str(bundle))
        return ssl.create_default_context(cafile=str(bundle))
    except (OSError, ssl.SSLError) as exc:
        raise RayAddressError(
            address=cluster.dashboard_url,
            reason=f"the CA bundle {cluster.verify} can't be read ({type(exc).__name__})",
        ) from exc

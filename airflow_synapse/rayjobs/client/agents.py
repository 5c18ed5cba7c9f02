"""Async HTTP to the agents on a cluster's nodes, which serve ranges of log files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
from yarl import URL

from airflow_synapse.exceptions import RayClusterUnreachableError
from airflow_synapse.rayjobs.client.addresses import parse_dashboard_url
from airflow_synapse.rayjobs.client.answers import AgentUnusableError, check_no_more
from airflow_synapse.rayjobs.client.credentials import headers_of
from airflow_synapse.rayjobs.client.request_errors import classify_error
from airflow_synapse.rayjobs.models import JobInfo, RayCluster
from airflow_synapse.rayjobs.reporting import REQUESTS, Metrics

_CONNECT_TIMEOUT = 2.0
"""Seconds to reach an agent; often a firewall drops what goes to its port."""

_READ_TIMEOUT = 5.0
"""Seconds until an agent answers or goes on; something else may listen at its address here."""

REQUEST_ERRORS = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


class AgentClient:
    """One HTTP session with the agents on all nodes of a cluster.

    :param cluster: The cluster.
    :param metrics: Where requests are counted.
    """

    def __init__(self, cluster: RayCluster, *, metrics: Metrics) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def read_file(
        self, info: JobInfo, filename: str, position: int
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file in the log directory of the job's node from ``position`` on.

        The address comes from the cluster, so neither headers nor cookies go there, and the token
        only where it goes over plain HTTP anyway.

        :raises AgentUnusableError: if the agent can't be reached from here or does not serve it, or
            if the connection breaks before any byte came.
        :raises RayLogNotFoundError: if the file is shorter than ``position``.
        :raises RayClusterUnreachableError: if the connection breaks later.
        """
        headers = {"Range": f"bytes={position}-", "Accept-Encoding": "identity"}
        if self._cluster.token and self._cluster.dashboard_url.startswith("http://"):
            headers["Authorization"] = headers_of(self._cluster)["Authorization"]
        base = parse_dashboard_url(info.driver_agent_http_address or "")
        url = URL(f"{base}/logs/{quote(filename, safe='')}", encoded=True)
        has_begun = False
        try:
            async with await self._ask(url, headers) as answer:
                if answer.status == HTTPStatus.PARTIAL_CONTENT:
                    async for chunk in answer.content.iter_any():
                        has_begun = True
                        yield chunk
                else:
                    check_no_more(answer.status, answer.headers, position, info.job_id)
        except REQUEST_ERRORS as exc:
            if not has_begun:
                raise AgentUnusableError(classify_error(exc).reason) from exc
            raise RayClusterUnreachableError(
                cluster=self._cluster.dashboard_url,
                reason=classify_error(exc).reason,
                job_id=info.job_id,
            ) from exc

    async def _ask(self, url: URL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Return what answers at the agent's address, if it is one; its body is still to be read."""
        timeout = for_each_step(_CONNECT_TIMEOUT, _READ_TIMEOUT)
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._metrics.count(REQUESTS)
        return await self._session.get(url, headers=headers, timeout=timeout, allow_redirects=False)


def for_each_step(connect: float, read: float) -> aiohttp.ClientTimeout:
    """Return limits in seconds for the connection and for each read, but none for the whole."""
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)

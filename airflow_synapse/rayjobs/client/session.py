"""The connections to one cluster. All requests are sent from here, within the cluster's budget."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
from anyio import CancelScope
from yarl import URL

from airflow_synapse.exceptions import RayAddressError, RayClusterUnreachableError
from airflow_synapse.rayjobs.client import bodies
from airflow_synapse.rayjobs.client.addresses import parse_address
from airflow_synapse.rayjobs.client.answers import Question, error_of_answer
from airflow_synapse.rayjobs.client.budget import (
    Kind,
    Lane,
    RequestBudget,
    Turn,
    shared_budget,
)
from airflow_synapse.rayjobs.client.credentials import cookies_of, headers_of, tls_context
from airflow_synapse.rayjobs.client.request_errors import REQUEST_ERRORS, classify_error
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.reporting import REQUESTS, Metrics

_LONGEST_REFUSAL = 64 * 1024
"""Bytes of an answer other than 200 that are read to learn what it means."""


class Session:
    """HTTP connections to a cluster's dashboard and to the agents on its nodes.

    Each request waits for its turn in the cluster's budget. Every answer of the dashboard that is not
    usable becomes one of our errors: :class:`RayClusterUnreachableError` if another try may succeed,
    and another class if it can't.

    :param cluster: The cluster.
    :param requests_per_second: The limit for all sessions with the cluster on this event loop.
    :param metrics: Where requests are counted.
    """

    def __init__(
        self, cluster: RayCluster, *, requests_per_second: float, metrics: Metrics
    ) -> None:
        self.cluster = cluster
        self._rate = requests_per_second
        self._metrics = metrics
        self._budget: RequestBudget | None = None
        self._opening = asyncio.Lock()
        self._dashboard: aiohttp.ClientSession | None = None
        self._agents: aiohttp.ClientSession | None = None
        self._base = ""

    @property
    def budget(self) -> RequestBudget:
        """The budget that all sessions with this address share on the event loop."""
        if self._budget is None:
            self._budget = shared_budget(self.cluster.address, self._rate)
        return self._budget

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        sessions = [self._dashboard, self._agents]
        self._dashboard = self._agents = None
        with CancelScope(shield=True):  # in a cancelled scope, anyio cancels each await
            for session in filter(None, sessions):
                await session.close()

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        lane: Lane,
        kind: Kind = Kind.OTHER,
        job_id: str | None = None,
        timeout: float | aiohttp.ClientTimeout | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request to the dashboard and yield its answer, if that is 200.

        :param path: The escaped path.
        :param lane: What the request is for.
        :param kind: What it costs the head node.
        :param job_id: The job it is about, for errors.
        :param timeout: Seconds for the whole request, by default the cluster's ``request_timeout``.
        """
        session = await self._open()
        if not isinstance(timeout, aiohttp.ClientTimeout):
            timeout = aiohttp.ClientTimeout(total=timeout or self.cluster.request_timeout)
        url = URL(self._base + path, encoded=True)
        try:
            # Redirects are not followed: headers could leak to another host.
            async with (
                self._turn(lane, kind) as turn,
                session.request(
                    method, url, timeout=timeout, allow_redirects=False, **kwargs
                ) as response,
            ):
                turn.answered()
                if response.status != HTTPStatus.OK:
                    raise await self._refusal(response, Question(method, path, job_id, self._base))
                yield response
        except REQUEST_ERRORS as exc:
            failure = classify_error(exc)
            if not failure.is_retryable:
                raise RayAddressError(
                    address=self._base, reason=failure.reason, hint=failure.hint
                ) from exc
            raise self.unreachable(failure.reason + self._guess(exc), job_id) from exc

    async def get_json(
        self,
        path: str,
        *,
        lane: Lane,
        kind: Kind = Kind.OTHER,
        job_id: str | None = None,
        timeout: float | None = None,
        most: int = bodies.MAX_JSON,
    ) -> Any:
        """Return the JSON that a GET is answered with."""
        async with self.request(
            "GET", path, lane=lane, kind=kind, job_id=job_id, timeout=timeout
        ) as response:
            return await self.json_of(response, job_id, most=most)

    async def json_of(
        self,
        response: aiohttp.ClientResponse,
        job_id: str | None = None,
        *,
        most: int = bodies.MAX_JSON,
    ) -> Any:
        """Return an answer's JSON.

        :param most: The most bytes that it may have.
        """
        with self.usable(job_id):
            return await bodies.read_json(response, most=most)

    @contextmanager
    def usable(self, job_id: str | None = None) -> Iterator[None]:
        """Turn an unusable body into an error about the cluster."""
        try:
            yield
        except bodies.BodyError as exc:
            raise self.unreachable(str(exc), job_id) from exc

    async def ask_agent(
        self, url: URL, headers: Mapping[str, str], *, lane: Lane, timeout: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Return the answer from an agent's address. Its body has not been read yet.

        Headers and cookies of the dashboard are not sent there.
        """
        async with self._turn(lane, Kind.STREAM):
            if self._agents is None:
                self._agents = aiohttp.ClientSession(
                    cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                )
            return await self._agents.get(
                url, headers=headers, timeout=timeout, allow_redirects=False
            )

    def abort(self) -> None:
        """Cut the connections in use. Closing them would wait until everything is sent, maybe forever."""
        connector = self._dashboard.connector if self._dashboard else None
        for protocol in list(getattr(connector, "_acquired", ())):  # aiohttp has no public way
            if protocol.transport is not None:
                protocol.transport.abort()

    def unreachable(
        self, reason: str, job_id: str | None = None, retry_after: float | None = None
    ) -> RayClusterUnreachableError:
        """Return the error that this cluster is unreachable."""
        return RayClusterUnreachableError(
            cluster=self.cluster.address, reason=reason, job_id=job_id, retry_after=retry_after
        )

    @asynccontextmanager
    async def _turn(self, lane: Lane, kind: Kind) -> AsyncIterator[Turn]:
        async with self.budget.turn(lane, kind) as turn:
            self._metrics.count(REQUESTS)
            yield turn

    async def _open(self) -> aiohttp.ClientSession:
        async with self._opening:  # many may open it at once
            if self._dashboard is None or self._dashboard.closed:
                self._base = parse_address(self.cluster.address)
                tls: ssl.SSLContext | bool = True
                if self._base.startswith("https"):
                    tls = await asyncio.to_thread(tls_context, self.cluster)
                self._dashboard = aiohttp.ClientSession(
                    headers=headers_of(self.cluster),
                    cookies=cookies_of(self.cluster),
                    cookie_jar=aiohttp.CookieJar(unsafe=True),
                    connector=aiohttp.TCPConnector(ssl=tls, limit=0),  # the budget limits
                    auto_decompress=False,
                )
            return self._dashboard

    def _guess(self, error: BaseException) -> str:
        """Return a possible cause: asyncio says nothing about a server's TLS alerts."""
        is_mutual = self.cluster.client_cert or not self._base.startswith("https")
        is_cut = getattr(error, "errno", None) == errno.ECONNRESET
        if (is_cut or isinstance(error, aiohttp.ServerDisconnectedError)) and not is_mutual:
            return "; it may want a client certificate (client_cert)"
        return ""

    async def _refusal(self, response: aiohttp.ClientResponse, question: Question) -> Exception:
        text = await bodies.read_beginning(response, most=_LONGEST_REFUSAL)
        return error_of_answer(question, response.status, response.headers, text)

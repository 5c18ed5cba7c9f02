"""The connections to one cluster. All requests are sent from here, within the cluster's budget."""

from __future__ import annotations

import errno
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any

import aiohttp
from yarl import URL

from airflow_synapse.exceptions import (
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
)
from airflow_synapse.rayjobs.client import bodies
from airflow_synapse.rayjobs.client.addresses import parse_address
from airflow_synapse.rayjobs.client.answers import (
    CertificateRefusedError,
    ClusterClock,
    Question,
    error_of_answer,
)
from airflow_synapse.rayjobs.client.budget import (
    Kind,
    Lane,
    RequestBudget,
    Turn,
    shared_budget,
)
from airflow_synapse.rayjobs.client.closing import close_for_sure
from airflow_synapse.rayjobs.client.credentials.access import Access
from airflow_synapse.rayjobs.client.credentials.keeper import Credentials
from airflow_synapse.rayjobs.client.credentials.pace import CredentialPace
from airflow_synapse.rayjobs.client.request_errors import REQUEST_ERRORS, classify_error
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.reporting import REQUESTS, Metrics

Understand = Callable[[Question, int, Mapping[str, str], str], Exception]

_LONGEST_REFUSAL = 64 * 1024
"""Bytes of an answer other than 200 that are read to learn what it means."""

_SHARE_OF_CALL = 0.9
"""The share of its time for which a call may be refused. Then there is time left for the last answer."""


class Session:
    """HTTP connections to a cluster's dashboard and to the agents on its nodes.

    Each request waits for its turn in the cluster's budget. Every answer of the dashboard that is not
    usable becomes one of our errors: :class:`RayClusterUnreachableError` if another try may succeed,
    and another class if it can't.

    :param cluster: The cluster.
    :param requests_per_second: The limit for all sessions with the cluster on this event loop.
    :param metrics: Where requests are counted.
    :param pace: How often credentials are read again, and for how long they may be refused.
    :param understand: Returns the error for an answer other than 200.
    """

    def __init__(
        self,
        cluster: RayCluster,
        *,
        requests_per_second: float,
        metrics: Metrics,
        pace: CredentialPace,
        understand: Understand = error_of_answer,
    ) -> None:
        self.cluster = cluster
        self._understand = understand
        self.clock = ClusterClock()
        self.credentials = Credentials(cluster, pace)
        self._pace = pace
        self._rate = requests_per_second
        self._metrics = metrics
        self._budget: RequestBudget | None = None
        self._cookies: Mapping[str, str] = {}
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
        self.credentials.close()
        sessions = [self._dashboard, self._agents]
        self._dashboard = self._agents = None
        await close_for_sure(_close_all([session for session in sessions if session is not None]))

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
        is_extra: bool = False,
        base: str = "",
        **kwargs: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request to the dashboard and yield its answer, if that is 200.

        While the credentials are refused, they are read again and the request is repeated.

        :param path: The escaped path.
        :param lane: What the request is for.
        :param kind: What it costs the head node.
        :param job_id: The job it is about, for errors.
        :param timeout: Seconds for the whole request, by default the cluster's ``request_timeout``.
        :param is_extra: Whether the cluster may refuse it to us though our credentials are good.
        :param base: What the path is appended to, by default the cluster's address. It must be of the same
            server.
        :param kwargs: aiohttp's arguments. ``data`` may be a function that returns the body, if that can be
            read only once.
        """
        self._base = parse_address(self.cluster.address)
        if not isinstance(timeout, aiohttp.ClientTimeout):
            timeout = aiohttp.ClientTimeout(total=timeout or self.cluster.request_timeout)
        refusals = self.credentials.refusals(self._patience(lane, kind, timeout))
        question = Question(method, path, job_id, self._base)
        url = URL((base or self._base) + path, encoded=True)
        while True:
            access = await self.credentials.access()
            sent = self._send(question, url, access, lane, kind, timeout=timeout, **kwargs)
            refusal: RayAuthenticationError | CertificateRefusedError
            try:
                async with sent as response:
                    error = await self._refusal(response, question)
                    if is_extra or not isinstance(error, RayAuthenticationError):
                        if not is_extra:
                            self.credentials.note_acceptance()
                        if error is not None:
                            raise error
                        yield response
                        return
                    refusal = error
            except CertificateRefusedError as exc:
                refusal = exc
            await refusals.wait_out(refusal, access)

    def _patience(self, lane: Lane, kind: Kind, timeout: aiohttp.ClientTimeout) -> float:
        """Return for how many seconds a request may be refused. A call ends within its time in any case."""
        patience = self._pace.patience(lane, kind)
        if lane is Lane.CALL and timeout.total is not None:
            return min(patience, timeout.total * _SHARE_OF_CALL)
        return patience

    @asynccontextmanager
    async def _send(
        self,
        question: Question,
        url: URL,
        access: Access,
        lane: Lane,
        kind: Kind,
        *,
        data: Any = None,
        **kwargs: Any,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request once and yield its answer, whatever it is."""
        session = self._open(access)
        headers = {**access.headers, **kwargs.pop("headers", {})}
        sent = time.time()
        try:
            # Redirects are not followed: headers could leak to another host.
            async with (
                self._turn(lane, kind) as turn,
                session.request(
                    question.method,
                    url,
                    headers=headers,
                    ssl=access.tls,
                    data=data() if callable(data) else data,
                    allow_redirects=False,
                    **kwargs,
                ) as response,
            ):
                turn.answered()
                # A proxy that answers in the head's place may have a clock of its own.
                if response.status == HTTPStatus.OK or self.clock.ahead is None:
                    self.clock.note(response.headers, sent=sent, received=time.time())
                yield response
        except REQUEST_ERRORS as exc:
            failure = classify_error(exc)
            if not failure.is_retryable:
                is_tls = isinstance(exc, aiohttp.ClientSSLError)
                kind_of = CertificateRefusedError if is_tls else RayAddressError
                raise kind_of(address=self._base, reason=failure.reason, hint=failure.hint) from exc
            raise self.unreachable(failure.reason + self._guess(exc), question.job_id) from exc

    async def get_json(
        self,
        path: str,
        *,
        lane: Lane,
        kind: Kind = Kind.OTHER,
        job_id: str | None = None,
        timeout: float | None = None,
        most: int = bodies.MAX_JSON,
        **kwargs: Any,
    ) -> Any:
        """Return the JSON that a GET is answered with."""
        async with self.request(
            "GET", path, lane=lane, kind=kind, job_id=job_id, timeout=timeout, **kwargs
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
            raise self.unreachable(str(exc), job_id, http_status=HTTPStatus.OK) from exc

    async def ask_agent(
        self,
        url: URL,
        headers: Mapping[str, str],
        *,
        lane: Lane,
        timeout: aiohttp.ClientTimeout,
        access: Access | None = None,
    ) -> aiohttp.ClientResponse:
        """Return the answer from an agent's address. Its body has not been read yet.

        Headers and cookies of the dashboard are not sent there.

        :param access: What to send all the same, if the way leads through the dashboard's own server.
        """
        async with self._turn(lane, Kind.STREAM):
            if access is not None:
                return await self._open(access).get(
                    url,
                    headers={**access.headers, **headers},
                    ssl=access.tls,
                    timeout=timeout,
                    allow_redirects=False,
                )
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
        self,
        reason: str,
        job_id: str | None = None,
        retry_after: float | None = None,
        http_status: int | None = None,
    ) -> RayClusterUnreachableError:
        """Return the error that this cluster is unreachable."""
        return RayClusterUnreachableError(
            cluster=self.cluster.address,
            reason=reason,
            job_id=job_id,
            retry_after=retry_after,
            http_status=http_status,
        )

    @asynccontextmanager
    async def _turn(self, lane: Lane, kind: Kind) -> AsyncIterator[Turn]:
        async with self.budget.turn(lane, kind) as turn:
            self._metrics.count(REQUESTS)
            yield turn

    def _open(self, access: Access) -> aiohttp.ClientSession:
        if self._dashboard is None or self._dashboard.closed:
            self._cookies = {}
            self._dashboard = aiohttp.ClientSession(
                cookie_jar=aiohttp.CookieJar(unsafe=True),
                connector=aiohttp.TCPConnector(limit=0),  # the budget limits
                auto_decompress=False,
            )
        if self._cookies != access.cookies:  # else those that the server has set since stay
            self._cookies = access.cookies
            self._dashboard.cookie_jar.clear()
            self._dashboard.cookie_jar.update_cookies(access.cookies)
        return self._dashboard

    def _guess(self, error: BaseException) -> str:
        """Return a possible cause: asyncio says nothing about a server's TLS alerts."""
        is_mutual = self.cluster.client_cert or not self._base.startswith("https")
        is_cut = getattr(error, "errno", None) == errno.ECONNRESET
        if (is_cut or isinstance(error, aiohttp.ServerDisconnectedError)) and not is_mutual:
            return "; it may want a client certificate (client_cert)"
        return ""

    async def _refusal(
        self, response: aiohttp.ClientResponse, question: Question
    ) -> Exception | None:
        if response.status in (HTTPStatus.OK, HTTPStatus.CREATED):
            return None
        text = await bodies.read_beginning(response, most=_LONGEST_REFUSAL)
        return self._understand(question, response.status, response.headers, text)


async def _close_all(sessions: list[aiohttp.ClientSession]) -> None:
    for session in sessions:
        await session.close()

"""Ranges of log files, from the agents on a cluster's nodes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
from yarl import URL

from airflow_synapse.exceptions import RayAddressError, RayClusterUnreachableError
from airflow_synapse.rayjobs.client import bodies
from airflow_synapse.rayjobs.client.addresses import parse_address
from airflow_synapse.rayjobs.client.answers import AgentUnusableError, check_no_more, check_range
from airflow_synapse.rayjobs.client.budget import Lane
from airflow_synapse.rayjobs.client.kubernetes.pods import Pods
from airflow_synapse.rayjobs.client.request_errors import REQUEST_ERRORS, classify_error
from airflow_synapse.rayjobs.client.session import Session
from airflow_synapse.rayjobs.models import JobInfo

CONNECT_TIMEOUT = 2.0
"""Seconds to reach an agent. Firewalls often drop packets to its port."""

READ_TIMEOUT = 5.0
"""Seconds until an agent answers or continues. Something else may listen at its address here."""


class UnusableAgents:
    """Remembers for a while which agents can't be used from this machine.

    An agent that fails is left alone for a while, and longer each time it fails again.

    :param first: Seconds for which an agent is left alone after its first failure.
    :param longest: Seconds at most.
    """

    def __init__(self, *, first: float = 30.0, longest: float = 600.0) -> None:
        self._first = first
        self._longest = longest
        self._until: dict[str, float] = {}
        self._pauses: dict[str, float] = {}

    def note_failure(self, address: str) -> None:
        """Leave an agent alone for a while."""
        pause = min(self._longest, self._pauses.get(address, self._first / 2) * 2)
        self._pauses[address] = pause
        self._until[address] = time.monotonic() + pause

    def note_success(self, address: str) -> None:
        """Forget that an agent ever failed."""
        self._pauses.pop(address, None)
        self._until.pop(address, None)

    def may_be_asked(self, address: str) -> bool:
        """Return whether an agent may be asked now."""
        return time.monotonic() >= self._until.get(address, 0.0)

    def forget(self) -> None:
        """Forget all agents."""
        self._until.clear()
        self._pauses.clear()


UNUSABLE = UnusableAgents()
"""The agents that can't be used from this machine, whichever event loop found out."""


def is_agent_usable(info: JobInfo) -> bool:
    """Return whether the agent on the job's node may be asked, as far as is known."""
    address = info.driver_agent_http_address or ""
    return address.startswith("http://") and UNUSABLE.may_be_asked(address)


async def read_range(
    session: Session,
    info: JobInfo,
    filename: str,
    position: int,
    *,
    lane: Lane,
    pods: Pods | None = None,
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a file in the log directory of the job's node from ``position`` on.

    The address comes from the cluster, so neither headers nor cookies are sent there, and the token
    only if it is sent over plain HTTP anyway. Through Kubernetes' API server everything is sent, because that
    already has it.

    :param pods: The way to the agent, if it leads through there.
    :raises AgentUnusableError: if the agent can't be reached from here or does not serve the file, or
        if the connection breaks before any byte came.
    :raises RayLogNotFoundError: if the file is shorter than ``position``.
    :raises RayClusterUnreachableError: if the connection breaks later.
    """
    cluster, address = session.cluster, info.driver_agent_http_address or ""
    headers = {"Range": f"bytes={position}-", "Accept-Encoding": "identity"}
    access, path = await session.credentials.access(), f"/logs/{quote(filename, safe='')}"
    if pods is not None:
        url = await pods.url_of_agent(session, address, path)
    else:
        url = _url_of(address, path)
        if cluster.address.startswith("http://"):
            headers.update(access.token)
    limit = cluster.request_timeout
    timeout = for_each_step(min(CONNECT_TIMEOUT, limit), min(READ_TIMEOUT, limit))
    has_begun = False
    try:
        asked = session.ask_agent(
            url,
            headers,
            lane=lane,
            timeout=timeout,
            access=access if pods is not None else None,
        )
        async with await asked as answer:
            if answer.status == HTTPStatus.PARTIAL_CONTENT:
                check_range(answer.headers, position)
                async with aclosing(bodies.chunks_of(answer)) as chunks:
                    async for chunk in chunks:
                        has_begun = True
                        yield chunk
            else:
                check_no_more(answer.status, answer.headers, position, info.job_id)
        UNUSABLE.note_success(address)
    except (*REQUEST_ERRORS, bodies.BodyError) as exc:
        is_of_body = isinstance(exc, bodies.BodyError)
        reason = str(exc) if is_of_body else classify_error(exc).reason
        if not has_begun:
            raise AgentUnusableError(reason) from exc
        raise RayClusterUnreachableError(
            cluster=cluster.address, reason=reason, job_id=info.job_id
        ) from exc


def _url_of(address: str, path: str) -> URL:
    """Return a URL on an agent.

    :raises AgentUnusableError: if what the cluster calls its address can't be one.
    """
    try:
        return URL(f"{parse_address(address)}{path}", encoded=True)
    except (RayAddressError, ValueError) as exc:
        raise AgentUnusableError("its address can't be used") from exc


def for_each_step(connect: float, read: float) -> aiohttp.ClientTimeout:
    """Return limits in seconds for the connection and for each read, but none for the whole request."""
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_read=read)

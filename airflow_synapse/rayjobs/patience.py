"""Says how long to wait before another try, and logs the beginning and the end of an outage."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from typing import TypeVar

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayAddressError,
    RayClusterUnreachableError,
)
from airflow_synapse.rayjobs.reporting import Logger

T = TypeVar("T")


class Backoff:
    """Pauses between tries, which grow, have jitter and are capped.

    :param first: The first pause before jitter, in seconds.
    :param cap: The longest pause in seconds, unless the server asks for more.
    """

    def __init__(self, first: float = 0.5, cap: float = 30.0) -> None:
        self._first = first
        self._cap = cap
        self._tries = 0

    def next_pause(self, retry_after: float | None = None) -> float:
        """Return the seconds to wait now.

        :param retry_after: Seconds that the server asked for. More than five minutes are not honored.
        """
        pause = min(self._cap, self._first * 2.0 ** min(self._tries, 16))
        self._tries += 1
        jittered = pause * random.uniform(0.5, 1.0)  # noqa: S311  # no secret depends on it
        return max(jittered, min(retry_after or 0.0, 300.0))

    def reset(self) -> None:
        """Start over with the first pause, after a success."""
        self._tries = 0


class OutageLog:
    """Logs once that a cluster became unreachable, and once that it is back.

    :param logger: Where to say so.
    :param timeout: Seconds of outage after which :meth:`wait_out` gives up. With 0, it raises the error at
        once and logs nothing.
    :param consequence: What the outage means, as a sentence.
    :param backoff: The pauses between two tries.
    """

    def __init__(
        self,
        logger: Logger,
        timeout: float,
        *,
        consequence: str = "Jobs that run there are not affected.",
        backoff: Backoff | None = None,
    ) -> None:
        self._logger = logger
        self._timeout = timeout
        self._consequence = consequence
        self._began: float | None = None
        self._backoff = backoff or Backoff()

    async def wait_out(
        self, error: RayClusterUnreachableError, *, longest: float = math.inf
    ) -> None:
        """Sleep until the next try.

        :param longest: Seconds to sleep at most.
        :raises RayClusterUnreachableError: the same ``error``, if the outage has lasted too long.
        """
        left = self.begin(error)
        await asyncio.sleep(min(self._backoff.next_pause(error.retry_after), left, longest))

    def begin(self, error: RayClusterUnreachableError) -> float:
        """Log that the cluster is unreachable, if that is news, and return the seconds left to wait.

        :raises RayClusterUnreachableError: the same ``error``, if no time is left.
        """
        now = time.monotonic()
        if self._timeout <= 0:
            raise error
        if self._began is None:
            self._began = now
            self._logger.warning(
                "The Ray cluster at %s is unreachable: %s. Trying again for up to %g s. %s",
                error.cluster,
                error.reason,
                self._timeout,
                self._consequence,
            )
        left = self._began + self._timeout - now
        if left <= 0:
            raise error
        return left

    @property
    def is_under_way(self) -> bool:
        """Whether the cluster was unreachable when it was last asked."""
        return self._began is not None

    def over(self) -> None:
        """Log that the cluster is back, if it was unreachable."""
        if self._began is not None:
            seconds = time.monotonic() - self._began
            self._logger.info("The Ray cluster is reachable again after %.1f s.", seconds)
            self._began = None
            self._backoff.reset()


class WrongServer:
    """Finds out whether something other than a Ray dashboard answers at a cluster's address.

    A proxy answers like that, too, while its dashboard is away, so it takes some time to be certain.

    :param ask: Asks for the version of Ray, which every dashboard tells.
    :param patience: Seconds until unusable answers with an HTTP status are believed, by this status.
    :param of_routes: The statuses that are believed even if Ray tells its version: the proxy then lets only
        some requests through.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[object]],
        patience: Mapping[int, float],
        *,
        of_routes: Collection[int] = (HTTPStatus.NOT_FOUND,),
    ) -> None:
        self._ask = ask
        self._patience = patience
        self._of_routes = of_routes
        self._since: float | None = None
        self._suspicion = ""

    def time_left(self, error: RayClusterUnreachableError) -> float:
        """Return the seconds until it may be certain."""
        patience = self._patience.get(error.http_status or 0, math.inf)
        return patience - (0.0 if self._since is None else time.monotonic() - self._since)

    def note_success(self) -> None:
        """Note that Ray answered."""
        self._since = None

    async def check(self, error: RayClusterUnreachableError) -> None:
        """Raise an error if it is certain.

        :param error: What came of a request.
        :raises RayAddressError: if no Ray dashboard answers there, or none on this route.
        """
        before, self._suspicion = self._suspicion, await self._why_wrong(error)
        if not self._suspicion:
            self._since = None
            return
        if self._since is None or self._suspicion != before:
            self._since = time.monotonic()
        if self.time_left(error) <= 0:
            raise RayAddressError(
                address=error.cluster,
                reason=f"{self._suspicion} ({error.reason})",
                hint=error.hint
                or "Check host, port and path. If it is a login page, give the credentials that its proxy "
                "requires.",
            ) from error

    async def _why_wrong(self, error: RayClusterUnreachableError) -> str:
        if error.http_status not in self._patience:
            return ""
        try:
            await self._ask()
        except RayClusterUnreachableError as other:
            is_same = other.http_status in self._patience
            return "something other than a Ray dashboard answers there" if is_same else ""
        except AirflowSynapseError:
            return ""
        if error.http_status not in self._of_routes:
            return ""
        return "a Ray dashboard answers there, but not to every request"


async def outlast(
    outages: OutageLog, call: Callable[[], Awaitable[T]], wrong_server: WrongServer | None = None
) -> T:
    """Return what ``call`` returns, and call it again while the cluster is unreachable.

    :raises RayClusterUnreachableError: if the outage lasts too long.
    :raises RayAddressError: if something other than the cluster answers.
    """
    while True:
        try:
            result = await call()
        except RayClusterUnreachableError as error:
            longest = math.inf
            if wrong_server is not None:
                await wrong_server.check(error)
                longest = wrong_server.time_left(error)
            await outages.wait_out(error, longest=longest)
        else:
            outages.over()
            return result

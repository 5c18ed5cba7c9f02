"""Says how long to wait before another try, and logs the beginning and the end of an outage."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from airflow_synapse.exceptions import RayClusterUnreachableError
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

    async def wait_out(self, error: RayClusterUnreachableError) -> None:
        """Sleep until the next try.

        :raises RayClusterUnreachableError: the same ``error``, if the outage has lasted too long.
        """
        left = self.begin(error)
        await asyncio.sleep(min(self._backoff.next_pause(error.retry_after), left))

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


async def outlast(outages: OutageLog, call: Callable[[], Awaitable[T]]) -> T:
    """Return what ``call`` returns, and call it again while the cluster is unreachable.

    :raises RayClusterUnreachableError: if the outage lasts too long.
    """
    while True:
        try:
            result = await call()
        except RayClusterUnreachableError as error:
            await outages.wait_out(error)
        else:
            outages.over()
            return result

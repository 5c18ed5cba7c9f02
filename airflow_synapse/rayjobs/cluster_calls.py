"""How synchronous code asks one cluster: a session, a budget and an event loop behind each call."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from datetime import timedelta
from http import HTTPStatus
from typing import Any, TypeVar

from airflow_synapse.durations import to_interval
from airflow_synapse.rayjobs.client.credentials.refusals import RefusalLog
from airflow_synapse.rayjobs.client.jobs_api import JobsApi, answered_within
from airflow_synapse.rayjobs.crossing import Crossing, Interruption
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.patience import OutageLog, WrongServer, outlast
from airflow_synapse.rayjobs.reporting import NO_METRICS, Metrics
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch, WatchLimits, shared_watch
from airflow_synapse.rayjobs.watching.pace import Pace

T = TypeVar("T")
Self = TypeVar("Self", bound="ClusterCalls")
log = logging.getLogger(__name__)

_LONGEST_LOOK = 5.0
"""Seconds for the question whether it is a Ray dashboard that answers."""


class ClusterCalls:
    """Calls to one cluster. Each opens its own connection; inside ``with``, all share one.

    :param cluster: Where the cluster's Jobs API is, and the credentials for it.
    :param unreachable_timeout: How long to keep trying while the cluster gives no usable answer: seconds, a
        timedelta or an ISO 8601 duration. 0 raises an error at once.
    """

    storage_path: str | None = None
    """The root of all jobs' storage: a folder or URI."""
    metrics: Metrics = NO_METRICS
    """Where metrics go."""
    limits: WatchLimits = WatchLimits()
    """What watching may cost the cluster."""

    pace: Pace = Pace()
    """How often a watch looks at its job."""

    interruption: Interruption | None = None
    """What may end calls from elsewhere. They then raise :class:`asyncio.CancelledError`."""

    def __init__(
        self, cluster: RayCluster, *, unreachable_timeout: float | timedelta | str = 0.0
    ) -> None:
        self.cluster = cluster
        self.unreachable_timeout = to_interval(
            unreachable_timeout, "unreachable_timeout", default=0.0
        )
        self._entered = 0
        self._stack: ExitStack | None = None
        self._crossing: Crossing | None = None

    def __enter__(self: Self) -> Self:
        self._entered += 1
        if self._entered > 1:
            return self
        self._stack = ExitStack()
        self._crossing = crossing = self._stack.enter_context(Crossing())
        held = AsyncExitStack()
        try:
            crossing.call(lambda: held.enter_async_context(self._watching()))
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        self._stack.callback(crossing.call, held.aclose)
        return self

    def __exit__(self, *error: Any) -> None:
        self._entered -= 1
        if self._entered:
            return
        stack, self._stack, self._crossing = self._stack, None, None
        if stack is not None:
            stack.__exit__(*error)

    def clock_ahead(self) -> float:
        """Return the seconds by which the cluster's clock is ahead of this machine's.

        Inside ``with executor:`` after an answer of the cluster, 0 otherwise.
        """

        async def look(api: JobsApi) -> float:
            return api.clock.ahead or 0.0

        return self._call(look)

    def _watching(
        self, cluster: RayCluster | None = None
    ) -> AbstractAsyncContextManager[ClusterWatch]:
        """Enter the cluster's watch. Inside ``with executor:``, all calls share one."""
        return shared_watch(
            cluster or self.cluster, self.limits, pace=self.pace, metrics=self.metrics
        )

    def _call(
        self,
        work: Callable[[JobsApi], Awaitable[T]],
        *,
        is_bounded: bool = True,
        is_patient: bool = True,
        pause: float = 0.0,
    ) -> T:
        """Do async work with the Jobs API, through outages if the executor has an ``unreachable_timeout``.

        :param is_bounded: Whether the request timeout applies to all of the work, not only to each request.
        :param is_patient: Whether to keep trying during an outage, if the executor does.
        :param pause: Seconds that the work may sleep beyond that.
        """
        limit = self.cluster.request_timeout + pause if is_bounded else None

        async def patiently() -> T:
            refusals = RefusalLog(log, self.pace.credentials.call_patience)
            async with self._watching() as watch:
                api = watch.api
                timeout = self.unreachable_timeout if is_patient else 0.0
                wrong_server = self._wrong_server(api) if timeout else None
                with api.refusals.told_to(refusals):
                    return await outlast(
                        OutageLog(log, timeout),
                        lambda: answered_within(api, limit, work(api)),
                        wrong_server,
                    )

        return self._cross(patiently)

    def _wrong_server(self, api: JobsApi) -> WrongServer:
        seconds = min(self.cluster.request_timeout, _LONGEST_LOOK)
        patience = min(self.pace.wrong_server, self.unreachable_timeout)
        statuses = (HTTPStatus.OK, HTTPStatus.NOT_FOUND)
        return WrongServer(
            lambda: answered_within(api, seconds, api.get_version()),
            dict.fromkeys(statuses, patience),
            of_routes=statuses,
        )

    def _cross(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run async work from sync code. This is the only place where the two meet."""
        with ExitStack() as stack:
            crossing = self._crossing or stack.enter_context(Crossing())
            return crossing.call(work, self.interruption)

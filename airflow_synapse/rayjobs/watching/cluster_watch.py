"""What all watchers of one cluster share on an event loop: connections, request budget and polling."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from weakref import WeakKeyDictionary

from airflow_synapse.rayjobs.client.budget import REQUESTS_PER_SECOND, Lane
from airflow_synapse.rayjobs.client.closing import close_for_sure
from airflow_synapse.rayjobs.client.jobs_api import JobsApi, jobs_api
from airflow_synapse.rayjobs.logs.places import LogPlaces
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.patience import WrongServer
from airflow_synapse.rayjobs.reporting import JOBS_WATCHED, NO_METRICS, Metrics
from airflow_synapse.rayjobs.waiting.reasons import Reason
from airflow_synapse.rayjobs.waiting.waiting_room import WaitingRoom
from airflow_synapse.rayjobs.watching.pace import USUAL_PACE, Pace
from airflow_synapse.rayjobs.watching.status_board import StatusBoard


@dataclass(frozen=True)
class WatchLimits:
    """What watching may cost one cluster.

    :param requests_per_second: Requests to the dashboard and to the agents on the nodes, for all
        watched jobs together. A status request keeps a head node busy for 3 ms.
    :param log_streams: Logs read at the same time. A head node serves at most 100 to all its clients.
    """

    requests_per_second: float = REQUESTS_PER_SECOND
    log_streams: int = 16


USUAL_LIMITS = WatchLimits()


class ClusterWatch:
    """One cluster as seen by everybody who watches jobs there.

    :param api: The cluster's Jobs API; closed with the watch.
    :param limits: What watching may cost.
    :param pace: How often it is polled.
    :param metrics: Where metrics go.
    """

    def __init__(
        self,
        api: JobsApi,
        limits: WatchLimits = USUAL_LIMITS,
        *,
        pace: Pace = USUAL_PACE,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self.api = api
        self.pace = pace
        self.metrics = metrics
        self.board = StatusBoard(api.in_lane(Lane.STATUS), pace=pace, metrics=metrics)
        self._waiting_room = WaitingRoom(interval=pace.waiting_look)
        self.wrong_server = WrongServer(
            api.in_lane(Lane.STATUS).get_version,
            {HTTPStatus.OK: pace.wrong_server, HTTPStatus.NOT_FOUND: pace.no_route},
        )
        self.log_places = {
            Lane.LOG: LogPlaces(limits.log_streams),
            Lane.END: LogPlaces(
                limits.log_streams
            ),  # the log of an ended job waits for no running job's log
        }
        self.users = 0
        self.jobs = 0

    @property
    def fair_interval(self) -> float:
        """Seconds between two status requests per job for which half of the budget is enough."""
        return self.jobs / (self.api.budget.looks_per_second / 2)

    @contextmanager
    def job(self) -> Iterator[None]:
        """Count a job that is watched here."""
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.jobs += change
        watches = _watches.get(asyncio.get_running_loop(), {})
        self.metrics.gauge(JOBS_WATCHED, sum(watch.jobs for watch in watches.values()))

    async def reason(self, job_id: str) -> Reason | None:
        """Return why a job waits, None if the cluster does not tell."""
        return await self._waiting_room.reason(self.api.in_lane(Lane.STATUS), job_id)

    async def reason_in_hindsight(self, job_id: str) -> Reason | None:
        """Return why a job probably waited that nobody saw waiting, None if the cluster does not tell."""
        return await self._waiting_room.reason_in_hindsight(self.api.in_lane(Lane.END), job_id)

    async def close(self) -> None:
        """Cancel what is under way and close the connections."""
        await self.board.close()
        await self.api.close()


_Watches = dict[tuple[RayCluster, WatchLimits, Pace], ClusterWatch]
_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, _Watches] = WeakKeyDictionary()


@asynccontextmanager
async def shared_watch(
    cluster: RayCluster,
    limits: WatchLimits = USUAL_LIMITS,
    *,
    pace: Pace = USUAL_PACE,
    metrics: Metrics = NO_METRICS,
) -> AsyncIterator[ClusterWatch]:
    """Enter the cluster's watch on this event loop. The last to leave closes it.

    Watchers share one only if limits and pace are the same, and cluster and credentials, too. What is read
    from the same connection counts as the same credentials, even if they have changed.
    """
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    key = (cluster.key, limits, pace)
    if key not in watches:
        api = jobs_api(
            cluster,
            requests_per_second=limits.requests_per_second,
            metrics=metrics,
            credential_pace=pace.credentials,
        )
        watches[key] = ClusterWatch(api, limits, pace=pace, metrics=metrics)
    watch = watches[key]
    watch.users += 1
    try:
        yield watch
    finally:
        watch.users -= 1
        if not watch.users:
            del watches[key]
            await close_for_sure(watch.close())

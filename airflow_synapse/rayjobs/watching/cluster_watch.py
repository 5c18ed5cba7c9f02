"""What all watchers of one cluster share on an event loop: connections, request budget, status looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from anyio import CancelScope

from airflow_synapse.rayjobs.client.budget import Lane, RequestBudget
from airflow_synapse.rayjobs.client.dashboard import RayJobClient
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.reporting import JOBS_WATCHED, NO_METRICS, Metrics
from airflow_synapse.rayjobs.watching.status_board import StatusBoard


@dataclass(frozen=True)
class WatchLimits:
    """What watching may cost one cluster.

    :param requests_per_second: Requests to the dashboard and to the agents on the nodes, for all
        watched jobs together. A look at a status keeps a head node busy for 3 ms.
    :param log_streams: Logs read at the same time; a head node serves at most 100, to everybody.
    """

    requests_per_second: float = 100.0
    log_streams: int = 16


class ClusterWatch:
    """One cluster as seen by all who watch jobs there.

    :param client: The cluster's client; stays open.
    :param limits: What watching may cost.
    :param metrics: Where figures go.
    """

    def __init__(
        self,
        client: RayJobClient,
        limits: WatchLimits = WatchLimits(),  # frozen
        *,
        metrics: Metrics = NO_METRICS,
    ) -> None:
        self.client = client
        self.metrics = metrics
        self.budget = RequestBudget(limits.requests_per_second)
        self.board = StatusBoard(client, self.budget, metrics=metrics)
        self.log_streams = {
            Lane.LOG: asyncio.Semaphore(limits.log_streams),
            Lane.END: asyncio.Semaphore(
                limits.log_streams
            ),  # what has ended waits for no other log
        }
        self.users = 0

    @property
    def fair_interval(self) -> float:
        """Seconds between two looks at each job for which half of the budget is enough."""
        return self.users / (self.budget.rate / 2)

    async def close(self) -> None:
        """End what is under way and close the connections."""
        await self.board.close()
        await self.client.close()


_Watches = dict[Hashable, ClusterWatch]
_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, _Watches] = WeakKeyDictionary()


@asynccontextmanager
async def shared_watch(
    cluster: RayCluster,
    limits: WatchLimits = WatchLimits(),  # frozen
    *,
    metrics: Metrics = NO_METRICS,
) -> AsyncIterator[ClusterWatch]:
    """Enter the cluster's watch on this event loop; who leaves last turns off the light.

    Only watchers with the same address, credentials and limits share one.
    """
    watches = _watches.setdefault(asyncio.get_running_loop(), {})
    key = (_identity(cluster), limits)
    if key not in watches:
        client = RayJobClient(cluster, metrics=metrics)
        watches[key] = ClusterWatch(client, limits, metrics=metrics)
    watch = watches[key]
    watch.users += 1
    _tell_number(watches, metrics)
    try:
        yield watch
    finally:
        watch.users -= 1
        _tell_number(watches, metrics)
        if not watch.users:
            del watches[key]
            with CancelScope(shield=True):  # anyio cancels each await of who was cancelled
                await watch.close()


def _tell_number(watches: _Watches, metrics: Metrics) -> None:
    metrics.gauge(JOBS_WATCHED, sum(watch.users for watch in watches.values()))


def _identity(cluster: RayCluster) -> Hashable:
    return (
        cluster.dashboard_url,
        cluster.token,
        tuple(sorted(cluster.headers.items())),
        tuple(sorted(cluster.cookies.items())),
        cluster.verify,
        cluster.client_cert,
        cluster.client_key,
        cluster.request_timeout,
    )

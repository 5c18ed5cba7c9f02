"""Waits for Ray clusters on Kubernetes, many in one namespace with one list per interval."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

from airflow_synapse.clusters.kubernetes_api import KubernetesApi
from airflow_synapse.clusters.names import ClusterName
from airflow_synapse.clusters.ray_clusters import RayClusterState
from airflow_synapse.exceptions import RayClusterUnreachableError
from airflow_synapse.rayjobs.client.credentials.refusals import RefusalLog
from airflow_synapse.rayjobs.patience import OutageLog
from airflow_synapse.rayjobs.reporting import Logger

_ABSENT = "it is not there (yet)"

_FAILURE_COUNTS_FOR = 5.0
"""Seconds for which a failed list is not tried again, however long one that did not fail may count."""


class NamespaceBoard:
    """The RayClusters of one namespace, for all who wait for one of them.

    :param api: The API server; closed with this.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self.api = api
        self.users = 0
        self._lock = asyncio.Lock()
        self._clusters: dict[ClusterName, RayClusterState] = {}
        self._failure: RayClusterUnreachableError | None = None
        self._listed_at = float("-inf")

    async def look(self, name: ClusterName, *, max_age: float) -> RayClusterState | None:
        """Return a cluster as it was at most ``max_age`` seconds ago, None if there is none.

        :raises RayClusterUnreachableError: if there was no usable answer. All who wait share that, too, as a list
            may take as long as a request may.
        """
        now = asyncio.get_running_loop().time
        async with self._lock:
            longest = max_age if self._failure is None else min(max_age, _FAILURE_COUNTS_FOR)
            if now() - self._listed_at >= longest:
                await self._list()
                self._listed_at = now()
        if self._failure is not None:
            raise self._failure.about(None) from self._failure
        return self._clusters.get(name)

    async def _list(self) -> None:
        try:
            clusters = await self.api.list_clusters()
        except RayClusterUnreachableError as error:
            self._failure = error
        else:
            self._clusters = {cluster.name: cluster for cluster in clusters}
            self._failure = None


_Boards = dict[str, NamespaceBoard]
_boards: WeakKeyDictionary[asyncio.AbstractEventLoop, _Boards] = WeakKeyDictionary()


@asynccontextmanager
async def shared_board(
    key: str, make: Callable[[], KubernetesApi]
) -> AsyncIterator[NamespaceBoard]:
    """Enter the board of a namespace on this event loop. The last to leave closes it.

    :param key: What names the API server and the namespace.
    :param make: Returns the API server, if nobody else has it.
    """
    boards = _boards.setdefault(asyncio.get_running_loop(), {})
    if key not in boards:
        boards[key] = NamespaceBoard(make())
    board = boards[key]
    board.users += 1
    try:
        yield board
    finally:
        board.users -= 1
        if not board.users:
            del boards[key]
            await board.api.session.close()


async def wait_until_ready(
    board: NamespaceBoard,
    name: ClusterName,
    *,
    ready: str,
    poll_interval: float,
    unreachable_timeout: float,
    logger: Any,
) -> RayClusterState:
    """Return a cluster once it is ready. Until then, each change is logged.

    :param ready: ``head`` or ``workers``.
    :param poll_interval: Seconds between two looks.
    :param unreachable_timeout: Seconds to wait for an API server that gives no usable answer.
    :raises RayClusterUnreachableError: if that has taken too long.
    :raises RayAuthenticationError: if the API server does not let us.
    """
    outages = OutageLog(logger, unreachable_timeout, consequence="Ray clusters are not affected.")
    told = ""
    with board.api.session.credentials.account.told_to(_refusals(logger, board)):
        while True:
            try:
                cluster = await board.look(name, max_age=poll_interval)
            except RayClusterUnreachableError as error:
                await outages.wait_out(error)
                continue
            outages.over()
            if cluster is not None and cluster.is_ready(ready):
                return cluster
            news = cluster.told() if cluster is not None else _ABSENT
            if news != told:
                told = news
                logger.info("Waiting for Ray cluster %s: %s.", name, news)
            await asyncio.sleep(poll_interval)


def _refusals(logger: Logger, board: NamespaceBoard) -> RefusalLog:
    return RefusalLog(logger, board.api.pace.call_patience)

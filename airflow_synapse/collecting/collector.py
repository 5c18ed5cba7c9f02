"""Looks after the clusters that Ray triggers of this triggerer have used, as long as the triggerer lives."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from weakref import WeakKeyDictionary

from airflow_synapse import settings
from airflow_synapse.collecting import supervisor, texts
from airflow_synapse.collecting.lookout import Lookout, Seats
from airflow_synapse.collecting.orphans import CollectPace
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.rayjobs.reporting import Metrics

log = logging.getLogger(__name__)


def look_after(cluster_ref: ClusterRef, *, metrics: Metrics) -> None:
    """From now on, stop the jobs on a cluster that nobody wants any more, until the event loop ends.

    Does nothing outside a triggerer. An Airflow without a name only gets a warning, once.
    """
    loop = asyncio.get_running_loop()
    if loop not in _collectors:
        _collectors[loop] = contextvars.Context().run(_collector, metrics)
    collector = _collectors[loop]
    if collector is not None:
        collector.look_after(cluster_ref)


class Collector:
    """Has a lookout for each cluster.

    :param deployment: The name of this Airflow.
    :param pace: How far apart the looks are.
    :param metrics: Where metrics go.
    """

    def __init__(self, deployment: str, pace: CollectPace, metrics: Metrics) -> None:
        self._deployment = deployment
        self._pace = pace
        self._metrics = metrics
        self._seats: Seats = {}
        self._tasks: dict[ClusterRef, asyncio.Task[None]] = {}

    def look_after(self, cluster_ref: ClusterRef) -> None:
        """Start to look at a cluster, unless that is going on already."""
        begun = self._tasks.get(cluster_ref)
        if begun is not None and not begun.done():
            return
        lookout = Lookout(
            cluster_ref,
            deployment=self._deployment,
            pace=self._pace,
            ask=supervisor.ask_in_triggerer,
            seats=self._seats,
            metrics=self._metrics,
        )
        # In a context of its own, or the lines would go to the log of the task whose trigger came first,
        # and would be lost once that trigger has ended.
        self._tasks[cluster_ref] = contextvars.Context().run(
            asyncio.create_task, lookout.keep_looking()
        )


_collectors: WeakKeyDictionary[asyncio.AbstractEventLoop, Collector | None] = WeakKeyDictionary()


def _collector(metrics: Metrics) -> Collector | None:
    if not supervisor.is_there():
        return None
    deployment = settings.deployment()
    if not deployment:
        log.warning(texts.NO_NAME)
        return None
    try:
        pace = CollectPace(settings.collect_interval(), settings.collect_gone_after())
    except ValueError as exc:  # a bad setting must not end the trigger that came first
        log.error("Jobs that nobody wants any more are not stopped: %s", exc)  # noqa: TRY400
        return None
    return Collector(deployment, pace, metrics)

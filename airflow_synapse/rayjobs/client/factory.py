"""The one place that knows how a kind of cluster is asked."""

from __future__ import annotations

from airflow_synapse.rayjobs.client.budget import REQUESTS_PER_SECOND
from airflow_synapse.rayjobs.client.dashboard import DashboardApi
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.client.session import Session
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.reporting import NO_METRICS, Metrics


def jobs_api(
    cluster: RayCluster,
    *,
    requests_per_second: float = REQUESTS_PER_SECOND,
    metrics: Metrics = NO_METRICS,
) -> JobsApi:
    """Return the Jobs API of a cluster. Nothing is sent yet; whoever calls this closes it.

    :param requests_per_second: What the cluster may be asked by all that ask it on this event loop.
    :param metrics: Where requests are counted.
    """
    session = Session(cluster, requests_per_second=requests_per_second, metrics=metrics)
    return DashboardApi(session)

"""What watching may cost a cluster, as Airflow's configuration says."""

from __future__ import annotations

from airflow_synapse import settings
from airflow_synapse.rayjobs.watching.cluster_watch import WatchLimits


def watch_limits() -> WatchLimits:
    """Return the limits. All who ask a cluster from one process have to have the same."""
    return WatchLimits(settings.requests_per_second(), settings.log_streams())

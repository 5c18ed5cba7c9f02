"""Reads from Airflow's configuration what watching may cost a cluster."""

from __future__ import annotations

from airflow_synapse import settings
from airflow_synapse.rayjobs.watching.cluster_watch import WatchLimits


def watch_limits() -> WatchLimits:
    """Return the limits. They must be the same for everything in one process that asks a cluster."""
    return WatchLimits(settings.requests_per_second(), settings.log_streams())

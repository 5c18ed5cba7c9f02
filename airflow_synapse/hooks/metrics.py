"""Sends metrics to the same place as Airflow's own: StatsD, Datadog or OpenTelemetry."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta


class AirflowMetrics:
    """Airflow's stats as :class:`~airflow_synapse.rayjobs.reporting.Metrics`.

    :param in_triggerer: Whether this is a triggerer's process and not a task's.
    """

    def __init__(self, *, in_triggerer: bool = False) -> None:
        from airflow_synapse.version_compat import stats

        self._stats = stats(in_triggerer=in_triggerer)

    def count(self, name: str, value: int = 1) -> None:
        """Add to a counter."""
        with suppress(Exception):  # a lost metric must not end a watch
            self._stats.incr(name, value)

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        with suppress(Exception):
            self._stats.gauge(name, value)

    def timing(self, name: str, seconds: float) -> None:
        """Add to a timer."""
        with suppress(Exception):
            self._stats.timing(name, timedelta(seconds=seconds))

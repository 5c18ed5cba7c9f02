"""What may be told of a task's job to anybody: no secret, and as JSON can hold it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from airflow_synapse.handover.xcom_keys import DASHBOARD_URL_KEY
from airflow_synapse.rayjobs.models import ACTION_KEY, PLUGIN_KEY, JobInfo


@dataclass(frozen=True)
class JobFacts:
    """One job, told to others. What is not known is None.

    :param job_id: Its submission id.
    :param cluster: The dashboard URL that the job was submitted to.
    :param dashboard_url: The job's page in the Ray dashboard.
    :param status: Its status in Ray's words, or why it could not be watched to its end.
    :param plugin: The plugin's name and version.
    :param action: What of the plugin, or which function, it runs.
    :param duration: Seconds from its submission to its end.
    """

    job_id: str
    cluster: str | None = None
    dashboard_url: str | None = None
    status: str | None = None
    plugin: str | None = None
    action: str | None = None
    duration: float | None = None

    @classmethod
    def of(cls, info: JobInfo, *, cluster: str | None = None, page: str | None = None) -> JobFacts:
        """Return what the cluster tells of a job."""
        return cls(
            job_id=info.job_id,
            cluster=_without_credentials(cluster),
            dashboard_url=_without_credentials(page),
            status=info.status,
            plugin=info.metadata.get(PLUGIN_KEY),
            action=info.metadata.get(ACTION_KEY),
            duration=_duration(info),
        )

    @classmethod
    def of_event(cls, event: Any) -> JobFacts | None:
        """Return what a trigger's event tells, None if it is none of a job."""
        if not isinstance(event, Mapping) or not event.get("job_id"):
            return None
        return cls(
            job_id=str(event["job_id"]),
            cluster=_without_credentials(event.get("cluster")),
            dashboard_url=_without_credentials(event.get(DASHBOARD_URL_KEY)),
            status=event.get("status"),
            plugin=event.get("plugin"),
            action=event.get("action"),
            duration=event.get("duration"),
        )

    def as_json(self) -> dict[str, str | float]:
        """Return what is known, under the names of the fields."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _duration(info: JobInfo) -> float | None:
    if not info.start_time or not info.end_time:
        return None
    return max(0, info.end_time - info.start_time) / 1000


def _without_credentials(url: str | None) -> str | None:
    """Return the URL without what people write in front of a host to be let in."""
    if url is None:
        return None
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

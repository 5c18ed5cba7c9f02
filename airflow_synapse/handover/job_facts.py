"""What anybody may know about a task's job: no secrets, and only what JSON can represent. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from airflow_synapse.handover.xcom_keys import JOB_PAGE_KEY
from airflow_synapse.rayjobs.client.addresses import without_user_info
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.models import ACTION_KEY, PLUGIN_KEY, JobInfo


@dataclass(frozen=True)
class JobFacts:
    """What others may know about one job. None means unknown.

    :param job_id: Its submission ID.
    :param cluster: The address that the job was submitted to.
    :param page: The job's page in the Ray dashboard.
    :param status: Its status in Ray's words, or why it could not be watched to its end.
    :param plugin: The plugin's name and version.
    :param action: The action or function that it runs.
    :param duration: Seconds from its submission to its end.
    """

    job_id: str
    cluster: str | None = None
    page: str | None = None
    status: str | None = None
    plugin: str | None = None
    action: str | None = None
    duration: float | None = None

    @classmethod
    def of(cls, info: JobInfo, *, cluster: str | None = None, page: str | None = None) -> JobFacts:
        """Return what the cluster says about a job."""
        return cls(
            job_id=info.job_id,
            cluster=_without_credentials(cluster),
            page=_without_credentials(page),
            status=info.status,
            plugin=info.metadata.get(PLUGIN_KEY),
            action=info.metadata.get(ACTION_KEY),
            duration=info.duration,
        )

    @classmethod
    def of_outcome(cls, outcome: Outcome) -> JobFacts | None:
        """Return what the watch of a job found out, None if nobody knows which job that was."""
        if not outcome.job_id:
            return None
        info = outcome.info or JobInfo(outcome.job_id, outcome.status)
        return cls.of(info, cluster=outcome.cluster or None, page=outcome.page)

    def as_json(self) -> dict[str, str | float]:
        """Return what is known, under the names that others read."""
        names = {name: name for name in asdict(self)} | {"page": JOB_PAGE_KEY}
        return {names[name]: value for name, value in asdict(self).items() if value is not None}


def _without_credentials(url: str | None) -> str | None:
    return None if url is None else without_user_info(url)

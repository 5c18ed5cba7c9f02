"""What a task keeps in XCom for its link and its trigger, and under which keys."""

from __future__ import annotations

JOB_ID_KEY = "job_id"
"""The submission id of the task's job."""

JOB_PAGE_KEY = "dashboard_url"
"""The URL of the job's page in the Ray dashboard."""

LOG_POSITION_KEY = "log_position"
"""Up to which byte the log of which job is shown, for a triggerer that takes a trigger over."""


def log_position(job_id: str, position: int = 0) -> dict[str, str | int]:
    """Return what is kept under :data:`LOG_POSITION_KEY`.

    A task keeps it once before it defers, as Airflow's triggerer logs an error for an XCom that it
    can't find.
    """
    return {"job_id": job_id, "position": position}
